//! Paths that the container must not read or write.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{SFlag, fstat, major, minor};
use sheave_shim::protocol::Stage;

use super::rootfs::READ_ONLY;
use crate::failure::{At, Step, failure};
use crate::root::{Root, fd_path};
use crate::sys;

/// Makes these paths read-only, with what is mounted below them; those that do not exist are left out.
pub fn make_read_only(root: &Root, paths: &[String]) -> Step<()> {
    for path in paths {
        let steps = || -> sys::Result<()> {
            let Some(target) = find(root, path)? else { return Ok(()) };
            let tree = sys::clone_tree(target.as_fd(), c"", true)?;
            sys::mount_setattr(tree.as_fd(), READ_ONLY, false)?;
            sys::attach_tree(tree.as_fd(), target.as_fd())
        };
        steps().at(Stage::Mounts, || format!("making {path} read-only"))?;
    }
    Ok(())
}

/// Covers these paths: a file with `/dev/null`, a directory with an empty read-only one.
///
/// What covers comes from the host and is checked before, and the target is a descriptor: nothing that the image put
/// at `/dev/null`, and no path changed meanwhile, can stand in (CVE-2025-31133).
pub fn mask(root: &Root, paths: &[String]) -> Step<()> {
    let mut covers = Covers::default();
    for path in paths {
        let name = || format!("masking {path}");
        let Some(target) = find(root, path).at(Stage::Mounts, name)? else { continue };
        let stat = fstat(&target).at(Stage::Mounts, name)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
            covers.cover_directory(root, path, &target).at(Stage::Mounts, name)?;
        } else {
            let null = null_device()?;
            sys::attach_tree(null.as_fd(), target.as_fd()).at(Stage::Mounts, name)?;
        }
    }
    Ok(())
}

fn find(root: &Root, path: &str) -> sys::Result<Option<OwnedFd>> {
    match root.find(Path::new(path)) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        other => other.map(Some),
    }
}

fn null_device() -> Step<OwnedFd> {
    let name = || "opening /dev/null of the host".to_owned();
    let null = sys::clone_tree(nix::fcntl::AT_FDCWD, c"/dev/null", false).at(Stage::Mounts, name)?;
    let stat = fstat(&null).at(Stage::Mounts, name)?;
    let is_device = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    if !is_device || (major(stat.st_rdev), minor(stat.st_rdev)) != (1, 3) {
        return Err(failure(Stage::Mounts, "/dev/null of the host is not the null device"));
    }
    Ok(null)
}

/// The first directory gets a new tmpfs, the others copies of its mount.
#[derive(Default)]
struct Covers(Option<OwnedFd>);

impl Covers {
    fn cover_directory(&mut self, root: &Root, path: &str, target: &OwnedFd) -> sys::Result<()> {
        if let Some(first) = &self.0 {
            let copy = sys::clone_tree(first.as_fd(), c"", false)?;
            return sys::attach_tree(copy.as_fd(), target.as_fd());
        }
        mount(Some("tmpfs"), &fd_path(target), Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>)?;
        self.0 = Some(root.find(Path::new(path))?);
        Ok(())
    }
}
