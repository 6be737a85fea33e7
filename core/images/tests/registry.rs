//! Images of other tools in a registry of others: umoci and skopeo make them, `docker-registry` serves them.
//!
//! Needs root, `docker-registry`, `skopeo`, `umoci` and `busybox`; fails where one is missing.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sheave_api::images::AuthConfig;
use support::{Engine, statuses, tuning};

/// Debian's registry on a port of its own; it ends with this.
struct Registry {
    process: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let port = TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port();
        let address = format!("127.0.0.1:{port}");
        let config = dir.path().join("config.yml");
        let root = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            root.display()
        );
        fs::write(&config, text).expect("config");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = Self { process, address, _dir: dir };
        let begun = Instant::now();
        while std::net::TcpStream::connect(&registry.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "docker-registry does not listen");
            std::thread::yield_now();
        }
        registry
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An image of three layers, in an OCI layout as `layout:app`.
fn make_image(work: &Path) -> String {
    let layout = work.join("layout").display().to_string();
    let image = format!("{layout}:app");
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    let steps: [fn(&Path); 3] = [first_layer, second_layer, third_layer];
    for (n, step) in steps.iter().enumerate() {
        let bundle = work.join(format!("bundle{n}")).display().to_string();
        run("umoci", &["unpack", "--image", &image, &bundle]);
        step(&Path::new(&bundle).join("rootfs"));
        run("umoci", &["repack", "--image", &image, &bundle]);
    }
    run("umoci", &["config", "--image", &image, "--config.cmd", "/bin/sh", "--config.label", "made=by umoci"]);
    image
}

fn first_layer(root: &Path) {
    for dir in ["bin", "etc/conf.d", "var/lib/a", "var/lib/b", "dev"] {
        fs::create_dir_all(root.join(dir)).expect("dir");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    fs::hard_link(root.join("bin/busybox"), root.join("bin/sh")).expect("hard link");
    symlink("busybox", root.join("bin/ls")).expect("symlink");
    for (path, text) in
        [("etc/passwd", "root:x:0:0::/:/bin/sh\n"), ("etc/conf.d/a", "1"), ("var/lib/a/x", "x"), ("var/lib/b/y", "y")]
    {
        fs::write(root.join(path), text).expect("file");
    }
    fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o4755)).expect("mode");
    std::os::unix::fs::chown(root.join("var/lib/a"), Some(1000), Some(2000)).expect("chown");
    fs::set_permissions(root.join("var/lib/a"), fs::Permissions::from_mode(0o1770)).expect("mode");
    xattr::set(root.join("etc/passwd"), "user.note", b"line\nbreak").expect("xattr");
    nix::unistd::mkfifo(&root.join("dev/pipe"), nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("fifo");
}

fn second_layer(root: &Path) {
    fs::remove_file(root.join("etc/conf.d/a")).expect("remove");
    fs::write(root.join("etc/conf.d/b"), "2").expect("file");
    fs::remove_dir_all(root.join("var/lib/b")).expect("remove");
    fs::create_dir(root.join("var/lib/b")).expect("again");
    fs::write(root.join("var/lib/b/new"), "n").expect("file");
    fs::remove_file(root.join("bin/ls")).expect("remove");
    fs::write(root.join("bin/ls"), "a file now").expect("file");
    let long = "n".repeat(120);
    fs::create_dir_all(root.join("long").join(&long)).expect("dir");
    fs::write(root.join("long").join(&long).join(&long), "deep").expect("file");
}

fn third_layer(root: &Path) {
    fs::hard_link(root.join("bin/busybox"), root.join("bin/cat")).expect("hard link");
    fs::write(root.join("var/lib/a/z"), "z").expect("file");
    fs::remove_dir_all(root.join("long")).expect("remove");
}

/// Path, type, mode, owner, size or target, and the extended attribute of the test.
fn listing(root: &Path) -> Vec<String> {
    let (mut all, mut todo) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).expect("stat");
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            todo.extend(fs::read_dir(&full).expect("list").map(|e| path.join(e.expect("entry").file_name())));
            "dir".to_owned()
        } else if kind.is_symlink() {
            fs::read_link(&full).expect("link").display().to_string()
        } else if kind.is_file() {
            format!("{} {}", meta.len(), sheave_types::Digest::of(&fs::read(&full).expect("read")).short())
        } else {
            format!("fifo {}", kind.is_fifo())
        };
        let mode = if kind.is_symlink() { 0 } else { meta.mode() & 0o7777 };
        let note = if kind.is_file() { xattr::get(&full, "user.note").expect("xattr") } else { None };
        // umoci gives the root its own time and owner.
        let mtime = if path.as_os_str().is_empty() || kind.is_dir() { 0 } else { meta.mtime() };
        all.push(format!("{} {what} {mode:o} {}:{} {mtime} {note:?}", path.display(), meta.uid(), meta.gid()));
    }
    all.sort();
    all
}

/// A mounted overlay, gone with this.
struct Overlay(PathBuf);

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// What a container of the topmost snapshot would see.
fn merged(engine: &Engine, top: &str) -> (PathBuf, Option<Overlay>) {
    if !engine.layers.independent {
        return (engine.layers.root.join(top), None);
    }
    let target = engine.dir.path().join("merged");
    fs::create_dir(&target).expect("dir");
    let mut layers = vec![top.to_owned()];
    layers.extend(engine.layers.parents(top));
    let lowers: Vec<_> = layers.iter().map(|l| engine.layers.root.join(l).display().to_string()).collect();
    let options = format!("lowerdir={}", lowers.join(":"));
    let flags = nix::mount::MsFlags::MS_RDONLY;
    nix::mount::mount(Some("overlay"), &target, Some("overlay"), flags, Some(options.as_str())).expect("overlay");
    (target.clone(), Some(Overlay(target)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_other_tools() {
    let work = tempfile::tempdir().expect("tempdir");
    let image = make_image(work.path());
    let registry = Registry::start();
    let name = format!("{}/team/app", registry.address);
    let from = format!("oci:{image}");
    run("skopeo", &["copy", "--dest-tls-verify=false", &from, &format!("docker://{name}:oci")]);
    let zstd = ["--dest-compress-format", "zstd", "--dest-tls-verify=false", "--dest-compress"];
    run("skopeo", &[&["copy"], &zstd[..], &[&from, &format!("docker://{name}:zstd")]].concat());
    let v2s2 = ["copy", "--format", "v2s2", "--dest-tls-verify=false", &from, &format!("docker://{name}:v2s2")];
    run("skopeo", &v2s2);
    let bundle = work.path().join("expected").display().to_string();
    run("umoci", &["unpack", "--image", &image, &bundle]);
    let expected = listing(&Path::new(&bundle).join("rootfs"));
    let base = format!("http://{}", registry.address);
    for (tag, independent) in [("oci", true), ("oci", false), ("zstd", true), ("v2s2", true)] {
        let engine = Engine::with(&[&base], independent, tuning()).await;
        let (outcome, messages) = engine.pull(&format!("{name}:{tag}")).await;
        outcome.unwrap_or_else(|e| panic!("{tag}: {e}"));
        let last = statuses(&messages).pop();
        assert_eq!(last, Some(format!("Status: Downloaded newer image for {name}:{tag}")));
        let found = engine.images.resolve(&format!("{name}:{tag}")).expect("image");
        assert_eq!(found.config.cmd.as_deref(), Some(&["/bin/sh".to_owned()][..]));
        let (root, _mounted) = merged(&engine, &found.chain_ids().last().expect("layers").hex());
        assert_eq!(listing(&root), expected, "{tag}, independent layers: {independent}");
        engine.assert_clean();
    }
    let engine = Engine::new(&[&base]).await;
    let missing = engine.pull(&format!("{name}:none")).await.0.expect_err("no such tag").to_string();
    assert_eq!(missing, format!("manifest for {name}:none not found: manifest unknown: manifest unknown"));
    let remote = engine.images.distribution(&format!("{name}:oci"), AuthConfig::default()).await.expect("there");
    assert_eq!(remote.platforms.len(), 1);
}
