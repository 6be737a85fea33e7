//! Filling an empty volume with what the image has at its place.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode, mkdirat};

use super::open_own;
use crate::error::{Result, StorageError};
use crate::tree::{copy_tree, entries, open_dir, remove_tree};

/// How the copies that are not finished are named.
pub(super) const COPY_PREFIX: &str = ".copy-";

/// Copies `path` of the tree at `root` into the empty directory `volume`.
///
/// The copy is made beside the volume and takes its place by a rename, so that a crash leaves an empty volume and never a
/// part. Where that cannot be (the volume is a mount), it is copied in place, and emptied again after an error.
pub(super) fn run(volume: &Path, root: &Path, path: &Path) -> Result<()> {
    let target = open_own(volume)?;
    if !entries(&target).map_err(StorageError::errno("read directory", volume))?.is_empty() {
        return Ok(());
    }
    let Some(source) = open_in(root, path)? else { return Ok(()) };
    match beside(volume, &source)? {
        Placed::Whole => Ok(()),
        Placed::Not => in_place(volume, &target, &source),
    }
}

/// Opens a directory of an image, following its links within the image; none where there is no such directory.
fn open_in(root: &Path, path: &Path) -> Result<Option<OwnedFd>> {
    let base = open_own(root)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    match openat2(&base, path, OpenHow::new().flags(flags).resolve(resolve)) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(errno) => Err(StorageError::errno("open directory", root.join(path))(errno)),
    }
}

enum Placed {
    Whole,
    Not,
}

fn beside(volume: &Path, source: &OwnedFd) -> Result<Placed> {
    let (Some(parent), Some(name)) = (volume.parent(), volume.file_name()) else { return Ok(Placed::Not) };
    let dir = open_own(parent)?;
    if open_dir(&dir, Path::new(name), true).is_err() {
        // A mount point: its file system is another one.
        return Ok(Placed::Not);
    }
    let aside = OsString::from(format!("{COPY_PREFIX}{}", sheave_types::Id::random().short()));
    let failed = StorageError::errno("make directory", parent.join(&aside));
    mkdirat(&dir, aside.as_os_str(), Mode::S_IRWXU).map_err(failed)?;
    let copy = || -> Result<Placed> {
        let target = open_dir(&dir, Path::new(&aside), true).map_err(StorageError::errno("open", parent))?;
        copy_tree(source, &target)?;
        nix::unistd::syncfs(&target).map_err(StorageError::errno("sync", volume))?;
        match renameat(&dir, aside.as_os_str(), &dir, name) {
            Ok(()) => Ok(Placed::Whole),
            Err(Errno::EXDEV | Errno::EBUSY) => Ok(Placed::Not),
            Err(errno) => Err(StorageError::errno("fill volume", volume)(errno)),
        }
    };
    let result = copy();
    if !matches!(result, Ok(Placed::Whole)) {
        remove_tree(dir.as_fd(), &aside)?;
    }
    result
}

fn in_place(volume: &Path, target: &OwnedFd, source: &OwnedFd) -> Result<()> {
    let result = copy_tree(source, target);
    if result.is_err() {
        for entry in entries(target).map_err(StorageError::errno("read directory", volume))? {
            remove_tree(target.as_fd(), &entry.name)?;
        }
    }
    result
}
