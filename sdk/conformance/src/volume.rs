//! The suite of the kind `volume`: what `volume.wit` promises, one function a promise.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use sheave_plugin::volume::{AnyDriver, Info, Spec};
use sheave_plugin::{Action, Error, ErrorKind, Label, Make, MountSource, host};

use crate::{FakeHost, Ground, rule};

/// Makes one test of each promise of the volume interface, over a linked plugin: `volume_suite!(my_plugin::linked());`
#[macro_export]
macro_rules! volume_suite {
    ($linked:expr) => {
        $crate::volume_suite! { $linked;
            configuration lifecycle kept conflicts missing rejected_names failed_plans listing usage
        }
    };
    ($linked:expr; $($promise:ident)+) => {
        $(#[test]
        fn $promise() {
            let linked = $linked;
            let make = linked.volume.expect("a volume plugin");
            if stringify!($promise) == "configuration" {
                $crate::volume::configuration(make);
                return;
            }
            let driver = make(String::new()).expect("a driver without configuration");
            let host = $crate::FakeHost::new();
            $crate::volume::by_name(stringify!($promise), driver.as_ref(), &host);
        })+
    };
}

/// One promise of the interface.
type Promise = fn(&Bench<'_>);

/// The promises with their names.
const PROMISES: &[(&str, Promise)] = &[
    ("lifecycle", lifecycle),
    ("kept", kept),
    ("conflicts", conflicts),
    ("missing", missing),
    ("rejected_names", rejected_names),
    ("failed_plans", failed_plans),
    ("listing", listing),
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

/// A plain volume of this name, to be changed by a test.
pub fn spec(name: &str) -> Spec {
    Spec { name: name.to_owned(), options: Vec::new(), labels: Vec::new(), size_bytes: None }
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

    fn create(&self, name: &str) -> Result<(), Error> {
        self.plan(|d| d.create(spec(name)))
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.plan(|d| d.remove(name.to_owned()))
    }

    /// The directory that a plain volume binds.
    fn directory(&self, name: &str, user: &str) -> PathBuf {
        let mounts = self.call(|d| d.mount(name.to_owned(), user.to_owned()));
        let mounts = mounts.unwrap_or_else(|e| panic!("mount({name}): {e:?}"));
        self.host.commit();
        let text = "A bind of a directory below the root needs no mount of its own.";
        let [mount] = mounts.as_slice() else { panic!("{text}: {mounts:?}") };
        let MountSource::Bind(bind) = &mount.source else { panic!("{text}: {mount:?}") };
        let path = self.ground.below(&bind.source);
        rule!(path.is_dir(), "How to mount it for `user`", "{} is not there", path.display());
        path
    }

    fn list(&self) -> Vec<Info> {
        self.call(|d| d.list()).unwrap_or_else(|e| panic!("list: {e:?}"))
    }
}

fn kind(result: Result<(), Error>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind)
}

fn lifecycle(b: &Bench<'_>) {
    b.create("data").expect("create");
    let first = b.directory("data", "c1");
    fs::write(first.join("file"), "kept").expect("write");
    let second = b.directory("data", "c2");
    rule!(fs::read(second.join("file")).is_ok(), "How to mount it for `user`", "two users see different data");
    for user in ["c1", "c2", "c2", "never-mounted"] {
        let unmounted = b.call(|d| d.unmount("data".into(), user.into()));
        rule!(unmounted.is_ok(), "also for a user that is not known", "{user}: {unmounted:?}");
    }
    rule!(fs::read(b.directory("data", "c3").join("file")).is_ok(), "Where a volume's data is.", "it was lost");
    b.remove("data").expect("remove");
    rule!(b.ground.found().is_empty(), "Removes a volume and its data.", "left {:?}", b.ground.found());
}

fn kept(b: &Bench<'_>) {
    b.create("data").expect("create");
    fs::write(b.directory("data", "c").join("file"), "kept").expect("write");
    let again = b.create("data");
    rule!(again.is_ok(), "One that exists with the same options is kept.", "{again:?}");
    rule!(
        b.directory("data", "c").join("file").exists(),
        "One that exists with the same options is kept.",
        "data lost"
    );
    rule!(b.list().len() == 1, "One that exists with the same options is kept.", "{:?}", b.list());
}

/// An option that the driver does not know is refused, not ignored.
fn conflicts(b: &Bench<'_>) {
    let mut odd = spec("odd");
    odd.options = vec![Label { key: "no-such-option".into(), value: "1".into() }];
    let result = kind(b.plan(|d| d.create(odd)));
    rule!(result == Some(ErrorKind::Invalid), "the request itself is wrong", "an unknown option: {result:?}");
    rule!(b.list().is_empty(), "After an error nothing of it exists.", "{:?}", b.list());
}

fn missing(b: &Bench<'_>) {
    let missing = Some(ErrorKind::NotFound);
    let text = "a named thing does not exist";
    assert_eq!(kind(b.remove("nobody")), missing, "{text}: remove");
    assert_eq!(kind(b.call(|d| d.get("nobody".into())).map(drop)), missing, "{text}: get");
    assert_eq!(kind(b.call(|d| d.usage("nobody".into())).map(drop)), missing, "{text}: usage");
    assert_eq!(kind(b.call(|d| d.mount("nobody".into(), "c".into())).map(drop)), missing, "{text}: mount");
}

fn rejected_names(b: &Bench<'_>) {
    for name in ["", ".", "..", "../x", "a/b", "/abs", "a\0b", "-rf", "ü", &"n".repeat(256)] {
        let result = kind(b.create(name));
        rule!(result == Some(ErrorKind::Invalid), "Paths in answers are relative to the driver's root", "{name:?}");
    }
    rule!(b.ground.found().is_empty(), "After an error nothing of it exists.", "{:?}", b.ground.found());
}

/// The engine drops the state of a plan that it could not perform.
fn failed_plans(b: &Bench<'_>) {
    let text = "when the call or its plan fails, the write never happened";
    b.call(|d| d.create(spec("data"))).expect("create");
    b.host.discard();
    assert!(b.list().is_empty(), "{text}: {:?}", b.list());
    b.create("data").unwrap_or_else(|e| panic!("{text}: create again: {e:?}"));
    b.call(|d| d.remove("data".into())).expect("remove");
    b.host.discard();
    b.directory("data", "c");
}

fn listing(b: &Bench<'_>) {
    b.create("one").expect("create");
    b.create("two").expect("create");
    let list = b.list();
    rule!(list.len() == 2, "volume: list", "{list:?}");
    for info in list {
        let got = b.call(|d| d.get(info.name.clone())).expect("get");
        rule!(got == info, "volume: get", "{got:?} is not {info:?}");
        rule!(b.ground.below(&info.mountpoint).is_dir(), "Paths in answers are relative", "{info:?}");
        rule!(info.created > 0, "record info", "{info:?} has no time");
    }
}

fn usage(b: &Bench<'_>) {
    b.create("data").expect("create");
    fs::write(b.directory("data", "c").join("file"), "x").expect("write");
    let paths = b.call(|d| d.usage("data".into())).expect("usage");
    let holds = paths.iter().any(|p| b.ground.below(p).join("file").exists());
    rule!(holds, "The paths whose size is the volume's.", "{paths:?}");
}
