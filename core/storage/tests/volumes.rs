//! Volumes with the linked driver, real mounts and a real database. Needs root.

mod engine;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use engine::Engine;
use sheave_api::Filters;
use sheave_api::volumes::{ANONYMOUS, Volume, VolumeCreateRequest};
use sheave_storage::Volumes;
use sheave_types::{ErrorKind, Id};

fn volumes(engine: &Engine) -> Volumes {
    Volumes::open(engine.host.clone(), engine.database.clone(), engine.events.clone()).expect("volumes")
}

fn named(name: &str) -> VolumeCreateRequest {
    VolumeCreateRequest { name: name.into(), ..VolumeCreateRequest::default() }
}

fn with_options(name: &str, options: &[(&str, &str)]) -> VolumeCreateRequest {
    let options: BTreeMap<_, _> = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    VolumeCreateRequest { driver_opts: Some(options), ..named(name) }
}

fn filters(text: &str) -> Filters {
    Filters::parse(text).expect(text)
}

fn names(volumes: &[Volume]) -> Vec<&str> {
    volumes.iter().map(|v| v.name.as_str()).collect()
}

/// The actions of the volume events so far.
fn actions(engine: &Engine) -> Vec<String> {
    let (past, _) = engine.events.subscribe(Some(0));
    past.into_iter().filter(|e| e.kind.as_str() == "volume").map(|e| format!("{} {}", e.action, e.id)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_use_and_remove() {
    let engine = Engine::new().await;
    let volumes = volumes(&engine);
    let made = volumes.create(named("data")).await.expect("create");
    assert_eq!((made.driver.as_str(), made.scope.as_str()), ("local", "local"));
    assert_eq!((made.labels.as_ref(), made.options.as_ref()), (None, None));
    assert!(Path::new(&made.mountpoint).ends_with("volumes/local/data/_data") && made.created_at.ends_with('Z'));
    assert_eq!(volumes.create(named("data")).await.expect("again"), made);
    let (one, two) = (Id::random(), Id::random());
    let path = volumes.mount("data", &one).await.expect("mount");
    assert_eq!(path, Path::new(&made.mountpoint));
    assert_eq!(volumes.mount("data", &two).await.expect("mount"), path);
    fs::write(path.join("file"), "x").expect("write");
    let busy = volumes.remove("data", true).await.expect_err("in use");
    assert_eq!(busy.kind(), ErrorKind::Conflict);
    assert!(busy.message().starts_with("remove data: volume is in use - ["), "{busy}");
    assert!(busy.message().contains(&one.to_string()) && busy.message().contains(&two.to_string()), "{busy}");
    for container in [one, two, two] {
        volumes.unmount("data", &container).await.expect("unmount");
        volumes.release("data", &container).await.expect("release");
    }
    volumes.remove("data", false).await.expect("remove");
    let missing = volumes.remove("data", false).await.expect_err("missing");
    assert_eq!((missing.kind(), missing.message()), (ErrorKind::NotFound, "get data: no such volume"));
    volumes.remove("data", true).await.expect("force");
    assert_eq!(volumes.get("data").await.expect_err("missing").message(), "get data: no such volume");
    volumes.settle().await;
    assert!(!path.exists() && !path.parent().expect("parent").exists());
    let expected = ["create data", "mount data", "mount data", "unmount data", "unmount data", "destroy data"];
    assert_eq!(actions(&engine), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_and_leave_nothing() {
    let engine = Engine::new().await;
    let volumes = volumes(&engine);
    for (request, kind, part) in [
        (named("../x"), ErrorKind::Invalid, "includes invalid characters for a local volume name"),
        (named("x"), ErrorKind::Invalid, "too short"),
        (with_options("v1", &[("colour", "red")]), ErrorKind::Invalid, "invalid option: \"colour\""),
        (with_options("v2", &[("type", "tmpfs")]), ErrorKind::Invalid, "missing required option: \"device\""),
        (with_options("v3", &[("size", "1g")]), ErrorKind::Unsupported, "set-quota"),
        (VolumeCreateRequest { driver: "nobody".into(), ..named("v4") }, ErrorKind::NotFound, "nobody"),
        (
            VolumeCreateRequest { cluster_volume_spec: Some(serde_json::json!({})), ..named("v5") },
            ErrorKind::Unsupported,
            "ClusterVolumeSpec",
        ),
    ] {
        let error = volumes.create(request.clone()).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{request:?}: {error}");
        assert!(error.message().contains(part), "{request:?}: {error}");
    }
    volumes.create(named("taken")).await.expect("create");
    let other = VolumeCreateRequest { driver: "other".into(), ..named("taken") };
    assert_eq!(volumes.create(other).await.expect_err("another driver").kind(), ErrorKind::Conflict);
    let same = VolumeCreateRequest { driver: "volume-local".into(), ..named("taken") };
    volumes.create(same).await.expect("the same driver by its long name");
    assert_eq!(names(&volumes.list(&Filters::default()).expect("list")), ["taken"]);
    let root = engine.host.volume("local").expect("driver").root().to_owned();
    let left: Vec<_> = fs::read_dir(root).expect("read").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(left, ["taken"]);
    assert_eq!(volumes.list(&filters(r#"{"until":["1h"]}"#)).expect_err("filter").message(), "invalid filter 'until'");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anonymous_volumes_and_prune() {
    let engine = Engine::new().await;
    let volumes = volumes(&engine);
    let anonymous = volumes.create(VolumeCreateRequest::default()).await.expect("create");
    assert!(anonymous.name.len() == 64 && anonymous.labels.as_ref().expect("labels").contains_key(ANONYMOUS));
    let container = Id::random();
    let used = volumes.claim(VolumeCreateRequest::default(), &container).await.expect("claim");
    let labels = Some(BTreeMap::from([("keep".to_owned(), "yes".to_owned())]));
    volumes.create(VolumeCreateRequest { labels, ..named("kept") }).await.expect("create");
    volumes.create(named("plain")).await.expect("create");
    fs::write(Path::new(&anonymous.mountpoint).join("file"), vec![1; 50_000]).expect("write");
    let dangling = volumes.list(&filters(r#"{"dangling":["true"]}"#)).expect("list");
    assert_eq!(dangling.len(), 3);
    assert_eq!(names(&volumes.list(&filters(r#"{"dangling":{"false":true}}"#)).expect("list")), [used.name.as_str()]);
    let usage = volumes.with_usage().await.expect("usage");
    let of = |name: &str| usage.iter().find(|v| v.name == name).and_then(|v| v.usage_data).expect("usage");
    assert!(of(&anonymous.name).size >= 50_000 && of(&anonymous.name).ref_count == 0);
    assert_eq!(of(&used.name).ref_count, 1);
    let pruned = volumes.prune(&Filters::default()).await.expect("prune");
    assert_eq!(pruned.volumes_deleted, [anonymous.name]);
    assert!(pruned.space_reclaimed >= 50_000);
    let pruned = volumes.prune(&filters(r#"{"all":["true"],"label!":["keep=yes"]}"#)).await.expect("prune");
    assert_eq!(pruned.volumes_deleted, ["plain"]);
    volumes.release(&used.name, &container).await.expect("release");
    let pruned = volumes.prune(&filters(r#"{"all":{"1":true}}"#)).await.expect("prune");
    assert_eq!(pruned.volumes_deleted.len(), 2);
    assert_eq!(volumes.prune(&filters(r#"{"until":["1h"]}"#)).await.expect_err("until").kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_systems_are_mounted_once_and_unmounted_by_the_last() {
    let engine = Engine::new().await;
    let volumes = volumes(&engine);
    let shared = engine.path().join("shared");
    fs::create_dir(&shared).expect("mkdir");
    let shared_text = shared.to_str().expect("utf-8");
    let tmpfs = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,nosuid")];
    volumes.create(with_options("scratch", &tmpfs)).await.expect("create");
    let bind = [("type", "none"), ("device", shared_text), ("o", "bind,ro")];
    volumes.create(with_options("bound", &bind)).await.expect("create");
    let (one, two) = (Id::random(), Id::random());
    let path = volumes.mount("scratch", &one).await.expect("mount");
    fs::write(path.join("file"), "x").expect("write");
    let again = volumes.mount("scratch", &two).await.expect("mount");
    assert!(again.join("file").exists());
    assert_eq!(engine.mount_points(), std::slice::from_ref(&path));
    assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o7777, 0o1777);
    let usage = volumes.with_usage().await.expect("usage");
    assert!(usage.iter().all(|v| v.usage_data.is_some_and(|u| u.size == -1)), "{usage:?}");
    volumes.unmount("scratch", &one).await.expect("unmount");
    assert_eq!(engine.mount_points().len(), 1);
    volumes.unmount("scratch", &two).await.expect("unmount");
    assert!(engine.mount_points().is_empty());
    let bound = volumes.mount("bound", &one).await.expect("mount");
    fs::write(shared.join("file"), "x").expect("write");
    assert!(bound.join("file").exists() && fs::write(bound.join("other"), "").is_err(), "read-only");
    volumes.unmount("bound", &one).await.expect("unmount");
    volumes.release("bound", &one).await.expect("release");
    volumes.remove("bound", false).await.expect("remove");
    volumes.settle().await;
    assert!(shared.join("file").exists(), "a bound directory is not the volume's to remove");
    let ungranted = [("type", "ext4"), ("device", "/dev/null")];
    volumes.create(with_options("disk", &ungranted)).await.expect("create");
    let error = volumes.mount("disk", &one).await.expect_err("not granted");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotGranted, "not-granted: mount-types ext4 (for volume-local)")
    );
    let nfs = [("type", "nfs"), ("device", ":/x"), ("o", "addr=no-such-host.invalid")];
    volumes.create(with_options("remote", &nfs)).await.expect("create");
    let error = volumes.mount("remote", &one).await.expect_err("no such server");
    assert!(error.message().contains("no-such-host.invalid"), "{error}");
    assert!(engine.mount_points().is_empty());
}

fn image(at: &Path) {
    fs::create_dir_all(at.join("srv/data/sub")).expect("mkdir");
    fs::write(at.join("srv/data/sub/file"), "content").expect("write");
    chown(at.join("srv/data"), Some(33), Some(44)).expect("chown");
    fs::set_permissions(at.join("srv/data"), fs::Permissions::from_mode(0o750)).expect("chmod");
    symlink("/srv/data", at.join("link")).expect("symlink");
    symlink("/../../../../../../etc", at.join("escape")).expect("symlink");
    fs::write(at.join("file"), "").expect("write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_up_fills_empty_volumes_only() {
    let engine = Engine::new().await;
    let volumes = volumes(&engine);
    let root = engine.path().join("image");
    fs::create_dir(&root).expect("mkdir");
    image(&root);
    let container = Id::random();
    let tmpfs = [("type", "tmpfs"), ("device", "tmpfs")];
    for (name, path, request) in [
        ("direct", "/srv/data", named("direct")),
        ("linked", "/link", named("linked")),
        ("mounted", "srv/data", with_options("mounted", &tmpfs)),
    ] {
        volumes.create(request).await.expect("create");
        let at = volumes.mount(name, &container).await.expect("mount");
        volumes.copy_up(&at, &root, Path::new(path)).await.expect("copy-up");
        assert_eq!(fs::read_to_string(at.join("sub/file")).expect("read"), "content", "{name}");
        let stat = fs::metadata(&at).expect("stat");
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o750, 33, 44), "{name}");
        fs::write(at.join("sub/file"), "changed").expect("write");
        volumes.copy_up(&at, &root, Path::new("/srv")).await.expect("not empty");
        assert_eq!(fs::read_to_string(at.join("sub/file")).expect("read"), "changed", "{name}");
        let beside: Vec<_> = fs::read_dir(at.parent().expect("parent")).expect("read").collect();
        assert_eq!(beside.len(), 1, "{name}: {beside:?}");
        volumes.unmount(name, &container).await.expect("unmount");
    }
    volumes.create(named("nothing")).await.expect("create");
    let at = volumes.mount("nothing", &container).await.expect("mount");
    for path in ["/no/such/dir", "/file", "/escape"] {
        volumes.copy_up(&at, &root, Path::new(path)).await.expect("nothing to copy");
        assert_eq!(fs::read_dir(&at).expect("read").count(), 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_loses_no_data_and_leaves_no_mount() {
    let engine = Engine::new().await;
    let first = volumes(&engine);
    let container = Id::random();
    first.create(named("kept")).await.expect("create");
    let kept = first.mount("kept", &container).await.expect("mount");
    fs::write(kept.join("file"), "x").expect("write");
    let tmpfs = [("type", "tmpfs"), ("device", "tmpfs")];
    first.create(with_options("used", &tmpfs)).await.expect("create");
    first.create(with_options("unused", &tmpfs)).await.expect("create");
    first.mount("used", &container).await.expect("mount");
    first.mount("unused", &container).await.expect("mount");
    // The daemon was killed: after the note that the run is over, in a creation, in a removal, in a copy-up.
    engine.database.volume_users().set_mounted("unused", &container.to_string(), false).expect("note");
    first.create(named("adopted")).await.expect("create");
    engine.database.volumes().remove("adopted").expect("forget");
    let driver = engine.host.volume("local").expect("driver");
    first.create(named("forgotten")).await.expect("create");
    drop(driver.remove("forgotten".into()).await.expect("plan").commit());
    let root = driver.root().to_owned();
    fs::create_dir_all(root.join("half/_data")).expect("mkdir");
    fs::create_dir_all(root.join("strange")).expect("mkdir");
    fs::write(root.join("strange/file"), "someone's").expect("write");
    fs::create_dir_all(root.join("kept/.copy-123/sub")).expect("mkdir");
    drop(first);
    let engine = engine.restart().await;
    let volumes = volumes(&engine);
    volumes.recover().await.expect("recover");
    let all = volumes.list(&Filters::default()).expect("list");
    assert_eq!(names(&all), ["adopted", "kept", "unused", "used"]);
    assert!(kept.join("file").exists() && !root.join("half").exists() && !root.join("kept/.copy-123").exists());
    assert!(root.join("strange/file").exists(), "what is not empty stays");
    assert_eq!(engine.mount_points(), [root.join("used/_data")]);
    volumes.unmount("used", &container).await.expect("unmount");
    assert!(engine.mount_points().is_empty());
}
