//! Binds and volumes.

use std::fs;

use serde_json::json;
use sheave_tests::registry::Registry;
use sheave_tests::{Engine, Sandbox, kernel};

#[test]
fn v1_binds() {
    let sandbox = Sandbox::new("v1bind");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    let source = sandbox.path().join("source");
    fs::create_dir(&source).expect("a directory");
    fs::write(source.join("file"), "from outside").expect("a file");
    let bind = |what: &str, script: &str| engine.docker(&["run", "--rm", "-v", what, "busybox", "sh", "-c", script]);
    let at = source.display().to_string();
    assert_eq!(bind(&format!("{at}:/in"), "cat /in/file; echo inside >/in/new").ok(), "from outside");
    assert_eq!(fs::read_to_string(source.join("new")).expect("written by the container"), "inside\n");
    let read_only = bind(&format!("{at}:/in:ro"), "cat /in/file; echo x >/in/no");
    assert!(read_only.code != 0 && read_only.stderr.contains("Read-only file system"), "{read_only}");
    assert_eq!(bind(&format!("{at}/file:/one-file"), "cat /one-file").ok(), "from outside");
    // -v makes a missing directory, --mount refuses it.
    assert_eq!(bind(&format!("{at}/made:/in"), "ls -A /in").ok(), "");
    assert!(source.join("made").is_dir());
    engine
        .docker(&["run", "--rm", "--mount", &format!("type=bind,source={at}/missing,target=/in"), "busybox", "true"])
        .fails(125, "bind source path does not exist");
    let relative = bind("relative/path:/in", "true");
    assert!(relative.code == 125, "{relative}");
    sandbox.sh(&format!("mount --bind {at} {at} && mount --make-shared {at}")).ok();
    let shared = engine
        .docker(&[
            "run",
            "--rm",
            "-v",
            &format!("{at}:/in:rslave"),
            "busybox",
            "sh",
            "-c",
            "grep ' /in ' /proc/self/mountinfo",
        ])
        .ok();
    assert!(shared.contains(" /in ") && shared.contains("master:"), "{shared}");
    let tmpfs = engine
        .docker(&[
            "run",
            "--rm",
            "--mount",
            "type=tmpfs,target=/t,tmpfs-size=1m",
            "busybox",
            "sh",
            "-c",
            "df -k /t | tail -1",
        ])
        .ok();
    assert!(tmpfs.contains("1024"), "{tmpfs}");
}

#[test]
fn v1_named_and_anonymous_volumes() {
    let sandbox = Sandbox::new("v1vol");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    engine.d("run --rm busybox true").ok();
    let before = kernel::Snapshot::settled(&sandbox);
    let sh =
        |volume: &str, script: &str| engine.docker(&["run", "--rm", "-v", volume, "busybox", "sh", "-c", script]).ok();

    assert_eq!(engine.d("volume create --label a=b data").ok(), "data");
    assert_eq!(engine.d("volume create data").ok(), "data");
    sh("data:/d", "echo kept >/d/file");
    assert_eq!(sh("data:/d", "cat /d/file"), "kept");
    assert_eq!(sh("data:/d:ro", "touch /d/x 2>/dev/null || echo ro"), "ro");

    // An empty volume takes what the image has at that place, with its owner and mode; a full one stays as it is.
    assert_eq!(sh("home:/home/app", "stat -c %u:%g /home/app"), "1000:1000");
    assert_eq!(sh("etc:/etc", "head -1 /etc/passwd; echo changed >/etc/passwd"), "root:x:0:0:root:/root:/bin/sh");
    assert_eq!(sh("etc:/other", "cat /other/passwd"), "changed");
    assert_eq!(sh("empty:/etc:nocopy", "ls /etc/passwd 2>/dev/null || echo nothing"), "nothing");

    let inspected = engine.http().get("/v1.41/volumes/data").expect(200);
    assert_eq!(
        (&inspected["Name"], &inspected["Driver"], &inspected["Scope"]),
        (&json!("data"), &json!("local"), &json!("local"))
    );
    assert_eq!(inspected["Labels"]["a"], "b");
    assert!(inspected["Mountpoint"].as_str().is_some_and(|path| path.ends_with("/data/_data")), "{inspected}");
    let filtered = |filter: &str| engine.docker(&["volume", "ls", "-q", "--filter", filter]).ok();
    assert_eq!(filtered("label=a=b"), "data");
    assert_eq!(filtered("name=hom"), "home");
    engine.d("run -d --name user -v data:/d -v /anonymous busybox sleep 1000").ok();
    assert!(!filtered("dangling=true").contains("data"));
    let mounts = engine.http().get("/v1.41/containers/user/json").expect(200)["Mounts"].clone();
    let data =
        mounts.as_array().expect("mounts").iter().find(|mount| mount["Name"] == "data").expect("the named one").clone();
    assert_eq!((&data["Type"], &data["Destination"], &data["RW"]), (&json!("volume"), &json!("/d"), &json!(true)));
    let id = engine.inspect("user", "{{.Id}}");
    let used = engine.d("volume rm data").fails(1, "volume is in use");
    assert!(used.contains(&id), "{used}");

    assert_eq!(engine.docker(&["run", "--rm", "--volumes-from", "user", "busybox", "cat", "/d/file"]).ok(), "kept");
    engine.d("rm -f user").ok();
    // Without -v an anonymous volume stays behind.
    assert_eq!(engine.d("volume ls -q").ok().lines().count(), 5);
    engine.d("run --rm -v /gone busybox true").ok();
    assert_eq!(engine.d("volume ls -q").ok().lines().count(), 5);
    engine.d("volume rm data").ok();
    engine.d("volume rm data").fails(1, "no such volume");
    engine.d("volume inspect data").fails(1, "data");
    engine.docker(&["volume", "create", "../escape"]).fails(1, "");
    engine.docker(&["volume", "create", "-d", "no-such-driver", "x"]).fails(1, "no-such-driver");
    engine.docker(&["volume", "rm", "home"]).ok();
    let prune = if engine.is_oracle() { "volume prune -f" } else { "volume prune -a -f" };
    let pruned = engine.d(prune).ok();
    assert!(pruned.contains("etc") && pruned.contains("empty"), "{pruned}");
    assert_eq!(engine.d("volume ls -q").ok(), "");
    kernel::back_to(&sandbox, &before);
}
