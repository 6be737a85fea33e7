//! Mounts with absolute paths, and making them.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};
use crate::tree::open_dir;

/// The page that holds a mount's options, less the byte that ends it.
const OPTION_PAGE: usize = 4095;

/// A mount that was checked against the grants of the driver that wants it. `target` is relative to where the whole list is
/// mounted; empty is that place itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResolvedMount {
    /// An overlay.
    Overlay {
        /// Where.
        target: PathBuf,
        /// Absolute directories, the topmost first.
        lowers: Vec<PathBuf>,
        /// The writable directory; without it the overlay is read-only.
        upper: Option<PathBuf>,
        /// The work directory that `upper` needs.
        work: Option<PathBuf>,
        /// Further options (`index=off`).
        options: Vec<String>,
    },
    /// A directory of the host.
    Bind {
        /// Where.
        target: PathBuf,
        /// Absolute.
        source: PathBuf,
        /// Whether it cannot be written through this mount.
        read_only: bool,
    },
    /// A file system of the kernel; `bind` is a bind mount of any absolute path.
    Filesystem {
        /// Where.
        target: PathBuf,
        /// Its type.
        fstype: String,
        /// The device or other source.
        source: String,
        /// As `mount -o` takes them, flags and data mixed.
        options: Vec<String>,
    },
}

impl ResolvedMount {
    /// Where it is mounted, relative to the place of the whole list.
    pub fn target(&self) -> &Path {
        match self {
            Self::Overlay { target, .. } | Self::Bind { target, .. } | Self::Filesystem { target, .. } => target,
        }
    }
}

/// Mounts that vanish with this value. A crash leaves them; [`crate::Snapshots::recover`] takes them away.
#[derive(Debug)]
#[must_use = "dropping it unmounts"]
pub struct MountGuard {
    path: PathBuf,
    /// How many mounts lie on `path` itself.
    mounted: usize,
    made: bool,
}

impl MountGuard {
    /// A place where nothing needs to be mounted.
    pub(crate) fn plain(path: PathBuf) -> Self {
        Self { path, mounted: 0, made: false }
    }

    /// Where the content is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the mounts in place.
    pub(crate) fn keep(mut self) {
        self.mounted = 0;
        self.made = false;
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        for _ in 0..self.mounted {
            // What is mounted below goes with it.
            if let Err(errno) = umount2(&self.path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                tracing::warn!(path = %self.path.display(), %errno, "cannot unmount");
                return;
            }
        }
        if self.made {
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// Mounts a list at `target`, an existing directory of the daemon's own, for as long as the guard lives. The mount is
/// private: nothing made below it is seen elsewhere. It blocks; call it from a blocking thread.
///
/// # Errors
/// The first mount that fails; those before it are gone then.
pub fn mount_at(mounts: &[ResolvedMount], target: &Path) -> sheave_types::Result<MountGuard> {
    Ok(mount_list(mounts, target)?)
}

/// [`mount_at`], which also makes and removes `target`.
pub(crate) fn mount_in_new_dir(mounts: &[ResolvedMount], target: &Path) -> Result<MountGuard> {
    std::fs::create_dir(target).map_err(StorageError::io("make mount point", target))?;
    match mount_list(mounts, target) {
        Ok(mut guard) => {
            guard.made = true;
            Ok(guard)
        }
        Err(error) => {
            let _ = std::fs::remove_dir(target);
            Err(error)
        }
    }
}

pub(crate) fn mount_list(mounts: &[ResolvedMount], target: &Path) -> Result<MountGuard> {
    let mut guard = MountGuard { path: target.to_owned(), mounted: 0, made: false };
    if mounts.first().is_some_and(|first| !first.target().as_os_str().is_empty()) {
        let reason = "the first mount of a list is its root".to_owned();
        return Err(StorageError::Unsupported { what: "a list of mounts without a root", reason });
    }
    for one in mounts {
        if one.target().as_os_str().is_empty() {
            mount_one(one, target)?;
            guard.mounted += 1;
            mount(None::<&str>, target, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)
                .map_err(StorageError::errno("make private", target))?;
        } else {
            // The content that is already mounted may hold links; this way none of them is followed.
            let place = open_below(target, one.target())?;
            mount_one(one, Path::new(&format!("/proc/self/fd/{}", place.as_raw_fd())))?;
        }
    }
    Ok(guard)
}

fn open_below(base: &Path, target: &Path) -> Result<OwnedFd> {
    let base_dir = std::fs::File::open(base).map_err(StorageError::io("open", base))?;
    open_dir(&base_dir, target, false).map_err(StorageError::errno("open mount point", base.join(target)))
}

fn mount_one(one: &ResolvedMount, at: &Path) -> Result<()> {
    match one {
        ResolvedMount::Overlay { lowers, upper, work, options, .. } => {
            let overlay = OverlayDirs { lowers, upper: upper.as_deref(), work: work.as_deref(), options };
            overlay.mount(at).map_err(StorageError::errno("mount overlay at", at))
        }
        ResolvedMount::Bind { source, read_only, .. } => {
            let flags = if *read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
            bind(source, at, flags)
        }
        ResolvedMount::Filesystem { fstype, source, options, .. } => {
            let (flags, data) = split_options(options);
            if fstype == "bind" {
                return bind(Path::new(source), at, flags);
            }
            let data = Some(data.as_str()).filter(|d| !d.is_empty());
            mount(Some(source.as_str()), at, Some(fstype.as_str()), flags, data)
                .map_err(StorageError::errno("mount a file system at", at))
        }
    }
}

fn bind(source: &Path, at: &Path, flags: MsFlags) -> Result<()> {
    let recursive = flags & MsFlags::MS_REC;
    mount(Some(source), at, None::<&str>, MsFlags::MS_BIND | recursive, None::<&str>)
        .map_err(StorageError::errno("bind", source))?;
    let flags = flags - MsFlags::MS_REC;
    if flags.is_empty() {
        return Ok(());
    }
    // A bind takes the flags of its source; others are set by a second call, which must repeat those.
    let kept = nix::sys::statvfs::statvfs(at).map_or(0, |s| s.flags().bits());
    let kept = MsFlags::from_bits_truncate(kept)
        & (MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME | MsFlags::MS_RDONLY);
    let change = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | kept | flags;
    mount(None::<&str>, at, None::<&str>, change, None::<&str>).map_err(|errno| {
        let _ = umount2(at, MntFlags::MNT_DETACH);
        StorageError::errno("set mount flags of", at)(errno)
    })
}

/// Splits options as mount(8) does into flags of the call and data for the file system.
pub(crate) fn split_options(options: &[String]) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in options {
        let (set, flag) = match option.as_str() {
            "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "atime" => (false, MsFlags::empty()),
            "ro" => (true, MsFlags::MS_RDONLY),
            "nosuid" => (true, MsFlags::MS_NOSUID),
            "nodev" => (true, MsFlags::MS_NODEV),
            "noexec" => (true, MsFlags::MS_NOEXEC),
            "sync" => (true, MsFlags::MS_SYNCHRONOUS),
            "dirsync" => (true, MsFlags::MS_DIRSYNC),
            "noatime" => (true, MsFlags::MS_NOATIME),
            "nodiratime" => (true, MsFlags::MS_NODIRATIME),
            "relatime" => (true, MsFlags::MS_RELATIME),
            "norelatime" => (false, MsFlags::MS_RELATIME),
            "strictatime" => (true, MsFlags::MS_STRICTATIME),
            "rbind" => (true, MsFlags::MS_REC),
            other => {
                data.push(other);
                continue;
            }
        };
        flags.set(flag, set);
    }
    (flags, data.join(","))
}

/// The directories of an overlay.
struct OverlayDirs<'a> {
    lowers: &'a [PathBuf],
    upper: Option<&'a Path>,
    work: Option<&'a Path>,
    options: &'a [String],
}

impl OverlayDirs<'_> {
    fn mount(&self, at: &Path) -> nix::Result<()> {
        let whole = self.option_string(Path::new(""));
        if whole.len() <= OPTION_PAGE {
            return mount(Some("overlay"), at, Some("overlay"), self.flags(), Some(whole.as_os_str()));
        }
        // Too long for a page: name the directories from where they all lie. The working directory is the whole process's,
        // unless a thread has one of its own.
        let base = self.common_ancestor();
        let short = self.option_string(&base);
        if short.len() > OPTION_PAGE {
            return Err(Errno::E2BIG);
        }
        let flags = self.flags();
        std::thread::scope(|scope| {
            let mounting = scope.spawn(|| {
                unshare(CloneFlags::CLONE_FS)?;
                nix::unistd::chdir(&base)?;
                mount(Some("overlay"), at, Some("overlay"), flags, Some(short.as_os_str()))
            });
            mounting.join().unwrap_or(Err(Errno::EIO))
        })
    }

    fn flags(&self) -> MsFlags {
        if self.upper.is_some() { MsFlags::empty() } else { MsFlags::MS_RDONLY }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.lowers.iter().map(PathBuf::as_path).chain(self.upper).chain(self.work)
    }

    fn common_ancestor(&self) -> PathBuf {
        let mut paths = self.paths();
        let first = paths.next().and_then(Path::parent).unwrap_or(Path::new("/"));
        let mut common = first.to_owned();
        for path in paths {
            while !path.starts_with(&common) && common.pop() {}
        }
        common
    }

    fn option_string(&self, base: &Path) -> OsString {
        let relative = |path: &Path| escape(path.strip_prefix(base).unwrap_or(path));
        let lowers: Vec<_> = self.lowers.iter().map(|l| relative(l)).collect();
        let mut text = [b"lowerdir=".as_slice(), &lowers.join(&b':')].concat();
        for (name, path) in [("upperdir", self.upper), ("workdir", self.work)] {
            if let Some(path) = path {
                text.extend([b",", name.as_bytes(), b"=", relative(path).as_slice()].concat());
            }
        }
        for option in self.options {
            text.extend([b",", option.as_bytes()].concat());
        }
        OsString::from_vec(text)
    }
}

/// Escapes what splits overlayfs's options. Plans have none of it; an operator's data directory may.
fn escape(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.as_os_str().len());
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

/// The mount points at or below `base`, the deepest first.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub(crate) fn mount_points_below(base: &Path) -> Result<Vec<PathBuf>> {
    const TABLE: &str = "/proc/self/mountinfo";
    let table = std::fs::read(TABLE).map_err(StorageError::io("read", TABLE))?;
    let mut points: Vec<PathBuf> = table
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .filter(|point| point.starts_with(base))
        .collect();
    points.reverse();
    points.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    Ok(points)
}

/// `\040` and the like, as the kernel writes blanks in its tables.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|d| first == b'\\' && d.iter().all(|b| (b'0'..b'8').contains(b)));
        match digits {
            Some(d) => {
                text.push((d[0] - b'0').wrapping_mul(64) + (d[1] - b'0') * 8 + (d[2] - b'0'));
                rest = &tail[3..];
            }
            None => {
                text.push(first);
                rest = tail;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn options_are_split() {
        let split = |text: &str| split_options(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(split("ro,size=1m,nosuid"), (MsFlags::MS_RDONLY | MsFlags::MS_NOSUID, "size=1m".to_owned()));
        assert_eq!(split("defaults"), (MsFlags::empty(), String::new()));
        assert_eq!(split("addr=1.2.3.4,vers=4.2"), (MsFlags::empty(), "addr=1.2.3.4,vers=4.2".to_owned()));
    }

    #[test]
    fn kernel_tables_are_unescaped() {
        assert_eq!(unescape(br"/a\040b\134c\0"), br"/a b\c\0");
    }

    fn overlay(base: &Path, layers: usize) -> ResolvedMount {
        let lowers: Vec<_> = (0..layers).map(|n| base.join(format!("layer-{n:03}/fs"))).collect();
        for (n, lower) in lowers.iter().enumerate() {
            fs::create_dir_all(lower).expect("mkdir");
            fs::write(lower.join(format!("file-{n}")), "").expect("write");
        }
        let (upper, work) = (base.join("upper/fs"), base.join("upper/work"));
        fs::create_dir_all(&upper).expect("mkdir");
        fs::create_dir_all(&work).expect("mkdir");
        let (upper, work) = (Some(upper), Some(work));
        ResolvedMount::Overlay { target: PathBuf::new(), lowers, upper, work, options: vec!["index=off".into()] }
    }

    #[test]
    fn mounts_more_layers_than_a_page_of_absolute_paths_and_odd_data_roots() {
        let temp = tempfile::Builder::new().prefix("sheave storage,with:odd\\name").tempdir().expect("tempdir");
        let base = temp.path().join("b".repeat(80));
        let at = temp.path().join("at");
        fs::create_dir_all(&at).expect("mkdir");
        for layers in [2, 125] {
            let guard = mount_at(&[overlay(&base, layers)], &at).expect("mount");
            assert!(guard.path().join(format!("file-{}", layers - 1)).exists());
            fs::write(at.join("written"), "").expect("write");
            assert_eq!(mount_points_below(temp.path()).expect("table"), std::slice::from_ref(&at));
            drop(guard);
            assert!(mount_points_below(temp.path()).expect("table").is_empty());
            assert!(base.join("upper/fs/written").exists());
        }
    }

    #[test]
    fn a_failed_list_leaves_no_mount() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (source, at) = (temp.path().join("source"), temp.path().join("at"));
        for dir in [&source.join("inside"), &at] {
            fs::create_dir_all(dir).expect("mkdir");
        }
        std::os::unix::fs::symlink("/etc", source.join("link")).expect("symlink");
        let bind =
            |target: &str, read_only| ResolvedMount::Bind { target: target.into(), source: source.clone(), read_only };
        let guard = mount_at(&[bind("", true), bind("inside", false)], &at).expect("mount");
        assert!(fs::write(at.join("x"), "").is_err(), "read-only");
        fs::write(at.join("inside/x"), "").expect("writable");
        drop(guard);
        mount_at(&[bind("", false), bind("link", false)], &at).expect_err("a link is not followed");
        assert!(mount_points_below(temp.path()).expect("table").is_empty());
    }
}
