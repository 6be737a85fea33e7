//! Copying a tree with owners, modes, times, extended attributes, devices, hard links, symbolic links and holes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, Whence, fchown, fchownat, ftruncate, linkat, lseek, symlinkat};

use super::root::{entries, open_dir};
use crate::error::{Result, StorageError};

/// Copies the content of `source` into `target`, which exists and gets the owner, mode, times and attributes of `source`.
/// By reflink where the file system can, else by `copy_file_range`. Mounts inside `source` are errors.
///
/// # Errors
/// Those of the file system, with the path below `source`; `target` then holds a part. What exists in `target` is an error.
pub(crate) fn copy_tree(source: impl AsFd, target: impl AsFd) -> Result<()> {
    let mut copy = Copy { source: source.as_fd(), target: target.as_fd(), linked: HashMap::new(), clones: true };
    let mut pending = vec![PathBuf::new()];
    let mut copied = Vec::new();
    while let Some(dir) = pending.pop() {
        copy.directory(&dir, &mut pending)?;
        copied.push(dir);
    }
    // The last made come first, so that a directory's times are set after all that changes them.
    for dir in copied.iter().rev() {
        copy.finish_directory(dir)?;
    }
    Ok(())
}

struct Copy<'a> {
    source: BorrowedFd<'a>,
    target: BorrowedFd<'a>,
    /// Where the first name of each hard-linked file went.
    linked: HashMap<(u64, u64), PathBuf>,
    /// Whether reflinks have not failed yet.
    clones: bool,
}

/// A name in the directory that is being copied.
struct Item<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    name: &'a OsStr,
    path: &'a Path,
    stat: FileStat,
}

impl Copy<'_> {
    fn directory(&mut self, path: &Path, pending: &mut Vec<PathBuf>) -> Result<()> {
        let from = open_dir(self.source, path, true).map_err(StorageError::errno("copy directory", path))?;
        let to = open_dir(self.target, path, true).map_err(StorageError::errno("copy directory", path))?;
        for entry in entries(&from).map_err(StorageError::errno("read directory", path))? {
            let below = path.join(&entry.name);
            let failed = |e: io::Error| StorageError::io("copy", below.clone())(e);
            let stat =
                fstatat(&from, entry.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|e| failed(e.into()))?;
            let item = Item { from: &from, to: &to, name: &entry.name, path: &below, stat };
            if file_type(&stat) == SFlag::S_IFDIR {
                mkdirat(&to, entry.name.as_os_str(), Mode::S_IRWXU).map_err(|e| failed(e.into()))?;
                pending.push(below);
            } else {
                self.item(&item).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn finish_directory(&self, path: &Path) -> Result<()> {
        let finish = || -> io::Result<()> {
            let from = open_dir(self.source, path, true)?;
            let to = open_dir(self.target, path, true)?;
            let stat = fstat(&from)?;
            finish_open(&from, &to, &stat)
        };
        finish().map_err(StorageError::io("copy directory", path))
    }

    fn item(&mut self, item: &Item<'_>) -> io::Result<()> {
        let key = (item.stat.st_dev, item.stat.st_ino);
        if item.stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&key) {
                let parent = open_dir(self.target, first.parent().unwrap_or(Path::new("")), true)?;
                let name = first.file_name().unwrap_or_default();
                linkat(&parent, name, item.to, item.name, AtFlags::empty())?;
                return Ok(());
            }
            self.linked.insert(key, item.path.to_owned());
        }
        match file_type(&item.stat) {
            SFlag::S_IFREG => self.file(item),
            SFlag::S_IFLNK => {
                symlinkat(readlinkat(item.from, item.name)?.as_os_str(), item.to, item.name)?;
                finish_closed(item)
            }
            kind => {
                mknodat(item.to, item.name, kind, Mode::S_IRUSR | Mode::S_IWUSR, item.stat.st_rdev)?;
                finish_closed(item)?;
                // Never a symbolic link here: it was made three lines above, in a tree that nobody else writes.
                let mode = Mode::from_bits_truncate(item.stat.st_mode);
                Ok(nix::sys::stat::fchmodat(item.to, item.name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
                    .and_then(|()| times(item))?)
            }
        }
    }

    fn file(&mut self, item: &Item<'_>) -> io::Result<()> {
        let base = OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let from = openat(item.from, item.name, base | OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty())?;
        let to = openat(item.to, item.name, base | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL, Mode::S_IRWXU)?;
        if item.stat.st_size > 0 && !(self.clones && self.clone_file(&from, &to)?) {
            copy_content(from.try_clone()?, to.try_clone()?, item.stat.st_size)?;
        }
        finish_open(&from, &to, &item.stat)
    }

    /// Shares the content by reflink; false where the file system cannot, and then for the rest of the tree.
    fn clone_file(&mut self, from: &OwnedFd, to: &OwnedFd) -> io::Result<bool> {
        match clone_content(from, to) {
            Ok(()) => Ok(true),
            Err(Errno::EOPNOTSUPP | Errno::EXDEV | Errno::EINVAL | Errno::ENOTTY | Errno::ENOSYS) => {
                self.clones = false;
                Ok(false)
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT)
}

#[allow(unsafe_code, reason = "an ioctl")]
fn clone_content(from: &OwnedFd, to: &OwnedFd) -> nix::Result<()> {
    // SAFETY: FICLONE takes a descriptor by value and touches no memory of ours; both are open for the whole call.
    let result = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) };
    Errno::result(result).map(drop)
}

/// Copies within the kernel, from and to the same place in both files; how much was copied.
#[allow(unsafe_code, reason = "a system call")]
fn copy_range(from: &OwnedFd, to: &OwnedFd, at: i64, length: i64) -> nix::Result<i64> {
    let (mut read_at, mut write_at) = (at, at);
    let length = usize::try_from(length).unwrap_or_default().min(1 << 30);
    // SAFETY: both descriptors are open and both offsets are ours for the whole call.
    let copied =
        unsafe { libc::copy_file_range(from.as_raw_fd(), &mut read_at, to.as_raw_fd(), &mut write_at, length, 0) };
    Ok(i64::try_from(Errno::result(copied)?).unwrap_or(i64::MAX))
}

/// Copies the parts of a file that are not holes.
fn copy_content(from: OwnedFd, to: OwnedFd, size: i64) -> io::Result<()> {
    ftruncate(&to, size)?;
    let mut at = 0;
    while at < size {
        let (start, end) = match lseek(&from, at, Whence::SeekData) {
            Ok(start) => (start, lseek(&from, start, Whence::SeekHole)?.min(size)),
            Err(Errno::ENXIO) => break,
            // No holes are known here.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => (at, size),
            Err(errno) => return Err(errno.into()),
        };
        at = start;
        while at < end {
            match copy_range(&from, &to, at, end - at) {
                // It became shorter while it was copied.
                Ok(0) => return Ok(()),
                Ok(n) => at += n,
                Err(Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EIO | Errno::EBADF) => {
                    copy_by_hand(from.try_clone()?, to.try_clone()?, at, end)?;
                    at = end;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

fn copy_by_hand(from: OwnedFd, to: OwnedFd, start: i64, end: i64) -> io::Result<()> {
    let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
    let start = u64::try_from(start).unwrap_or_default();
    from.seek(SeekFrom::Start(start))?;
    to.seek(SeekFrom::Start(start))?;
    io::copy(&mut from.take(u64::try_from(end).unwrap_or_default() - start), &mut to)?;
    to.flush()
}

/// Gives an open file or directory the owner, attributes, mode and times of another. The order matters: a new owner clears
/// capabilities and the set-user-id bit.
fn finish_open(from: &OwnedFd, to: &OwnedFd, stat: &FileStat) -> io::Result<()> {
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    attributes(&proc_path(from, None), &proc_path(to, None), true)?;
    fchmod(to, Mode::from_bits_truncate(stat.st_mode))?;
    let (access, change) = time_specs(stat);
    Ok(futimens(to, &access, &change)?)
}

/// The same for what cannot be opened: symbolic links and devices.
fn finish_closed(item: &Item<'_>) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(item.stat.st_uid), Gid::from_raw(item.stat.st_gid));
    fchownat(item.to, item.name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    attributes(&proc_path(item.from, Some(item.name)), &proc_path(item.to, Some(item.name)), false)?;
    Ok(times(item)?)
}

fn times(item: &Item<'_>) -> nix::Result<()> {
    let (access, change) = time_specs(&item.stat);
    utimensat(item.to, item.name, &access, &change, UtimensatFlags::NoFollowSymlink)
}

fn time_specs(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (TimeSpec::new(stat.st_atime, stat.st_atime_nsec), TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec))
}

fn proc_path(dir: &OwnedFd, name: Option<&OsStr>) -> PathBuf {
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    match name {
        Some(name) => path.join(name),
        None => path,
    }
}

fn attributes(from: &Path, to: &Path, follow: bool) -> io::Result<()> {
    let listed = if follow { xattr::list_deref(from) } else { xattr::list(from) };
    let names = match listed {
        Ok(names) => names,
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e),
    };
    for name in names {
        let value = if follow { xattr::get_deref(from, &name)? } else { xattr::get(from, &name)? };
        let Some(value) = value else { continue };
        let set = if follow { xattr::set_deref(to, &name, &value) } else { xattr::set(to, &name, &value) };
        match set {
            // A security label that this host's policy or file system does not have.
            Err(e)
                if e.raw_os_error() == Some(libc::EOPNOTSUPP)
                    && name.as_encoded_bytes().starts_with(b"security.selinux") => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};

    use super::*;
    use crate::tree::{Root, disk_usage, remove_tree};

    fn build(at: &Path) {
        fs::create_dir_all(at.join("dir/sub")).expect("mkdir");
        fs::write(at.join("dir/file"), "content").expect("write");
        chown(at.join("dir/file"), Some(12), Some(34)).expect("chown");
        fs::set_permissions(at.join("dir/file"), fs::Permissions::from_mode(0o4751)).expect("chmod");
        fs::hard_link(at.join("dir/file"), at.join("linked")).expect("link");
        symlink("/nowhere/at/all", at.join("dir/sub/link")).expect("symlink");
        lchown(at.join("dir/sub/link"), Some(5), Some(6)).expect("lchown");
        let root = Root::open(at).expect("open");
        let mode = Mode::from_bits_truncate(0o640);
        mknodat(root.fd(), "null", SFlag::S_IFCHR, mode, nix::sys::stat::makedev(1, 3)).expect("mknod");
        mknodat(root.fd(), "pipe", SFlag::S_IFIFO, mode, 0).expect("mkfifo");
        let mut sparse = fs::File::create(at.join("sparse")).expect("create");
        sparse.seek(SeekFrom::Start(8 << 20)).expect("seek");
        sparse.write_all(b"end").expect("write");
        sparse.set_len(64 << 20).expect("grow");
        xattr::set(at.join("dir"), "trusted.test", b"on a directory").expect("xattr");
        xattr::set(at.join("dir/file"), "user.test", b"on a file").expect("xattr");
        // cap_net_raw+ep: lost by a chown after it.
        let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        xattr::set(at.join("dir/file"), "security.capability", &capability).expect("xattr");
        fs::set_permissions(at.join("dir"), fs::Permissions::from_mode(0o1777)).expect("chmod");
        let old =
            fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(123_456_789));
        fs::File::open(at.join("dir")).expect("open").set_times(old).expect("times");
    }

    #[test]
    fn keeps_everything() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (a, b) = (temp.path().join("a"), temp.path().join("b"));
        fs::create_dir(&a).expect("mkdir");
        fs::create_dir(&b).expect("mkdir");
        build(&a);
        let (from, to) = (Root::open(&a).expect("a"), Root::open(&b).expect("b"));
        copy_tree(from.fd(), to.fd()).expect("copy");
        for name in ["", "dir", "dir/file", "dir/sub", "dir/sub/link", "null", "pipe", "sparse", "linked"] {
            let (x, y) =
                (fs::symlink_metadata(a.join(name)).expect(name), fs::symlink_metadata(b.join(name)).expect(name));
            let facts = |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.rdev(), m.mtime(), m.mtime_nsec(), m.nlink());
            assert_eq!(facts(&x), facts(&y), "{name}");
            assert!(x.is_dir() || x.len() == y.len(), "{name}");
        }
        assert_eq!(fs::read(b.join("dir/file")).expect("read"), b"content");
        assert_eq!(
            fs::metadata(b.join("linked")).expect("stat").ino(),
            fs::metadata(b.join("dir/file")).expect("stat").ino()
        );
        assert!(fs::metadata(b.join("null")).expect("stat").file_type().is_char_device());
        assert_eq!(fs::read_link(b.join("dir/sub/link")).expect("link"), Path::new("/nowhere/at/all"));
        assert_eq!(fs::read(a.join("sparse")).expect("read"), fs::read(b.join("sparse")).expect("read"));
        for (name, attribute) in
            [("dir", "trusted.test"), ("dir/file", "user.test"), ("dir/file", "security.capability")]
        {
            let value = xattr::get(b.join(name), attribute).expect("xattr");
            assert_eq!(value, xattr::get(a.join(name), attribute).expect("xattr"), "{name} {attribute}");
            assert!(value.is_some(), "{name} {attribute}");
        }
        let size = disk_usage(to.fd(), Path::new("")).expect("usage");
        assert!(size < 1 << 20, "the hole was filled: {size}");
        let error = copy_tree(from.fd(), to.fd()).expect_err("what exists is not overwritten");
        assert!(error.to_string().contains("exists"), "{error}");
        remove_tree(Root::open(temp.path()).expect("open").fd(), OsStr::new("b")).expect("remove");
    }
}
