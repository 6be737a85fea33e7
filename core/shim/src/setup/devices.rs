//! Device nodes and links in `/dev`.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-devices>

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use sheave_shim::protocol::Stage;

use crate::failure::{At, Step, failure};
use crate::root::{Missing, Root, clean};
use crate::sys;

struct Node {
    path: std::path::PathBuf,
    kind: SFlag,
    device: libc::dev_t,
    mode: u32,
    owner: (u32, u32),
}

const DEFAULTS: &[(&str, u64, u64)] = &[
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Makes the default devices, those of the specification, and the links.
pub fn make(root: &Root, devices: &[LinuxDevice]) -> Step<()> {
    let listed: Vec<Node> = devices.iter().map(node).collect::<Step<_>>()?;
    let defaults = DEFAULTS.iter().map(|(path, major, minor)| Node {
        path: Path::new(path).to_owned(),
        kind: SFlag::S_IFCHR,
        device: makedev(*major, *minor),
        mode: 0o666,
        owner: (0, 0),
    });
    for node in defaults.filter(|node| !listed.iter().any(|other| other.path == node.path)).chain(
        // A ptmx of the host would be the host's terminals.
        listed
            .iter()
            .filter(|node| node.path != Path::new("/dev/ptmx"))
            .map(|node| Node { path: node.path.clone(), ..*node }),
    ) {
        make_node(root, &node).at(Stage::Mounts, || format!("making device {}", node.path.display()))?;
    }
    links(root).at(Stage::Mounts, || "linking in /dev".into())
}

fn node(device: &LinuxDevice) -> Step<Node> {
    let kind = match device.typ() {
        LinuxDeviceType::B => SFlag::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
        LinuxDeviceType::P => SFlag::S_IFIFO,
        LinuxDeviceType::A => return Err(failure(Stage::Mounts, "a device of type a is not one")),
    };
    Ok(Node {
        path: clean(device.path()),
        kind,
        device: makedev(device.major() as u64, device.minor() as u64),
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    })
}

fn make_node(root: &Root, node: &Node) -> sys::Result<()> {
    let (Some(parent), Some(name)) = (node.path.parent(), node.path.file_name()) else {
        return Err(Errno::EINVAL);
    };
    let parent = root.find_or_make(parent, Missing::Directory)?;
    match mknodat(&parent, name, node.kind, Mode::from_bits_truncate(node.mode), node.device) {
        Ok(()) => {}
        // It is there already: the image's, or made for an earlier entry.
        Err(Errno::EEXIST) => {}
        // Not allowed to make it, but perhaps to show the host's.
        Err(Errno::EPERM) => return bind_node(root, node),
        Err(error) => return Err(error),
    }
    // Without following: what is there may have been a link of the image.
    let owner = (Some(Uid::from_raw(node.owner.0)), Some(Gid::from_raw(node.owner.1)));
    fchownat(&parent, name, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match fchmodat(&parent, name, Mode::from_bits_truncate(node.mode), FchmodatFlags::NoFollowSymlink) {
        Err(Errno::EOPNOTSUPP) => Ok(()),
        other => other,
    }
}

fn bind_node(root: &Root, node: &Node) -> sys::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(node.path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let tree: OwnedFd = sys::clone_tree(nix::fcntl::AT_FDCWD, &path, false)?;
    let stat = nix::sys::stat::fstat(&tree)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != node.kind || stat.st_rdev != node.device {
        return Err(Errno::EPERM);
    }
    let target = root.find_or_make(&node.path, Missing::File)?;
    sys::attach_tree(tree.as_fd(), target.as_fd())
}

fn links(root: &Root) -> sys::Result<()> {
    let dev = root.find_or_make(Path::new("/dev"), Missing::Directory)?;
    let core = Path::new("/proc/kcore").exists().then_some(("core", "/proc/kcore"));
    for (name, target) in LINKS.iter().copied().chain(core) {
        match symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
    }
    match unlinkat(&dev, "ptmx", UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    symlinkat("pts/ptmx", &dev, "ptmx")
}
