//! The suite of the kind `storage`: what `storage.wit` promises, one function a promise.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use sheave_plugin::storage::{AnyDriver, Capabilities, SnapshotKind};
use sheave_plugin::{Action, Error, ErrorKind, FindingKind, Make, Mount, host};

use crate::{FakeHost, Ground, rule};

/// Makes one test of each promise of the storage interface, over a linked plugin: `storage_suite!(my_plugin::linked());`
#[macro_export]
macro_rules! storage_suite {
    ($linked:expr) => {
        $crate::storage_suite! { $linked;
            configuration capabilities lifecycle layers late_parents independence conflicts missing children
            failed_plans rejected_keys listing checks usage
        }
    };
    ($linked:expr; $($promise:ident)+) => {
        $(#[test]
        fn $promise() {
            let linked = $linked;
            let make = linked.storage.expect("a storage plugin");
            if stringify!($promise) == "configuration" {
                $crate::storage::configuration(make);
                return;
            }
            let driver = make(String::new()).expect("a driver without configuration");
            let host = $crate::FakeHost::new();
            $crate::storage::by_name(stringify!($promise), driver.as_ref(), &host);
        })+
    };
}

/// One promise of the interface.
type Promise = fn(&Bench<'_>);

/// The promises with their names.
const PROMISES: &[(&str, Promise)] = &[
    ("capabilities", capabilities),
    ("lifecycle", lifecycle),
    ("layers", layers),
    ("late_parents", late_parents),
    ("independence", independence),
    ("conflicts", conflicts),
    ("missing", missing),
    ("children", children),
    ("failed_plans", failed_plans),
    ("rejected_keys", rejected_keys),
    ("listing", listing),
    ("checks", checks),
    ("usage", usage),
];

/// Runs every promise over drivers made by `make`, each with a host and a root of its own. For carriers that have no
/// linked plugin; `make` is given the host that must serve the driver's calls.
pub fn all(make: &mut dyn FnMut(Arc<FakeHost>) -> Box<dyn AnyDriver>) {
    for (_, promise) in PROMISES {
        let host = FakeHost::new();
        let driver = make(host.clone());
        promise(&Bench { driver: driver.as_ref(), host: &host, ground: Ground::new() });
    }
}

/// Runs one promise by its name over a driver without state.
///
/// # Panics
/// For a name that is not one, and with the broken sentence of the interface.
pub fn by_name(name: &str, driver: &dyn AnyDriver, host: &Arc<FakeHost>) {
    let (_, promise) = PROMISES.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no promise {name}"));
    promise(&Bench { driver, host, ground: Ground::new() });
}

/// A driver's configuration is read strictly.
pub fn configuration(make: Make<dyn AnyDriver>) {
    rule!(make(String::new()).is_ok(), "Makes a driver from its configuration", "an empty one must do");
    let unknown = make("{\"no-such-key\":1}".to_owned()).err();
    let named = unknown.is_some_and(|e| e.kind == ErrorKind::Invalid && e.message.contains("no-such-key"));
    rule!(named, "the request itself is wrong", "an unknown configuration key must be `invalid` and named");
}

/// A driver, the host that serves it, and the root where its plans are performed.
struct Bench<'a> {
    driver: &'a dyn AnyDriver,
    host: &'a Arc<FakeHost>,
    ground: Ground,
}

impl Bench<'_> {
    fn call<R>(&self, f: impl FnOnce(&dyn AnyDriver) -> R) -> R {
        host::scope(self.host.clone(), || f(self.driver))
    }

    /// A call with its plan performed and its state kept.
    fn plan(&self, f: impl FnOnce(&dyn AnyDriver) -> Result<Vec<Action>, Error>) -> Result<(), Error> {
        match self.call(f) {
            Ok(actions) => {
                self.ground.act(&actions);
                self.host.commit();
                Ok(())
            }
            Err(error) => {
                self.host.discard();
                Err(error)
            }
        }
    }

    fn prepare(&self, key: &str, parent: Option<&str>) -> Result<(), Error> {
        self.plan(|d| d.prepare(key.to_owned(), parent.map(str::to_owned), Vec::new()))
    }

    fn commit(&self, key: &str, name: &str, parent: Option<&str>) -> Result<(), Error> {
        self.plan(|d| d.commit(key.to_owned(), name.to_owned(), parent.map(str::to_owned)))
    }

    fn remove(&self, key: &str) -> Result<(), Error> {
        self.plan(|d| d.remove(key.to_owned()))
    }

    fn mounts(&self, key: &str, read_only: bool) -> Result<Vec<Mount>, Error> {
        let mounts = self.call(|d| d.mounts(key.to_owned(), read_only));
        rule!(!self.host.is_dirty(), "must not change anything", "mounts({key}) wrote state");
        mounts
    }

    fn within<R>(&self, key: &str, look: impl FnOnce(&Path) -> R) -> R {
        let mounts = self.mounts(key, false).unwrap_or_else(|e| panic!("mounts({key}): {e:?}"));
        self.ground.mounted(&mounts, look)
    }

    fn capabilities(&self) -> Capabilities {
        self.call(|d| d.capabilities()).unwrap_or_else(|e| panic!("capabilities: {e:?}"))
    }

    /// A committed snapshot with the given files.
    fn layer(&self, name: &str, parent: Option<&str>, write: impl FnOnce(&Path)) {
        let key = format!("unpack-{name}");
        self.prepare(&key, parent).unwrap_or_else(|e| panic!("prepare({key}): {e:?}"));
        self.within(&key, write);
        self.commit(&key, name, None).unwrap_or_else(|e| panic!("commit({key}): {e:?}"));
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            self.call(|d| d.list()).unwrap_or_else(|e| panic!("list: {e:?}")).into_iter().map(|s| s.key).collect();
        keys.sort();
        keys
    }
}

fn kind(result: Result<(), Error>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind)
}

fn put(at: &Path, name: &str, text: &str) {
    fs::write(at.join(name), text).unwrap_or_else(|e| panic!("write {name}: {e}"));
}

fn text(at: &Path, name: &str) -> Option<String> {
    fs::read_to_string(at.join(name)).ok()
}

fn capabilities(b: &Bench<'_>) {
    let capabilities = b.capabilities();
    rule!(!b.host.is_dirty(), "Called once after the constructor.", "capabilities wrote state");
    for probe in &capabilities.probes {
        let sheave_plugin::MountSource::Overlay(overlay) = &probe.source else { continue };
        for path in overlay.lowers.iter().chain(&overlay.upper).chain(&overlay.work) {
            fs::create_dir_all(b.ground.below(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        }
        b.ground.mounted(std::slice::from_ref(probe), |_| ());
    }
}

fn lifecycle(b: &Bench<'_>) {
    b.prepare("one", None).expect("prepare");
    b.within("one", |at| {
        rule!(fs::metadata(at).is_ok_and(|m| m.mode() & 0o7777 == 0o755), "can be written", "the root is not 0755");
        put(at, "greeting", "hello");
    });
    b.within("one", |at| rule!(text(at, "greeting").is_some(), "How to mount a snapshot", "what was written is gone"));
    let read_only = b.mounts("one", true).expect("mounts");
    b.ground.mounted(&read_only, |at| {
        rule!(text(at, "greeting").is_some(), "How to mount a snapshot, active or committed.", "read-only and empty");
        rule!(fs::write(at.join("x"), "").is_err(), "read-only", "an active snapshot mounted read-only was written");
    });
    b.commit("one", "done", None).expect("commit");
    rule!(b.mounts("one", false).is_err(), "Turns the active snapshot `key` into the committed `name`", "key remains");
    b.within("done", |at| {
        rule!(text(at, "greeting").as_deref() == Some("hello"), "never changed again", "content was lost at commit");
        rule!(fs::write(at.join("x"), "").is_err(), "Committed ones are always read-only.", "it was written");
    });
    b.remove("done").expect("remove");
    rule!(b.ground.found().is_empty(), "Removes a snapshot, active or committed", "left {:?}", b.ground.found());
}

fn layers(b: &Bench<'_>) {
    b.layer("base", None, |at| {
        put(at, "kept", "base");
        put(at, "changed", "base");
        put(at, "gone", "base");
        fs::set_permissions(at.join("kept"), fs::Permissions::from_mode(0o4711)).expect("chmod");
        fs::hard_link(at.join("kept"), at.join("linked")).expect("link");
        std::os::unix::fs::symlink("kept", at.join("pointer")).expect("symlink");
    });
    b.layer("top", Some("base"), |at| {
        put(at, "changed", "top");
        fs::remove_file(at.join("gone")).expect("remove");
    });
    b.prepare("rw", Some("top")).expect("prepare");
    b.within("rw", |at| {
        let of_parent = "Begins an active snapshot `key` over the committed snapshot `parent`";
        assert_eq!(text(at, "kept").as_deref(), Some("base"), "{of_parent}");
        assert_eq!(text(at, "changed").as_deref(), Some("top"), "{of_parent}");
        assert_eq!(text(at, "gone"), None, "{of_parent}: a removed file is back");
        let kept = fs::metadata(at.join("kept")).expect("kept");
        assert_eq!(kept.mode() & 0o7777, 0o4711, "{of_parent}: modes");
        assert_eq!(kept.ino(), fs::metadata(at.join("linked")).expect("linked").ino(), "{of_parent}: hard links");
        assert_eq!(fs::read_link(at.join("pointer")).expect("pointer"), Path::new("kept"), "{of_parent}: symlinks");
    });
}

fn late_parents(b: &Bench<'_>) {
    b.layer("base", None, |at| put(at, "lower", "base"));
    b.prepare("late", None).expect("prepare");
    b.within("late", |at| put(at, "upper", "late"));
    let result = b.commit("late", "top", Some("base"));
    if !b.capabilities().independent_layers {
        let refused = kind(result) == Some(ErrorKind::Unsupported);
        rule!(refused, "`parent` overrides that of `prepare` (needs `independent-layers`)", "it was not refused");
        rule!(b.mounts("late", false).is_ok(), "After an error `key` is active as before.", "late is gone");
        return;
    }
    result.expect("commit with a parent");
    b.within("top", |at| {
        let both = text(at, "lower").is_some() && text(at, "upper").is_some();
        rule!(both, "`parent` overrides that of `prepare`", "the parent's content is missing");
    });
    let removed = kind(b.remove("base"));
    rule!(removed == Some(ErrorKind::Conflict), "that has no children", "a late parent could be removed");
    let unknown = b.prepare("late2", None).and_then(|()| b.commit("late2", "top2", Some("nobody")));
    rule!(kind(unknown) == Some(ErrorKind::NotFound), "a parent that does not is `not-found`", "at commit");
    rule!(b.mounts("late2", false).is_ok(), "After an error `key` is active as before.", "late2 is gone");
}

fn independence(b: &Bench<'_>) {
    b.layer("base", None, |at| put(at, "file", "base"));
    b.prepare("a", Some("base")).expect("prepare");
    b.prepare("b", Some("base")).expect("prepare");
    b.within("a", |at| put(at, "file", "a"));
    b.within("b", |at| fs::remove_file(at.join("file")).expect("remove"));
    let seen = |key: &str| b.within(key, |at| text(at, "file"));
    rule!(seen("base").as_deref() == Some("base"), "never changed again", "a child's write is seen in its parent");
    rule!(seen("a").as_deref() == Some("a"), "`active` can be written", "a's own write is gone");
    rule!(seen("b").is_none(), "`active` can be written", "b's removal is gone");
}

fn conflicts(b: &Bench<'_>) {
    b.layer("base", None, |_| ());
    b.prepare("one", None).expect("prepare");
    b.prepare("two", None).expect("prepare");
    let exists = Some(ErrorKind::Conflict);
    rule!(kind(b.prepare("one", None)) == exists, "A key that exists already is a `conflict`", "an active key");
    rule!(kind(b.prepare("base", None)) == exists, "A key that exists already is a `conflict`", "a committed name");
    b.commit("one", "done", None).expect("commit");
    rule!(kind(b.commit("two", "done", None)) == exists, "A name that exists already is a `conflict`.", "two");
    rule!(b.mounts("two", false).is_ok(), "After an error `key` is active as before.", "two is gone");
    rule!(b.commit("base", "again", None).is_err(), "Turns the active snapshot", "a committed one was committed again");
    rule!(
        b.prepare("three", Some("two")).is_err(),
        "over the committed snapshot `parent`",
        "an active parent was taken"
    );
}

fn missing(b: &Bench<'_>) {
    let missing = Some(ErrorKind::NotFound);
    rule!(kind(b.prepare("x", Some("nobody"))) == missing, "a parent that does not is `not-found`");
    rule!(b.keys().is_empty(), "After an error nothing of `key` exists.", "{:?}", b.keys());
    rule!(kind(b.remove("nobody")) == missing, "A missing one is `not-found`.");
    rule!(kind(b.mounts("nobody", false).map(drop)) == missing, "A missing one is `not-found`.", "mounts");
    rule!(kind(b.commit("nobody", "name", None)) == missing, "A missing one is `not-found`.", "commit");
    rule!(kind(b.call(|d| d.usage("nobody".into())).map(drop)) == missing, "A missing one is `not-found`.", "usage");
}

fn children(b: &Bench<'_>) {
    b.layer("base", None, |_| ());
    b.layer("middle", Some("base"), |_| ());
    b.prepare("rw", Some("middle")).expect("prepare");
    for parent in ["base", "middle"] {
        let result = kind(b.remove(parent));
        rule!(
            result == Some(ErrorKind::Conflict),
            "that has no children (`conflict` otherwise)",
            "{parent}: {result:?}"
        );
    }
    for key in ["rw", "middle", "base"] {
        b.remove(key).unwrap_or_else(|e| panic!("remove({key}): {e:?}"));
    }
    rule!(b.keys().is_empty(), "Removes a snapshot", "left {:?}", b.keys());
    rule!(b.ground.found().is_empty(), "Removes a snapshot", "left {:?}", b.ground.found());
}

/// The engine drops the state of a plan that it could not perform.
fn failed_plans(b: &Bench<'_>) {
    let text = "when the call or its plan fails, the write never happened";
    b.call(|d| d.prepare("x".into(), None, Vec::new())).expect("prepare");
    b.host.discard();
    assert!(b.keys().is_empty(), "{text}: {:?}", b.keys());
    b.prepare("x", None).unwrap_or_else(|e| panic!("{text}: prepare again: {e:?}"));
    b.call(|d| d.remove("x".into())).expect("remove");
    b.host.discard();
    b.within("x", |at| put(at, "file", ""));
    b.remove("x").unwrap_or_else(|e| panic!("{text}: remove again: {e:?}"));
}

fn rejected_keys(b: &Bench<'_>) {
    let long = "k".repeat(129);
    for key in ["", "a/b", "a b", "ü", "a\0b", "../x", &long] {
        let result = kind(b.prepare(key, None));
        rule!(result == Some(ErrorKind::Invalid), "[a-zA-Z0-9._-]`, at most 128 bytes", "{key:?}: {result:?}");
    }
    for key in [".", "..", ".trash", &"k".repeat(128), "-o"] {
        let before = b.ground.found();
        match b.prepare(key, None) {
            Ok(()) => b.remove(key).unwrap_or_else(|e| panic!("remove({key:?}): {e:?}")),
            Err(error) => rule!(error.kind == ErrorKind::Invalid, "[a-zA-Z0-9._-]`", "{key:?}: {error:?}"),
        }
        rule!(b.ground.found() == before, "Paths are relative to the driver's root", "{key:?} left something");
    }
}

fn listing(b: &Bench<'_>) {
    b.layer("base", None, |_| ());
    b.prepare("rw", Some("base")).expect("prepare");
    let list = b.call(|d| d.list()).expect("list");
    rule!(list.len() == 2, "All snapshots.", "{list:?}");
    let base = list.iter().find(|s| s.key == "base").expect("base");
    rule!(
        base.kind == SnapshotKind::Committed && base.parent.is_none(),
        "`committed` is a parent for others",
        "{base:?}"
    );
    let rw = list.iter().find(|s| s.key == "rw").expect("rw");
    rule!(rw.kind == SnapshotKind::Active && rw.parent.as_deref() == Some("base"), "`active` can be written", "{rw:?}");
    for path in list.iter().flat_map(|s| &s.paths) {
        rule!(
            b.ground.below(path).is_dir(),
            "The directories that belong to this snapshot alone.",
            "{path} is not there"
        );
    }
    rule!(rw.paths.iter().all(|p| !base.paths.contains(p)), "belong to this snapshot alone", "{list:?}");
}

fn checks(b: &Bench<'_>) {
    b.layer("base", None, |_| ());
    b.prepare("rw", Some("base")).expect("prepare");
    let check = || b.call(|d| d.check(b.ground.found())).expect("check");
    let text = "Compares the driver's records with what the core found below its root";
    assert!(check().is_empty(), "{text}: {:?}", check());
    // A crash after a plan was performed and before its state was kept.
    let plan = b.call(|d| d.prepare("crashed".into(), None, Vec::new())).expect("prepare");
    b.ground.act(&plan);
    b.host.discard();
    let findings = check();
    assert!(findings.iter().any(|f| f.kind == FindingKind::Unknown), "{text}: an unknown directory: {findings:?}");
    for finding in findings {
        fs::remove_dir_all(b.ground.below(&finding.key)).unwrap_or_else(|e| panic!("{text}: {}: {e}", finding.key));
    }
    assert!(check().is_empty(), "{text}: {:?}", check());
    // A crash after a tree was removed and before its record was.
    let plan = b.call(|d| d.remove("rw".into())).expect("remove");
    b.ground.act(&plan);
    b.host.discard();
    let findings = check();
    let missing = findings.iter().any(|f| f.key == "rw" && f.kind == FindingKind::Missing);
    assert!(missing, "{text}: a missing snapshot is named by its key: {findings:?}");
    b.call(|d| d.remove("rw".into())).expect("a missing snapshot can be removed");
    b.host.commit();
    assert!(check().is_empty(), "{text}: {:?}", check());
}

fn usage(b: &Bench<'_>) {
    b.layer("base", None, |at| put(at, "file", "x"));
    let paths = b.call(|d| d.usage("base".into())).expect("usage");
    rule!(!paths.is_empty(), "The paths whose size is what this snapshot adds to its parent.", "none");
    let holds = paths.iter().any(|p| b.ground.below(p).join("file").exists());
    rule!(holds, "The paths whose size is what this snapshot adds to its parent.", "{paths:?}");
}
