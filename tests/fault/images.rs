//! Images that lie, and registries that fail on the way.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sheave_tests::hostile::{Entry, HostileRegistry, Store, archive, digest, gzip};
use sheave_tests::server::Reply;
use sheave_tests::{Engine, Sandbox, kernel};

fn honest() -> Vec<u8> {
    archive(&[Entry::Dir("etc/"), Entry::File("etc/file", "content")])
}

/// What the engine has on disk that could be left of a pull.
fn on_disk(engine: &Engine<'_>) -> Vec<String> {
    let data = engine.dir().join("data");
    let mut names = Vec::new();
    for part in ["content/ingest", "content/blobs/sha256", "ingest", "storage/storage-overlay", "storage/storage-vfs"] {
        names.extend(kernel::tree(&data.join(part), 2).into_iter().map(|name| format!("{part}/{name}")));
    }
    names
}

/// Pulls `name`, which must fail with one of the texts, and leave nothing.
fn refused(engine: &Engine<'_>, name: &str, texts: &[&str]) {
    let parts = |left: &String| left.starts_with("content/ingest/");
    let before: Vec<String> = on_disk(engine).into_iter().filter(|left| !parts(left)).collect();
    let start = Instant::now();
    let output = engine.docker(&["pull", &format!("127.0.0.1:5000/{name}")]);
    assert_eq!(output.code, 1, "{name}: {output}");
    let said = output.stderr.to_lowercase();
    assert!(texts.is_empty() || texts.iter().any(|text| said.contains(text)), "{name}: none of {texts:?} in {output}");
    assert!(start.elapsed() < Duration::from_secs(60), "{name} took {:?}", start.elapsed());
    engine.docker(&["image", "inspect", &format!("127.0.0.1:5000/{name}")]).fails(1, "No such image");
    if !engine.is_oracle() {
        // A blob that ends early cannot be told from one that was cut off: its part is kept for the next pull to go on from.
        let left: Vec<String> = on_disk(engine).into_iter().filter(|left| !parts(left)).collect();
        assert_eq!(left, before, "left of {name}");
    }
}

#[test]
fn images_that_lie_are_refused() {
    let sandbox = Sandbox::new("lies");
    let mut store = Store::default();
    store.image("good:latest", &[honest()]);
    let blob = gzip(&honest());

    // The bytes are not those of the digest.
    store.image_of("wrong-digest:latest", &[(honest(), gzip(b"x"))], |manifest| {
        manifest["layers"][0]["digest"] = json!(digest(b"another"));
    });
    store.blob(&digest(b"another"), gzip(b"x"));
    // The size in the manifest is not that of the blob.
    let (short, long) = (archive(&[Entry::File("short", "s")]), archive(&[Entry::File("long", "l")]));
    store.image_with("size-small:latest", &[short], |manifest| manifest["layers"][0]["size"] = json!(3));
    store.image_with("size-large:latest", &[long], |manifest| manifest["layers"][0]["size"] = json!(1_u64 << 40));
    // The archive is not that of the configuration's diff-id.
    store.image_of("wrong-diff-id:latest", &[(b"something else".to_vec(), blob)], |_| {});
    store.image_of("not-gzip:latest", &[(honest(), b"plain bytes".to_vec())], |_| {});
    let truncated = gzip(&archive(&[Entry::File("cut", "c")]));
    store.image_of(
        "truncated:latest",
        &[(archive(&[Entry::File("cut", "c")]), truncated[..truncated.len() / 2].to_vec())],
        |_| {},
    );
    let tar = archive(&[Entry::File("whole", "w"), Entry::File("half", "h")]);
    // In the middle of the second header.
    store.image("half-tar:latest", &[tar[..1324].to_vec()]);
    store.image_with("no-layers:latest", &[honest()], |manifest| manifest["layers"] = json!([]));
    store.image_with("config-missing:latest", &[honest()], |manifest| {
        manifest["config"]["digest"] = json!(digest(b"nowhere"))
    });
    store.image_with("evil-digest:latest", &[honest()], |manifest| {
        manifest["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd");
    });
    store.manifest("not-a-manifest:latest", "application/vnd.oci.image.manifest.v1+json", &json!({"schemaVersion": 2}));
    let _registry = HostileRegistry::start(&sandbox, 5000, store);
    let engine = Engine::start(&sandbox);
    for name in [
        "wrong-digest",
        "size-small",
        "size-large",
        "wrong-diff-id",
        "not-gzip",
        "truncated",
        "half-tar",
        "no-layers",
        "config-missing",
        "evil-digest",
        "not-a-manifest",
    ] {
        // A dockerd 20.10 takes no offence at some of these.
        if !(engine.is_oracle() && ["size-large", "size-small", "half-tar"].contains(&name)) {
            refused(&engine, &format!("{name}:latest"), &[]);
        }
    }
    engine.d("pull -q 127.0.0.1:5000/good:latest").ok();
}

#[test]
fn layers_stay_in_their_directory() {
    let sandbox = Sandbox::new("escape");
    let outside = sandbox.path().join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("victim"), "untouched").expect("a file");
    let target: &'static str = Box::leak(outside.display().to_string().into_boxed_str());
    let victim: &'static str = Box::leak(format!("{target}/victim").into_boxed_str());
    let up: &'static str = Box::leak(format!("../../../../../../../../../../..{target}/up").into_boxed_str());
    let mut store = Store::default();
    store.image("dot-dot:latest", &[archive(&[Entry::File(up, "escaped")])]);
    store.image("symlink:latest", &[archive(&[Entry::Symlink("out", target), Entry::File("out/new", "escaped")])]);
    store.image(
        "symlink-layers:latest",
        &[archive(&[Entry::Symlink("out", target)]), archive(&[Entry::File("out/new", "escaped")])],
    );
    store.image("overwrite:latest", &[archive(&[Entry::Symlink("f", victim), Entry::File("f", "escaped")])]);
    store.image("hardlink:latest", &[archive(&[Entry::Hardlink("link", victim), Entry::File("link", "escaped")])]);
    store.image("hardlink-up:latest", &[archive(&[Entry::Hardlink("link", up)])]);
    store.image("whiteout:latest", &[archive(&[Entry::Symlink("out", target), Entry::File("out/.wh.victim", "")])]);
    store.image("whiteout-up:latest", &[archive(&[Entry::File(".wh...", "")])]);
    store.image("opaque:latest", &[archive(&[Entry::Symlink("out", target), Entry::File("out/.wh..wh..opq", "")])]);
    let names: Vec<&str> = vec![
        "dot-dot",
        "symlink",
        "symlink-layers",
        "overwrite",
        "hardlink",
        "hardlink-up",
        "whiteout",
        "whiteout-up",
        "opaque",
    ];
    let _registry = HostileRegistry::start(&sandbox, 5000, store);
    let engine = Engine::start(&sandbox);
    for name in names {
        // Refused, or unpacked inside: both are right; what is outside stays as it was.
        let output = engine.docker(&["pull", &format!("127.0.0.1:5000/{name}:latest")]);
        println!("{output}");
        assert_eq!(kernel::tree(&outside, 3), ["victim"], "{name}");
        assert_eq!(fs::read_to_string(outside.join("victim")).expect("the victim"), "untouched", "{name}");
    }
    engine.http().get("/_ping").text();
}

#[test]
fn registries_that_fail() {
    let sandbox = Sandbox::new("fail");
    let mut store = Store::default();
    for status in [401, 403, 404, 429, 500, 503] {
        store.image(&format!("blob-{status}:latest"), &[honest(), archive(&[Entry::File("n", "x")])]);
    }
    let _registry = HostileRegistry::start_with(
        &sandbox,
        5000,
        store,
        Box::new(|request| {
            let status: u16 =
                request.path.split(['-', '/']).filter_map(|part| part.parse().ok()).find(|n| *n >= 400)?;
            let blob = request.path.contains("/blobs/");
            (blob || request.path.contains("/only-")).then(|| {
                Reply::json(status, &json!({"errors": [{"code": "SHEAVE", "message": "told so", "detail": null}]}))
                    .with("Retry-After", "1")
            })
        }),
    );
    let engine = Engine::start(&sandbox);
    for status in [401, 403, 404, 429, 500, 503] {
        refused(&engine, &format!("only-{status}:latest"), &[]);
    }
    for status in [401, 403, 404, 500] {
        refused(&engine, &format!("blob-{status}:latest"), &[]);
    }
    let gone = engine.d("pull 127.0.0.1:5999/nobody/listens:latest").fails(1, "");
    assert!(
        gone.contains("connection refused") || gone.contains("Connection refused") || gone.contains("connect"),
        "{gone}"
    );
}

#[test]
fn a_download_goes_on_where_it_broke() {
    let sandbox = Sandbox::new("resume");
    let content: &'static str = Box::leak("0123456789abcdef".repeat(100_000).into_boxed_str());
    let layer = archive(&[Entry::File("large", content)]);
    let mut store = Store::default();
    // Stored, so that the blob is as large as its content.
    let stored = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        std::io::Write::write_all(&mut encoder, &layer).expect("memory");
        encoder.finish().expect("memory")
    };
    let blob = digest(&stored);
    let bytes = stored.clone();
    store.image_of("cut:latest", &[(layer, stored)], |_| {});
    let times = AtomicU32::new(0);
    let registry = HostileRegistry::start_with(
        &sandbox,
        5000,
        store,
        Box::new(move |request| {
            let first = request.path.contains(&blob) && times.fetch_add(1, Ordering::Relaxed) == 0;
            first.then(|| {
                let mut reply =
                    Reply::new(200, "application/octet-stream", bytes.clone()).with("Accept-Ranges", "bytes");
                reply.cut_after = Some(bytes.len() / 2);
                reply
            })
        }),
    );
    let engine = Engine::start(&sandbox);
    engine.d("pull -q 127.0.0.1:5000/cut:latest").ok();
    let resumed = registry
        .requests()
        .iter()
        .any(|request| request.header("range").is_some_and(|range| !range.starts_with("bytes=0-")));
    assert!(resumed || engine.is_oracle(), "the second request did not ask for the rest");
}

#[test]
fn a_registry_that_stalls_blocks_nothing_else() {
    let sandbox = Sandbox::new("stall");
    let mut store = Store::default();
    store.image("stalled:latest", &[honest()]);
    store.image("good:latest", &[archive(&[Entry::File("good", "g")])]);
    let layer = digest(&gzip(&honest()));
    let _registry = HostileRegistry::start_with(
        &sandbox,
        5000,
        store,
        Box::new(move |request| {
            request.path.contains(&layer).then(|| {
                let mut reply = Reply::new(200, "application/octet-stream", gzip(&honest()));
                reply.stall_after = Some(10);
                reply
            })
        }),
    );
    let engine = Engine::start(&sandbox);
    let mut stalled = engine
        .client("docker")
        .args(["pull", "127.0.0.1:5000/stalled:latest"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the CLI");
    sheave_tests::pause(Duration::from_millis(500));
    let start = Instant::now();
    engine.d("pull -q 127.0.0.1:5000/good:latest").ok();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(engine.http().get("/_ping").text(), "OK");
    // The client goes away: so does the download.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(stalled.id()).expect("a pid"));
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let _ = stalled.wait();
    engine.docker(&["image", "inspect", "127.0.0.1:5000/stalled:latest"]).fails(1, "No such image");
}

#[test]
fn a_full_disk_is_said_and_left_clean() {
    let sandbox = Sandbox::new("full");
    let disk = sandbox.path().join("disk");
    let at = disk.display().to_string();
    sandbox
        .sh(&format!("mkdir {at} && truncate -s 300M {at}.img && mkfs.ext4 -q {at}.img && mount -o loop {at}.img {at} && fallocate -l 230M {at}/filler"))
        .ok();
    // Does not compress well, and is larger than what is free.
    let noise: String = (0_u64..3_000_000)
        .map(|n| char::from(b'a' + u8::try_from((n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 59) % 26).unwrap_or(0)))
        .collect();
    let noise: &'static str = Box::leak(noise.repeat(16).into_boxed_str());
    let mut store = Store::default();
    store.image("large:latest", &[archive(&[Entry::File("large", noise)])]);
    store.image("good:latest", &[honest()]);
    let _registry = HostileRegistry::start(&sandbox, 5000, store);
    let engine = Engine::start_with(&sandbox, "disk/e", &[]);
    let full = engine.d("pull 127.0.0.1:5000/large:latest").fails(1, "");
    assert!(full.to_lowercase().contains("no space left on device"), "{full}");
    sandbox.sh(&format!("rm {at}/filler")).ok();
    engine.d("pull -q 127.0.0.1:5000/good:latest").ok();
    drop(engine);
    sandbox.sh(&format!("umount -l {at}")).ok();
}
