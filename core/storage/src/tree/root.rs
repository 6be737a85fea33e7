//! A directory from which paths are resolved and cannot escape.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::error::{Result, StorageError};
use crate::path::Relative;

/// Opens a directory below `base`; `""` is `base` itself. Symbolic links are errors at every part, and with `same_mount`
/// mount points are, too.
///
/// # Errors
/// `ELOOP` at a symbolic link, `EXDEV` at `..` or a mount point, and those of `openat2`.
pub(crate) fn open_dir(base: impl AsFd, path: &Path, same_mount: bool) -> nix::Result<OwnedFd> {
    let mut resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    if same_mount {
        resolve |= ResolveFlag::RESOLVE_NO_XDEV;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    openat2(base, path, OpenHow::new().flags(flags).resolve(resolve))
}

/// A name in a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: OsString,
    /// Whether it is a directory, where the file system tells.
    pub(crate) is_dir: Option<bool>,
}

/// The names in a directory, without `.` and `..`.
///
/// # Errors
/// Those of reading it.
pub(crate) fn entries(dir: impl AsFd) -> nix::Result<Vec<Entry>> {
    // A description of its own: reading moves the position of the one it reads by.
    let own = open_dir(dir, Path::new(""), false)?;
    let mut found = Vec::new();
    for entry in Dir::from_fd(own)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let is_dir = entry.file_type().map(|t| t == Type::Directory);
            found.push(Entry { name: OsString::from_vec(name.to_vec()), is_dir });
        }
    }
    Ok(found)
}

/// A driver's root.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens a driver's root.
    ///
    /// # Errors
    /// Where it is not a directory.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd =
            nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty()).map_err(StorageError::errno("open", path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The absolute path of something below it, for messages and for mounts of what [`Root::open_dir`] accepted.
    pub(crate) fn absolute(&self, path: &Relative) -> PathBuf {
        self.path.join(path.as_path())
    }

    /// Opens a directory below it.
    ///
    /// # Errors
    /// Where it is none, or lies behind a symbolic link.
    pub(crate) fn open_dir(&self, path: &Relative) -> Result<OwnedFd> {
        open_dir(&self.fd, path.as_path(), false).map_err(StorageError::errno("open directory", self.absolute(path)))
    }

    /// Opens the directory that `path` lies in.
    ///
    /// # Errors
    /// As [`Root::open_dir`].
    pub(crate) fn open_parent(&self, path: &Relative) -> Result<OwnedFd> {
        let (parent, _) = path.split();
        open_dir(&self.fd, parent, false).map_err(StorageError::errno("open directory", self.path.join(parent)))
    }

    /// Whether nothing on the way to `path` leads out of the root. What does not exist yet is fine.
    ///
    /// # Errors
    /// What is on the way.
    pub(crate) fn check_way(&self, path: &Relative) -> std::result::Result<(), String> {
        let (parent, _) = path.split();
        for dir in parent.ancestors().filter(|p| !p.as_os_str().is_empty()) {
            match open_dir(&self.fd, dir, false) {
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(Errno::ELOOP) => return Err(format!("{} is a symbolic link", dir.display())),
                // O_DIRECTORY answers this for a link at the end.
                Err(Errno::ENOTDIR) => return Err(format!("{} is not a directory", dir.display())),
                Err(errno) => return Err(format!("{}: {errno}", dir.display())),
            }
        }
        Ok(())
    }
}
