//! Snapshots with the linked drivers, real mounts and a real database. Needs root.

mod engine;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use engine::Engine;
use sheave_plugin::FindingKind;
use sheave_storage::{ResolvedMount, Snapshots};
use sheave_types::ErrorKind;

const DRIVERS: [&str; 2] = ["overlay", "vfs"];

async fn layer(snapshots: &Snapshots, driver: &str, name: &str, parent: Option<&str>, write: impl FnOnce(&Path)) {
    let key = format!("unpack-{name}");
    snapshots.prepare(driver, &key, parent, &[]).await.expect("prepare");
    let guard = snapshots.mount_private(driver, &key, false).await.expect("mount");
    write(guard.path());
    drop(guard);
    snapshots.commit(driver, &key, name, None).await.expect("commit");
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .expect("read")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .filter(|n| n != ".trash")
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_containers_and_removal_leave_nothing() {
    let engine = Engine::new().await;
    let snapshots = engine.snapshots().await;
    assert_eq!(snapshots.default_driver(), "overlay", "overlayfs works on the test machine");
    for driver in DRIVERS {
        layer(&snapshots, driver, "base", None, |at| {
            fs::write(at.join("file"), "base").expect("write");
            fs::set_permissions(at, fs::Permissions::from_mode(0o711)).expect("chmod");
        })
        .await;
        layer(&snapshots, driver, "top", Some("base"), |at| {
            assert_eq!(fs::read_to_string(at.join("file")).expect("read"), "base", "{driver}");
            fs::write(at.join("more"), vec![7; 100_000]).expect("write");
        })
        .await;
        snapshots.prepare(driver, "container", Some("top"), &[]).await.expect("prepare");
        let conflict = snapshots.prepare(driver, "container", Some("top"), &[]).await.expect_err("twice");
        assert_eq!(conflict.kind(), ErrorKind::Conflict);
        let guard = snapshots.mount_private(driver, "container", true).await.expect("mount");
        assert!(guard.path().join("more").exists() && fs::write(guard.path().join("x"), "").is_err(), "{driver}");
        drop(guard);
        assert!(snapshots.usage(driver, "top").await.expect("usage") >= 100_000);
        assert_eq!(snapshots.remove(driver, "top").await.expect_err("a parent").kind(), ErrorKind::Conflict);
        assert!(snapshots.check(driver).await.expect("check").is_empty());
        for key in ["container", "top", "base", "base"] {
            snapshots.remove(driver, key).await.expect("remove");
        }
        assert!(snapshots.list(driver).await.expect("list").is_empty());
        snapshots.settle().await;
        let root = snapshots.root(driver).expect("root");
        assert!(names(&root).is_empty() && names(&root.join(".trash")).is_empty(), "{driver}: {:?}", names(&root));
    }
    assert!(engine.mount_points().is_empty());
    assert!(names(&engine.path().join("run/mnt")).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlay_layers_take_their_parent_at_commit() {
    let engine = Engine::new().await;
    let snapshots = engine.snapshots().await;
    for name in ["one", "two", "three"] {
        let key = format!("unpack-{name}");
        snapshots.prepare("overlay", &key, None, &[]).await.expect("prepare");
        let guard = snapshots.mount_private("overlay", &key, false).await.expect("mount");
        fs::write(guard.path().join(name), name).expect("write");
    }
    for (name, parent) in [("one", None), ("two", Some("one")), ("three", Some("two"))] {
        snapshots.commit("overlay", &format!("unpack-{name}"), name, parent).await.expect("commit");
    }
    let mounts = snapshots.mounts("overlay", "three", false).await.expect("mounts");
    let [ResolvedMount::Overlay { lowers, upper: None, .. }] = mounts.as_slice() else { panic!("{mounts:?}") };
    assert_eq!(lowers.len(), 3);
    let guard = snapshots.mount_private("overlay", "three", true).await.expect("mount");
    assert_eq!(names(guard.path()), ["one", "three", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_fails_is_undone_and_never_known() {
    let engine = Engine::new().await;
    let snapshots = engine.snapshots().await;
    for driver in DRIVERS {
        let error =
            snapshots.prepare(driver, "limited", None, &[("size", "1048576")]).await.expect_err("no quota here");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains("set-quota"), "{error}");
        assert!(snapshots.list(driver).await.expect("list").is_empty());
        assert!(names(&snapshots.root(driver).expect("root")).is_empty());
        snapshots.prepare(driver, "limited", None, &[]).await.expect("the key is free");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn removal_and_a_new_child_follow_each_other() {
    let engine = Engine::new().await;
    let snapshots = engine.snapshots().await;
    for round in 0..20 {
        let base = format!("base-{round}");
        layer(&snapshots, "overlay", &base, None, |_| ()).await;
        let child = format!("child-{round}");
        let (removed, prepared) =
            tokio::join!(snapshots.remove("overlay", &base), snapshots.prepare("overlay", &child, Some(&base), &[]),);
        assert_ne!(removed.is_ok(), prepared.is_ok(), "{removed:?} {prepared:?}");
        assert!(snapshots.check("overlay").await.expect("check").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_removes_what_a_crash_left() {
    let engine = Engine::new().await;
    let snapshots = engine.snapshots().await;
    for driver in DRIVERS {
        layer(&snapshots, driver, "base", None, |_| ()).await;
        snapshots.prepare(driver, "unpack-1", None, &[]).await.expect("prepare");
        snapshots.prepare(driver, "container", Some("base"), &[]).await.expect("prepare");
        snapshots.prepare(driver, "vanished", Some("base"), &[]).await.expect("prepare");
        // A plan was performed, and the daemon killed before its state was committed.
        let root = snapshots.root(driver).expect("root");
        fs::create_dir_all(root.join("aaaabbbbcc/fs")).expect("mkdir");
        fs::write(root.join("aaaabbbbcc/fs/file"), "").expect("write");
        // A removal was half done.
        fs::create_dir_all(root.join(".trash/123/deep/er")).expect("mkdir");
        // A container's directory was lost.
        let gone = snapshots.list(driver).await.expect("list");
        let gone = gone.iter().find(|s| s.key == "vanished").expect("vanished");
        fs::remove_dir_all(root.join(&gone.paths[0]).parent().expect("parent")).expect("remove");
    }
    // A mount of the daemon outlives it.
    std::mem::forget(snapshots.mount_private("overlay", "container", false).await.expect("mount"));
    assert_eq!(engine.mount_points().len(), 1);
    drop(snapshots);
    let engine = engine.restart().await;
    let snapshots = engine.snapshots().await;
    let recovery = snapshots.recover().await.expect("recover");
    assert_eq!((recovery.unmounted, recovery.unknown, recovery.removed), (1, 2, 4), "{recovery:?}");
    assert_eq!(recovery.lost.len(), 2, "{recovery:?}");
    assert!(engine.mount_points().is_empty());
    snapshots.settle().await;
    for driver in DRIVERS {
        let mut keys: Vec<_> = snapshots.list(driver).await.expect("list").into_iter().map(|s| s.key).collect();
        keys.sort();
        assert_eq!(keys, ["base", "container"], "{driver}");
        assert!(snapshots.check(driver).await.expect("check").is_empty(), "{driver}");
        let root = snapshots.root(driver).expect("root");
        assert!(names(&root).len() == 2 && names(&root.join(".trash")).is_empty(), "{driver}: {:?}", names(&root));
    }
    assert_eq!(snapshots.recover().await.expect("again"), sheave_storage::Recovery::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_layer_is_forgotten_so_that_it_is_unpacked_again() {
    let engine = Engine::new().await;
    let snapshots = engine.snapshots().await;
    layer(&snapshots, "overlay", "chain", None, |_| ()).await;
    let chain =
        sheave_metadata::Chain { chain: "chain".into(), driver: "overlay".into(), snapshot: "chain".into(), size: 1 };
    engine.database.chains().put(&chain).expect("put");
    let root = snapshots.root("overlay").expect("root");
    let dir = names(&root).remove(0);
    fs::remove_dir_all(root.join(&dir).join("fs")).expect("remove");
    let findings = snapshots.check("overlay").await.expect("check");
    assert_eq!(findings.iter().map(|f| f.kind).collect::<Vec<_>>(), [FindingKind::Broken]);
    let recovery = snapshots.recover().await.expect("recover");
    assert_eq!(recovery.lost.len(), 1);
    assert!(engine.database.chains().get("chain", "overlay").expect("get").is_none());
    layer(&snapshots, "overlay", "chain", None, |_| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_overlayfs_the_other_driver_serves() {
    let engine = Engine::new().await;
    // overlayfs does not write through an overlay whose upper is an overlay.
    let parts = ["lower", "upper", "work"].map(|p| engine.path().join(p));
    for part in &parts {
        fs::create_dir(part).expect("mkdir");
    }
    let root = engine.host.storage("overlay").expect("driver").root().to_owned();
    let mount = ResolvedMount::Overlay {
        target: "".into(),
        lowers: vec![parts[0].clone()],
        upper: Some(parts[1].clone()),
        work: Some(parts[2].clone()),
        options: vec![],
    };
    let guard = sheave_storage::mount_at(&[mount], &root).expect("mount");
    let snapshots = engine.snapshots().await;
    assert_eq!(snapshots.default_driver(), "vfs");
    let error = snapshots.prepare("overlay", "x", None, &[]).await.expect_err("it was probed");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(guard);
    assert!(names(&engine.path().join("run/mnt")).is_empty());
}
