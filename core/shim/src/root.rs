//! Paths below a directory that is not trusted: nothing in it, not even a symbolic link changed at this moment, leads
//! outside.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::sys;

const IN_ROOT: u64 = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;

/// As many symbolic links as the kernel follows.
const MAX_LINKS: usize = 40;

/// A directory taken as `/`.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// What to make where a path does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory, 0755.
    Directory,
    /// An empty file, 0755 as runc makes mount points.
    File,
}

impl Root {
    /// The directory at `path`.
    pub fn open(path: &Path) -> sys::Result<Self> {
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// An `O_PATH` descriptor of what is at `path`, links followed.
    pub fn find(&self, path: &Path) -> sys::Result<OwnedFd> {
        self.open_with(path, libc::O_PATH)
    }

    /// The same where no part of `path` may be a symbolic link (`ELOOP`).
    pub fn find_plain(&self, path: &Path) -> sys::Result<OwnedFd> {
        sys::openat2(self.fd(), &c_path(path)?, libc::O_PATH, 0, IN_ROOT | libc::RESOLVE_NO_SYMLINKS)
    }

    /// What is at `path`, opened with these flags (no `O_CREAT`).
    pub fn open_with(&self, path: &Path, flags: i32) -> sys::Result<OwnedFd> {
        sys::openat2(self.fd(), &c_path(path)?, flags, 0, IN_ROOT)
    }

    /// An `O_PATH` descriptor of `path`, made with missing parents where it is not there. A link to what does not
    /// exist is followed, and its target made.
    pub fn find_or_make(&self, path: &Path, missing: Missing) -> sys::Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::ENOENT) => self.make(path, missing),
            found => found,
        }
    }

    fn make(&self, path: &Path, missing: Missing) -> sys::Result<OwnedFd> {
        let mut pending: VecDeque<OsString> = names(path).collect();
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&name);
            let found = match self.open_with(&next, libc::O_PATH | libc::O_NOFOLLOW) {
                Err(Errno::ENOENT) => {
                    let as_file = missing == Missing::File && pending.is_empty();
                    self.make_one(&done, &name, as_file)?;
                    self.open_with(&next, libc::O_PATH | libc::O_NOFOLLOW)?
                }
                other => other?,
            };
            if SFlag::from_bits_truncate(fstat(&found)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
                done = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            let target = PathBuf::from(readlinkat(&found, "")?);
            if target.is_absolute() {
                done = PathBuf::new();
            }
            names(&target).rev().for_each(|name| pending.push_front(name));
        }
        self.find(&done)
    }

    fn make_one(&self, parent: &Path, name: &OsStr, as_file: bool) -> sys::Result<()> {
        let parent = self.open_with(parent, libc::O_PATH | libc::O_DIRECTORY)?;
        if as_file {
            let flags = libc::O_CREAT | libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
            return sys::openat2(parent.as_fd(), &name, flags, 0o755, libc::RESOLVE_BENEATH).map(drop);
        }
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }
}

/// The path of a descriptor that mount(2) takes. Needs the host's `/proc`.
pub fn fd_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// The names of a path, without `.`; `/..` at its start is left to the caller.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

/// The path for openat2: the root itself is `.`.
fn c_path(path: &Path) -> sys::Result<CString> {
    let bytes = path.as_os_str().as_bytes();
    CString::new(if bytes.is_empty() { b"." } else { bytes }).map_err(|_| Errno::EINVAL)
}

/// `path` without `.`, `..` and doubled slashes, as text alone; absolute.
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = vec![b'/'];
    let mut parts: Vec<OsString> = Vec::new();
    for name in names(path) {
        if name == ".." {
            parts.pop();
        } else {
            parts.push(name);
        }
    }
    clean.extend_from_slice(&parts.join(OsStr::new("/")).into_vec());
    PathBuf::from(OsString::from_vec(clean))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn ino(fd: impl AsFd) -> u64 {
        fstat(fd).expect("stat").st_ino
    }

    fn ino_at(path: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).expect("there").ino()
    }

    #[test]
    fn nothing_leads_outside() {
        let dir = tempfile::tempdir().expect("directory");
        let (outside, inside) = (dir.path().join("out"), dir.path().join("root"));
        std::fs::create_dir(&outside).expect("mkdir");
        std::fs::create_dir_all(inside.join("real")).expect("mkdir");
        symlink(&outside, inside.join("absolute")).expect("link");
        symlink("../../../../../..", inside.join("up")).expect("link");
        symlink("/real/new", inside.join("dangling")).expect("link");
        symlink("loop", inside.join("loop")).expect("link");
        let root = Root::open(&inside).expect("root");
        for (path, made) in [
            ("real/a/b", "real/a/b"),
            ("/dangling/x", "real/new/x"),
            ("up/y", "y"),
            ("../../z", "z"),
            ("real/../w/./v", "w/v"),
        ] {
            let fd = root.find_or_make(Path::new(path), Missing::Directory).expect(path);
            assert_eq!(ino(&fd), ino_at(&inside.join(made)), "{path}");
            assert_eq!(ino(root.find(Path::new(path)).expect(path)), ino(&fd));
        }
        let file = root.find_or_make(Path::new("real/f/file"), Missing::File).expect("file");
        assert_eq!(ino(&file), ino_at(&inside.join("real/f/file")));
        assert_eq!(root.find_or_make(Path::new("loop/x"), Missing::Directory).expect_err("loop"), Errno::ELOOP);
        assert_eq!(root.find_or_make(Path::new("real/f/file/x"), Missing::File).expect_err("file"), Errno::ENOTDIR);
        // The link names a path of the host; here it is one below the root.
        root.find_or_make(Path::new("absolute/evil"), Missing::Directory).expect("made below the root");
        assert!(std::fs::read_dir(&outside).expect("list").next().is_none(), "made outside");
    }

    #[test]
    fn cleans_paths() {
        for (given, clean_path) in
            [("/a/../b//c/.", "/b/c"), ("../../x", "/x"), ("/", "/"), ("", "/"), ("/proc/", "/proc")]
        {
            assert_eq!(clean(Path::new(given)), Path::new(clean_path));
        }
    }
}
