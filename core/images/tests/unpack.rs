//! Unpacking against GNU tar, and against layers that mean harm. Needs root (owners, devices, trusted attributes) and `tar`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use sheave_images::LayerError;
use sheave_images::unpack::{Limits, Removals, Unpacked, unpack};
use sheave_types::Digest;
use tar::{EntryType, Header};

/// Everything about a tree that a layer carries.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).expect("stat");
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            todo.extend(fs::read_dir(&full).expect("list").map(|e| path.join(e.expect("entry").file_name())));
            "dir".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", fs::read_link(&full).expect("link").display())
        } else if kind.is_file() {
            format!("file {} {}", meta.len(), Digest::of(&fs::read(&full).expect("read")).short())
        } else {
            format!("{:o} {}", meta.mode() & 0o170_000, meta.rdev())
        };
        // The first path of an inode in sorted order stands for it.
        let group = if kind.is_dir() || meta.nlink() == 1 {
            String::new()
        } else {
            let first = inodes.entry(meta.ino()).or_insert_with(|| path.clone());
            if path < *first {
                *first = path.clone();
            }
            format!(" links {}", meta.nlink())
        };
        let mut xattrs: Vec<_> = xattr::list(&full).map(|names| names.collect()).unwrap_or_default();
        xattrs.sort();
        let xattrs: Vec<_> =
            xattrs.iter().map(|n| format!("{n:?}={:?}", xattr::get(&full, n).expect("xattr"))).collect();
        let mode = if kind.is_symlink() { 0 } else { meta.mode() & 0o7777 };
        let line = format!(
            "{what}{group} {mode:o} {}:{} {}.{:09} {}",
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            xattrs.join(",")
        );
        all.insert(path, line);
    }
    all
}

fn run(blob: &[u8], target: &Path, removals: Removals) -> Result<Unpacked, LayerError> {
    unpack(blob, target, removals, &Limits::default())
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u32),
    Sparse(u32),
    Dir(u32),
    Link(String),
    Hard(usize),
    Fifo,
    Device(u32, u32),
    Xattr(Vec<u8>),
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        4 => (proptest::collection::vec(any::<u8>(), 0..3000), 0u32..0o7777).prop_map(|(c, m)| Node::File(c, m)),
        1 => (1u32..40).prop_map(Node::Sparse),
        3 => (0u32..0o7777).prop_map(Node::Dir),
        2 => "[a-z/.]{1,120}".prop_map(Node::Link),
        2 => (0usize..20).prop_map(Node::Hard),
        1 => Just(Node::Fifo),
        1 => (1u32..20, 0u32..300).prop_map(|(a, b)| Node::Device(a, b)),
        1 => proptest::collection::vec(any::<u8>(), 1..40).prop_map(Node::Xattr),
    ]
}

/// Makes the tree; names get long so that every form of long names is used.
fn make(root: &Path, nodes: &[(String, Node, u32, i64)]) {
    let mut dirs = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    for (n, (name, node, owner, mtime)) in nodes.iter().enumerate() {
        let path = dirs[n % dirs.len()].join(format!("{n}{name}"));
        match node {
            Node::File(content, mode) => {
                fs::write(&path, content).expect("file");
                std::os::unix::fs::chown(&path, Some(*owner), Some(owner / 2)).expect("chown");
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("mode");
                files.push(path.clone());
            }
            Node::Sparse(megabytes) => {
                let file = fs::File::create(&path).expect("sparse");
                use std::os::unix::fs::FileExt;
                file.write_all_at(b"middle", u64::from(*megabytes) * 100_000).expect("write");
                file.set_len(u64::from(*megabytes) * 300_000).expect("size");
            }
            Node::Dir(mode) => {
                fs::create_dir(&path).expect("dir");
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("mode");
                dirs.push(path.clone());
            }
            Node::Link(target) => symlink(target, &path).expect("symlink"),
            Node::Hard(of) => match files.get(*of) {
                Some(file) => fs::hard_link(file, &path).expect("hard link"),
                None => continue,
            },
            Node::Fifo => {
                nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o640)).expect("fifo");
            }
            Node::Device(major, minor) => {
                use nix::sys::stat::{Mode, SFlag, makedev, mknod};
                let dev = makedev(u64::from(*major), u64::from(*minor));
                mknod(&path, SFlag::S_IFBLK, Mode::from_bits_truncate(0o600), dev).expect("device");
            }
            Node::Xattr(value) => {
                fs::write(&path, b"x").expect("file");
                xattr::set(&path, "user.test", value).expect("xattr");
                files.push(path.clone());
            }
        }
        let time = nix::sys::time::TimeSpec::new(*mtime, 0);
        let flag = nix::sys::stat::UtimensatFlags::NoFollowSymlink;
        nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, &path, &time, &time, flag).expect("mtime");
    }
}

fn gnu_tar(args: &[&str], directory: &Path) {
    let status = Command::new("tar").args(args).args(["--warning=no-timestamp"]).current_dir(directory).status();
    assert!(status.expect("GNU tar").success(), "tar {args:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn agrees_with_gnu_tar(
        nodes in proptest::collection::vec(("[a-z]{0,110}", node(), 0u32..70_000, 0i64..2_000_000_000), 1..40),
        format in prop_oneof![Just("gnu"), Just("posix")],
        sparse in any::<bool>(),
    ) {
        let work = tempfile::tempdir().expect("tempdir");
        let [source, theirs, ours, archive] = ["source", "theirs", "ours", "a.tar"].map(|n| work.path().join(n));
        for dir in [&source, &theirs, &ours] {
            fs::create_dir(dir).expect("dir");
        }
        make(&source, &nodes);
        let format = format!("--format={format}");
        let file = archive.to_str().expect("utf-8");
        // GNU's own format has no extended attributes; tar then says so and goes on.
        let has_xattr = nodes.iter().any(|n| matches!(n.1, Node::Xattr(_)));
        let format = if has_xattr { "--format=posix" } else { format.as_str() };
        let xattrs: &[&str] = if format == "--format=posix" { &["--xattrs", "--xattrs-include=*"] } else { &[] };
        let mut create = vec![format, "-cf", file];
        create.extend(xattrs);
        if sparse {
            create.push("--sparse");
        }
        create.push(".");
        gnu_tar(&create, &source);
        gnu_tar(&[&["--numeric-owner", "-xpf", file], xattrs].concat(), &theirs);
        let bytes = fs::read(&archive).expect("archive");
        let unpacked = run(&bytes, &ours, Removals::Overlay).expect("unpacks");
        prop_assert_eq!(unpacked.diff_id, Digest::of(&bytes));
        prop_assert_eq!(unpacked.implicit, Vec::<PathBuf>::new());
        prop_assert_eq!(listing(&ours), listing(&theirs));
    }
}

/// A tar in the making.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An entry whose name is written as it is, however bad.
    fn add(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        let gnu = header.as_gnu_mut().expect("gnu");
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).expect("append");
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(EntryType::Regular, name, "", content.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name, target, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Link, name, target, b"")
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().expect("tar")
    }
}

/// A target inside a directory whose other content no layer may touch.
struct Cage {
    dir: tempfile::TempDir,
}

impl Cage {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir(dir.path().join("in")).expect("in");
        fs::write(dir.path().join("secret"), "secret").expect("secret");
        Self { dir }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    fn unpack(&self, layer: Layer, removals: Removals) -> Result<Unpacked, LayerError> {
        let outcome = run(&layer.done(), &self.target(), removals);
        let names: Vec<_> =
            fs::read_dir(self.dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(names.len(), 2, "something was made outside: {names:?}");
        let secret = self.dir.path().join("secret");
        assert_eq!(fs::read_to_string(&secret).expect("secret"), "secret");
        let meta = fs::metadata(&secret).expect("secret");
        assert_eq!((meta.nlink(), meta.mode() & 0o777), (1, 0o644), "the file outside was changed");
        outcome
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.target().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }
}

#[test]
fn nothing_leads_out() {
    for removals in [Removals::Applied, Removals::Overlay] {
        let cage = Cage::new();
        for layer in [
            Layer::new().file("../secret", "x"),
            Layer::new().file("a/../../secret", "x"),
            Layer::new().hard("link", "../secret"),
            Layer::new().symlink("up", "..").hard("link", "up/secret"),
            Layer::new().dir("d").symlink("d/up", "../..").hard("link", "d/up/secret"),
            Layer::new().file("d/.wh...", ""),
            Layer::new().file(".wh..", ""),
            Layer::new().file("../.wh.secret", ""),
            Layer::new().add(EntryType::new(b'Q'), "odd", "", b""),
        ] {
            assert!(cage.unpack(layer, removals).is_err());
        }
        // These are resolved as a process whose root is the layer would.
        let outside = cage.dir.path().to_str().expect("utf-8").to_owned();
        let layer = Layer::new()
            .file("/absolute", "a")
            .symlink("up", "..")
            .file("up/secret", "inside")
            .symlink("abs", "/etc")
            .dir("etc")
            .file("abs/passwd", "inside")
            .symlink("proc", "/proc/self/root")
            .symlink("fd", &outside);
        cage.unpack(layer, removals).expect("stays inside");
        assert_eq!(cage.read("absolute"), "a");
        assert_eq!(cage.read("secret"), "inside");
        assert_eq!(cage.read("etc/passwd"), "inside");
        // A symlink is replaced, not written through.
        let layer = Layer::new().symlink("file", "../secret").file("file", "mine").symlink("dir", "..").dir("dir");
        cage.unpack(layer, removals).expect("replaces");
        assert_eq!(cage.read("file"), "mine");
        assert!(fs::symlink_metadata(cage.target().join("dir")).expect("dir").is_dir());
        let through = Layer::new().symlink("out", &outside).file("out/secret", "x");
        assert!(cage.unpack(through, removals).is_err(), "the symlink's target is not in the layer");
        let whiteout = Layer::new().symlink("w", "..").file("w/.wh.secret", "").file("w/.wh..wh..opq", "");
        let _ = cage.unpack(whiteout, removals);
    }
}

#[test]
fn removes_from_the_parents_content() {
    let cage = Cage::new();
    let parent = Layer::new()
        .dir("d")
        .file("d/old", "1")
        .file("d/kept", "1")
        .dir("o")
        .file("o/a", "1")
        .dir("o/b")
        .file("o/b/c", "1")
        .file("f", "1");
    cage.unpack(parent, Removals::Applied).expect("parent");
    let layer = Layer::new()
        .file("d/.wh.old", "")
        .dir("o")
        .file("o/new", "2")
        .file("o/b/late", "2")
        .file("o/.wh..wh..opq", "")
        .file("f", "2")
        .file(".wh.f", "")
        .file(".wh.none", "")
        .file(".wh..wh.plnk/1", "");
    cage.unpack(layer, Removals::Applied).expect("layer");
    let names: Vec<_> = listing(&cage.target()).into_keys().map(|p| p.display().to_string()).collect();
    assert_eq!(names, ["", "d", "d/kept", "f", "o", "o/b", "o/b/late", "o/new"]);
    assert_eq!(cage.read("f"), "2", "a whiteout does not mean the same layer's files");
}

#[test]
fn marks_removals_as_overlayfs_does() {
    let cage = Cage::new();
    let layer = Layer::new()
        .file("d/.wh.old", "")
        .file("o/.wh..wh..opq", "")
        .file("o/new", "2")
        .file(".wh.r", "")
        .dir("r")
        .dir("s")
        .file(".wh.s", "");
    let unpacked = cage.unpack(layer, Removals::Overlay).expect("layer");
    let whiteout = fs::symlink_metadata(cage.target().join("d/old")).expect("whiteout");
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    for (path, opaque) in [("o", true), ("r", true), ("s", true), ("d", false)] {
        let mark = xattr::get(cage.target().join(path), "trusted.overlay.opaque").expect("xattr");
        assert_eq!(mark.as_deref() == Some(b"y"), opaque, "{path}");
    }
    assert_eq!(unpacked.implicit, [PathBuf::from("d"), PathBuf::from("o")]);
}

#[test]
fn tells_when_it_needs_the_parent() {
    for layer in [
        Layer::new().hard("new", "usr/bin/old"),
        Layer::new().file(".wh..wh..opq", ""),
        Layer::new().symlink("lib", "usr/lib").file("lib/x", ""),
    ] {
        let outcome = Cage::new().unpack(layer, Removals::Overlay);
        assert!(matches!(outcome, Err(LayerError::NeedsParent(_))), "{outcome:?}");
    }
}

#[test]
fn refuses_what_is_broken_or_too_much() {
    let whole = Layer::new().file("a", &"x".repeat(5000)).done();
    let long_name = {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(64 << 20);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize((64 << 20) + 512, b'a');
        bytes
    };
    let limits = Limits { entries: 3, ..Limits::default() };
    for (name, blob, text) in [
        ("truncated", whole[..3000].to_vec(), "cannot be read"),
        ("garbage", vec![7; 4096], "broken"),
        ("long name", long_name, "too long"),
        ("entries", Layer::new().dir("a").dir("b").dir("c").dir("d").done(), "more than 3 entries"),
        ("xz", b"\xfd7zXZ\0aaaa".to_vec(), "xz compression"),
    ] {
        let cage = Cage::new();
        let error = unpack(&blob[..], &cage.target(), Removals::Overlay, &limits).expect_err(name).to_string();
        assert!(error.contains(text), "{name}: {error}");
    }
    let huge = Limits { reserve: u64::MAX / 2, ..Limits::default() };
    let cage = Cage::new();
    let error = unpack(&whole[..], &cage.target(), Removals::Overlay, &huge).expect_err("full").to_string();
    assert!(error.contains("no space left on device"), "{error}");
}

#[test]
fn keeps_capabilities_and_drops_marks_of_overlayfs() {
    let cage = Cage::new();
    let capability = [1u8, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut builder = tar::Builder::new(Vec::new());
    let pax: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("mtime", b"1500000000.25"),
    ];
    builder.append_pax_extensions(pax).expect("pax");
    let mut header = Header::new_ustar();
    header.set_path("ping").expect("path");
    header.set_mode(0o4755);
    header.set_uid(1000);
    header.set_gid(1000);
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).expect("file");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&builder.into_inner().expect("tar")).expect("gzip");
    run(&gzip.finish().expect("gzip"), &cage.target(), Removals::Overlay).expect("unpacks");
    let ping = cage.target().join("ping");
    let meta = fs::metadata(&ping).expect("ping");
    assert_eq!((meta.uid(), meta.mode() & 0o7777, meta.mtime_nsec()), (1000, 0o4755, 250_000_000));
    assert_eq!(xattr::get(&ping, "security.capability").expect("xattr").as_deref(), Some(&capability[..]));
    assert_eq!(xattr::get(&ping, "trusted.overlay.redirect").expect("xattr"), None);
}
