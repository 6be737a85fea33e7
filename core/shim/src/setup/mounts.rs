//! The mounts of the OCI runtime specification, made below the root before it is the root.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use oci_spec::runtime::Mount;
use sheave_shim::protocol::{CgroupPlacement, Stage};

use super::cgroupfs;
use super::options::{self, Options};
use super::rootfs::READ_ONLY;
use crate::failure::{At, Step, failure};
use crate::root::{Missing, Root, clean, fd_path};
use crate::sys::{self, MountAttr};

/// Files of `/proc` that may be bound over, as runc allows; anything else could deceive what reads `/proc`.
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Makes mounts below a root.
pub struct Mounter<'a> {
    /// The root.
    pub root: &'a Root,
    /// The cgroups that a mount of type `cgroup` shows.
    pub cgroup: &'a CgroupPlacement,
    /// Whether the container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    read_only_at_the_end: Vec<PathBuf>,
}

impl<'a> Mounter<'a> {
    /// Makes mounts below `root`.
    pub fn new(root: &'a Root, cgroup: &'a CgroupPlacement, cgroup_namespace: bool) -> Self {
        Self { root, cgroup, cgroup_namespace, read_only_at_the_end: Vec::new() }
    }

    /// Makes one mount.
    pub fn mount(&mut self, what: &Mount) -> Step<()> {
        let unset = Vec::new();
        if what.uid_mappings().is_some() || what.gid_mappings().is_some() {
            return Err(failure(Stage::Mounts, "id-mapped mounts are not supported"));
        }
        let parsed = options::parse(what.options().as_ref().unwrap_or(&unset))?;
        let destination = clean(what.destination());
        let fstype = what.typ().as_deref().unwrap_or(if parsed.bind { "bind" } else { "" });
        let source = what.source().as_deref().unwrap_or(Path::new(fstype));
        let result = match fstype {
            _ if parsed.bind || fstype == "bind" => self.bind(source, &destination, &parsed),
            "proc" | "sysfs" => self.kernel_view(fstype, &destination, &parsed),
            "cgroup" | "cgroup2" => cgroupfs::mount(self, &destination, &parsed),
            "tmpfs" => self.tmpfs(source, &destination, &parsed),
            _ => self.new_filesystem(fstype, source, &destination, &parsed),
        };
        result.map_err(|mut failed| {
            let source = source.display();
            let start = format!("error mounting {source:?} to rootfs at {:?}", destination.display().to_string());
            failed.message = format!("{}: {}", start.replace("\"\"", "\""), failed.message);
            failed
        })
    }

    /// What had to stay writable while it was filled.
    pub fn finish(&mut self) -> Step<()> {
        for path in std::mem::take(&mut self.read_only_at_the_end) {
            let name = || format!("making {} read-only", path.display());
            let mount = self.root.find(&path).at(Stage::Mounts, name)?;
            sys::mount_setattr(mount.as_fd(), READ_ONLY, false).at(Stage::Mounts, name)?;
        }
        Ok(())
    }

    pub(super) fn directory(&self, destination: &Path) -> Step<OwnedFd> {
        self.root
            .find_or_make(destination, Missing::Directory)
            .at(Stage::Mounts, || format!("create mount point {}", destination.display()))
    }

    pub(super) fn bind(&self, source: &Path, destination: &Path, parsed: &Options) -> Step<()> {
        let path = CString::new(source.as_os_str().as_bytes()).map_err(|_| nix::Error::EINVAL);
        let tree = path
            .and_then(|path| sys::clone_tree(nix::fcntl::AT_FDCWD, &path, parsed.recursive))
            .at(Stage::Mounts, || format!("stat {}", source.display()))?;
        let is_directory = is_directory(tree.as_fd())?;
        let missing = if is_directory { Missing::Directory } else { Missing::File };
        let target = self
            .root
            .find_or_make(destination, missing)
            .at(Stage::Mounts, || format!("create mount point {}", destination.display()))?;
        check_proc(target.as_fd(), tree.as_fd(), destination)?;
        let attributes = || -> sys::Result<()> {
            sys::mount_setattr(tree.as_fd(), parsed.tree, true)?;
            sys::mount_setattr(tree.as_fd(), parsed.attr, false)?;
            propagate(tree.as_fd(), parsed)
        };
        attributes().at(Stage::Mounts, || "setting mount attributes".into())?;
        sys::attach_tree(tree.as_fd(), target.as_fd()).at(Stage::Mounts, || "mount".into())
    }

    /// `proc` and `sysfs` go to ordinary directories only: through a link they would be somewhere else than what is
    /// masked later.
    fn kernel_view(&self, fstype: &str, destination: &Path, parsed: &Options) -> Step<()> {
        let target = match self.root.find_plain(destination) {
            Err(nix::Error::ENOENT) => self.directory(destination)?,
            Err(nix::Error::ELOOP) => return Err(not_a_directory(fstype)),
            other => other.at(Stage::Mounts, || "open".into())?,
        };
        if !is_directory(target.as_fd())? {
            return Err(not_a_directory(fstype));
        }
        self.attach_new(fstype, Path::new(fstype), destination, target.as_fd(), parsed)
    }

    fn tmpfs(&mut self, source: &Path, destination: &Path, parsed: &Options) -> Step<()> {
        let old = self.root.find(destination).ok();
        let target = self.directory(destination)?;
        let mut parsed = parsed.clone();
        if let Some(stat) = old.and_then(|old| fstat(old).ok())
            && !parsed.has_data("mode")
        {
            // The mode of the directory that is covered, as runc keeps it.
            let separator = if parsed.data.is_empty() { "" } else { "," };
            parsed.data = format!("{}{separator}mode={:o}", parsed.data, stat.st_mode & 0o7777);
        }
        if parsed.read_only() {
            parsed.flags &= !MsFlags::MS_RDONLY.bits();
            self.read_only_at_the_end.push(destination.to_owned());
        }
        self.attach_new("tmpfs", source, destination, target.as_fd(), &parsed)
    }

    fn new_filesystem(&self, fstype: &str, source: &Path, destination: &Path, parsed: &Options) -> Step<()> {
        let target = self.directory(destination)?;
        self.attach_new(fstype, source, destination, target.as_fd(), parsed)
    }

    pub(super) fn attach_new(
        &self,
        fstype: &str,
        source: &Path,
        destination: &Path,
        target: BorrowedFd<'_>,
        parsed: &Options,
    ) -> Step<()> {
        let on_proc = fstatfs(target).at(Stage::Mounts, || "statfs".into())?.filesystem_type() == PROC_SUPER_MAGIC;
        if on_proc || (destination == Path::new("/proc") && fstype != "proc") {
            return Err(failure(Stage::Mounts, format!("{} cannot be mounted inside proc", destination.display())));
        }
        let flags = MsFlags::from_bits_truncate(parsed.flags);
        mount(Some(source), &fd_path(target), Some(fstype), flags, Some(parsed.data.as_str()))
            .at(Stage::Mounts, || "mount".into())?;
        if !parsed.propagation.is_empty() || parsed.tree != MountAttr::default() {
            let steps = || -> sys::Result<()> {
                let mounted = self.root.find(destination)?;
                sys::mount_setattr(mounted.as_fd(), parsed.tree, true)?;
                propagate(mounted.as_fd(), parsed)
            };
            steps().at(Stage::Mounts, || "setting mount attributes".into())?;
        }
        Ok(())
    }
}

fn propagate(mount: BorrowedFd<'_>, parsed: &Options) -> sys::Result<()> {
    parsed.propagation.iter().try_for_each(|(propagation, recursive)| {
        sys::mount_setattr(mount, MountAttr { propagation: *propagation, ..MountAttr::default() }, *recursive)
    })
}

fn is_directory(fd: BorrowedFd<'_>) -> Step<bool> {
    let stat = fstat(fd).at(Stage::Mounts, || "stat".into())?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

fn not_a_directory(fstype: &str) -> sheave_shim::protocol::Failure {
    failure(Stage::Mounts, format!("filesystem {fstype:?} must be mounted on ordinary directory"))
}

/// Refuses binds inside `/proc`, wherever the path led, except over the files that runc allows.
fn check_proc(target: BorrowedFd<'_>, tree: BorrowedFd<'_>, destination: &Path) -> Step<()> {
    let is_proc = |fd| fstatfs(fd).map(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC);
    let stat = || "statfs".to_owned();
    let inside = is_proc(target).at(Stage::Mounts, stat)?;
    let allowed = if destination == Path::new("/proc") {
        is_proc(tree).at(Stage::Mounts, stat)?
    } else {
        !inside || PROC_FILES.iter().any(|file| Path::new(file) == destination)
    };
    if allowed {
        return Ok(());
    }
    Err(failure(Stage::Mounts, format!("{} cannot be mounted because it is inside /proc", destination.display())))
}
