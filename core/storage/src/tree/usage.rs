//! How much space a tree takes.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use super::root::{entries, open_dir};

/// Bytes on disk of the tree at `path` below `base`, each hard-linked file once. Names that vanish meanwhile, and what lies
/// too deep to name, count nothing; mounts are not entered.
///
/// # Errors
/// Those of reading directories.
pub(crate) fn disk_usage(base: impl AsFd, path: &Path) -> nix::Result<u64> {
    let top = open_dir(base, path, false)?;
    let mut linked = HashSet::new();
    let mut total = blocks(&fstatat(&top, "", AtFlags::AT_EMPTY_PATH)?);
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let dir = match open_dir(&top, &path, true) {
            Ok(dir) => dir,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::ENAMETOOLONG) => continue,
            Err(errno) => return Err(errno),
        };
        for entry in entries(&dir)? {
            let stat = match fstatat(&dir, entry.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno),
            };
            let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            if is_dir {
                pending.push(path.join(&entry.name));
            } else if stat.st_nlink > 1 && !linked.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            total += blocks(&stat);
        }
    }
    Ok(total)
}

/// `st_blocks` counts 512 bytes whatever the file system's own blocks are.
fn blocks(stat: &nix::sys::stat::FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tree::Root;

    #[test]
    fn counts_hard_links_once_and_holes_not() {
        let temp = tempfile::tempdir().expect("tempdir");
        let root = Root::open(temp.path()).expect("root");
        fs::create_dir(temp.path().join("t")).expect("mkdir");
        let empty = disk_usage(root.fd(), Path::new("t")).expect("usage");
        fs::write(temp.path().join("t/a"), vec![1u8; 1 << 20]).expect("write");
        fs::hard_link(temp.path().join("t/a"), temp.path().join("t/b")).expect("link");
        fs::File::create(temp.path().join("t/hole")).expect("create").set_len(1 << 30).expect("grow");
        fs::File::open(temp.path().join("t/a")).expect("open").sync_all().expect("sync");
        let full = disk_usage(root.fd(), Path::new("t")).expect("usage") - empty;
        assert!((1 << 20..1 << 21).contains(&full), "{full}");
    }
}
