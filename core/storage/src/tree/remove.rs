//! Removing a tree: safe against symbolic links and mounts, with few descriptors however deep it is.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, renameat};
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::root::{Entry, entries, open_dir};
use crate::error::{Result, StorageError};

/// The longest path that is followed from where the removal began. Deeper directories are moved up first.
const LONGEST: usize = 2048;

/// Removes `name` in `base`, whatever it is. It never enters a mount: a directory with one in it stays, with an error.
/// A missing `name` is fine.
///
/// # Errors
/// The first that occurs; what could be removed before it is gone.
pub(crate) fn remove_tree(base: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    // Trees whose top lies in `base`; those found too deep are moved here and follow.
    let mut tops = vec![PathBuf::from(name)];
    let mut moved = 0u32;
    while let Some(top) = tops.pop() {
        let mut pending = vec![top.clone()];
        let mut emptied = Vec::new();
        while let Some(dir) = pending.pop() {
            let Some(found) = enter(base, &dir)? else { continue };
            for entry in found {
                let path = dir.join(&entry.name);
                if path.as_os_str().len() > LONGEST {
                    moved += 1;
                    let higher = PathBuf::from(format!("{}.{moved}", Path::new(name).display()));
                    let parent = open_dir(base, &dir, true).map_err(StorageError::errno("remove", &dir))?;
                    renameat(parent, entry.name.as_os_str(), base, &higher)
                        .map_err(StorageError::errno("remove", &path))?;
                    tops.push(higher);
                } else {
                    pending.push(path);
                }
            }
            emptied.push(dir);
        }
        for dir in emptied.iter().rev() {
            unlinkat(base, dir, UnlinkatFlags::RemoveDir).map_err(StorageError::errno("remove directory", dir))?;
        }
    }
    Ok(())
}

/// Removes what is in a directory but its directories, and returns those; `None` where `path` was no directory and is gone.
fn enter(base: BorrowedFd<'_>, path: &Path) -> Result<Option<Vec<Entry>>> {
    let dir = match open_dir(base, path, true) {
        Ok(dir) => dir,
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            unlinkat(base, path, UnlinkatFlags::NoRemoveDir).map_err(StorageError::errno("remove", path))?;
            return Ok(None);
        }
        Err(errno) => return Err(StorageError::errno("remove directory", path)(errno)),
    };
    let mut directories = Vec::new();
    for entry in entries(&dir).map_err(StorageError::errno("read directory", path))? {
        if is_dir(&dir, &entry).map_err(StorageError::errno("stat", path.join(&entry.name)))? {
            directories.push(entry);
            continue;
        }
        unlinkat(&dir, entry.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
            .map_err(StorageError::errno("remove", path.join(&entry.name)))?;
    }
    Ok(Some(directories))
}

fn is_dir(dir: impl AsFd, entry: &Entry) -> nix::Result<bool> {
    match entry.is_dir {
        Some(is_dir) => Ok(is_dir),
        None => {
            let stat = fstatat(dir, entry.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tree::Root;

    #[test]
    fn does_not_follow_links() {
        let temp = tempfile::tempdir().expect("tempdir");
        let outside = temp.path().join("outside");
        fs::create_dir_all(outside.join("kept")).expect("mkdir");
        let inside = temp.path().join("root/tree");
        fs::create_dir_all(inside.join("a/b")).expect("mkdir");
        std::os::unix::fs::symlink(&outside, inside.join("a/link")).expect("symlink");
        std::os::unix::fs::symlink("/etc/passwd", inside.join("a/b/file")).expect("symlink");
        let root = Root::open(&temp.path().join("root")).expect("root");
        remove_tree(root.fd(), OsStr::new("tree")).expect("remove");
        assert!(!inside.exists() && outside.join("kept").exists());
        std::os::unix::fs::symlink(&outside, &inside).expect("symlink");
        remove_tree(root.fd(), OsStr::new("tree")).expect("a link itself");
        assert!(fs::symlink_metadata(&inside).is_err() && outside.join("kept").exists());
        remove_tree(root.fd(), OsStr::new("tree")).expect("nothing");
    }

    #[test]
    fn removes_trees_deeper_than_a_path() {
        let temp = tempfile::tempdir().expect("tempdir");
        let root = Root::open(temp.path()).expect("root");
        let name = "d".repeat(100);
        let mut dir = open_dir(root.fd(), Path::new(""), false).expect("open");
        for depth in 0..120 {
            let at = if depth == 0 { "top" } else { &name };
            nix::sys::stat::mkdirat(&dir, at, nix::sys::stat::Mode::S_IRWXU).expect("mkdir");
            dir = open_dir(&dir, Path::new(at), false).expect("open");
        }
        drop(dir);
        remove_tree(root.fd(), OsStr::new("top")).expect("remove");
        assert_eq!(fs::read_dir(temp.path()).expect("read").count(), 0);
    }
}
