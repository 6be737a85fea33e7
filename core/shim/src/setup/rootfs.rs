//! The root file system: mounting it, making it the root.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, fchdir, pivot_root};
use sheave_shim::protocol::{RootMount, Stage};

use super::options;
use crate::failure::{At, Step, failure};
use crate::root::{Missing, Root, fd_path};
use crate::sys::{self, MountAttr};

/// mount(2) reads at most a page of options.
const MAX_DATA: usize = 4095;

/// Sets the propagation of the whole tree, so that our mounts do not reach the host: recursively slave, or what the
/// specification asks for.
pub fn set_propagation(propagation: Option<&str>) -> Step<()> {
    let (flag, recursive) = match propagation {
        None | Some("") => (MsFlags::MS_SLAVE.bits(), true),
        Some(name) => options::propagation(name)
            .ok_or_else(|| failure(Stage::Rootfs, format!("unknown rootfsPropagation {name:?}")))?,
    };
    let mut flags = MsFlags::from_bits_truncate(flag);
    flags.set(MsFlags::MS_REC, recursive);
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).at(Stage::Rootfs, || "making / a slave mount".into())
}

/// Keeps the mounts below `path` from the host even where its mount is shared.
pub fn make_parent_private(path: &Path) -> Step<()> {
    for parent in path.ancestors() {
        // EINVAL: no mount point; the next one up may be.
        match mount(None::<&str>, parent, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>) {
            Err(nix::Error::EINVAL) => {}
            other => return other.at(Stage::Rootfs, || format!("making {} private", parent.display())),
        }
    }
    Ok(())
}

/// Mounts the root file system at `at` and opens it.
pub fn mount_root(mounts: &[RootMount], at: &Path) -> Step<Root> {
    let Some((first, rest)) = mounts.split_first() else {
        return Err(failure(Stage::Rootfs, "no root file system was given"));
    };
    if !target(first).as_os_str().is_empty() {
        return Err(failure(Stage::Rootfs, "the first mount is not that of the root"));
    }
    let open_root = |path: &Path| Root::open(path).at(Stage::Rootfs, || format!("opening {}", path.display()));
    mount_one(first, open_root(at)?.fd())?;
    let root = open_root(at)?;
    for mount in rest {
        let point = root
            .find_or_make(target(mount), Missing::Directory)
            .at(Stage::Rootfs, || format!("making {}", target(mount).display()))?;
        mount_one(mount, point.as_fd())?;
    }
    Ok(root)
}

fn target(mount: &RootMount) -> &Path {
    match mount {
        RootMount::Overlay { target, .. } | RootMount::Bind { target, .. } | RootMount::Filesystem { target, .. } => {
            target
        }
    }
}

fn mount_one(what: &RootMount, at: std::os::fd::BorrowedFd<'_>) -> Step<()> {
    match what {
        RootMount::Overlay { lowers, upper, work, options, .. } => {
            let overlay = Overlay { lowers, upper: upper.as_deref(), work: work.as_deref(), options };
            overlay.mount(at).at(Stage::Rootfs, || "mounting the overlay".into())
        }
        RootMount::Bind { source, read_only, .. } => {
            let name = || format!("binding {}", source.display());
            let path = CString::new(source.as_os_str().as_bytes()).map_err(|_| nix::Error::EINVAL);
            let tree = path.and_then(|path| sys::clone_tree(nix::fcntl::AT_FDCWD, &path, true));
            let tree = tree.at(Stage::Rootfs, name)?;
            let propagation = MsFlags::MS_PRIVATE.bits();
            sys::mount_setattr(tree.as_fd(), MountAttr { propagation, ..MountAttr::default() }, true)
                .at(Stage::Rootfs, name)?;
            if *read_only {
                sys::mount_setattr(tree.as_fd(), READ_ONLY, true).at(Stage::Rootfs, name)?;
            }
            sys::attach_tree(tree.as_fd(), at).at(Stage::Rootfs, name)
        }
        RootMount::Filesystem { fstype, source, options, .. } => {
            let parsed = options::parse(options)?;
            let flags = MsFlags::from_bits_truncate(parsed.flags);
            mount(Some(source.as_str()), &fd_path(at), Some(fstype.as_str()), flags, Some(parsed.data.as_str()))
                .at(Stage::Rootfs, || format!("mounting {fstype} {source}"))
        }
    }
}

/// Sets the read-only bit of a mount.
pub const READ_ONLY: MountAttr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0 };

struct Overlay<'a> {
    lowers: &'a [PathBuf],
    upper: Option<&'a Path>,
    work: Option<&'a Path>,
    options: &'a [String],
}

impl Overlay<'_> {
    fn mount(&self, at: std::os::fd::BorrowedFd<'_>) -> sys::Result<()> {
        let whole = self.data(Path::new(""));
        if whole.len() <= MAX_DATA {
            return self.mount_classic(at, &whole);
        }
        // Relative to what all have in common, the paths are shorter.
        let base = self.common_parent();
        let short = self.data(&base);
        if short.len() > MAX_DATA {
            return self.mount_piecewise(at);
        }
        chdir(&base)?;
        let result = self.mount_classic(at, &short);
        chdir("/")?;
        result
    }

    fn mount_classic(&self, at: std::os::fd::BorrowedFd<'_>, data: &OsString) -> sys::Result<()> {
        mount(Some("overlay"), &fd_path(at), Some("overlay"), MsFlags::empty(), Some(data.as_os_str()))
    }

    fn data(&self, base: &Path) -> OsString {
        let mut data = b"lowerdir=".to_vec();
        for (index, lower) in self.lowers.iter().enumerate() {
            if index > 0 {
                data.push(b':');
            }
            escape(&mut data, lower.strip_prefix(base).unwrap_or(lower), b":,\\");
        }
        for (name, path) in [("upperdir", self.upper), ("workdir", self.work)] {
            if let Some(path) = path {
                data.extend_from_slice(format!(",{name}=").as_bytes());
                escape(&mut data, path.strip_prefix(base).unwrap_or(path), b",\\");
            }
        }
        for option in self.options {
            data.push(b',');
            data.extend_from_slice(option.as_bytes());
        }
        OsString::from_vec(data)
    }

    fn common_parent(&self) -> PathBuf {
        let mut base = self.lowers.first().and_then(|path| path.parent()).unwrap_or(Path::new("/")).to_owned();
        for path in self.lowers.iter().map(PathBuf::as_path).chain(self.upper).chain(self.work) {
            while !path.starts_with(&base) || path == base {
                if !base.pop() {
                    return PathBuf::from("/");
                }
            }
        }
        base
    }

    /// A layer at a time by fsconfig, which has no limit of a page (Linux 6.8).
    fn mount_piecewise(&self, at: std::os::fd::BorrowedFd<'_>) -> sys::Result<()> {
        let context = sys::fsopen(c"overlay")?;
        let set = |key: &str, value: &[u8]| {
            let key = CString::new(key).map_err(|_| nix::Error::EINVAL)?;
            let value = CString::new(value).map_err(|_| nix::Error::EINVAL)?;
            sys::fsconfig_string(context.as_fd(), &key, &value)
        };
        for lower in self.lowers {
            set("lowerdir+", lower.as_os_str().as_bytes())?;
        }
        for (name, path) in [("upperdir", self.upper), ("workdir", self.work)] {
            if let Some(path) = path {
                set(name, path.as_os_str().as_bytes())?;
            }
        }
        for option in self.options {
            match option.split_once('=') {
                Some((key, value)) => set(key, value.as_bytes())?,
                None => sys::fsconfig_flag(
                    context.as_fd(),
                    &CString::new(option.as_str()).map_err(|_| nix::Error::EINVAL)?,
                )?,
            }
        }
        let tree = sys::fsmount(context.as_fd())?;
        sys::attach_tree(tree.as_fd(), at)
    }
}

fn escape(data: &mut Vec<u8>, path: &Path, special: &[u8]) {
    for byte in path.as_os_str().as_bytes() {
        if special.contains(byte) {
            data.push(b'\\');
        }
        data.push(*byte);
    }
}

/// Makes `root` the root of the mount namespace and takes everything else away.
///
/// The old root is stacked on the new one and detached through its descriptor, so no directory is needed for it.
pub fn pivot(root: &Root) -> Step<()> {
    let steps = || -> sys::Result<()> {
        let old: OwnedFd = open("/", OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        fchdir(root.fd())?;
        pivot_root(".", ".")?;
        fchdir(&old)?;
        // A slave, so that the unmount does not travel to the host.
        mount(None::<&str>, ".", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")
    };
    steps().at(Stage::Rootfs, || "making the root file system the root".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_options() {
        let lowers = ["/s/a:b/diff".into(), "/s/c,d/diff".into()];
        let options = ["volatile".to_owned()];
        let (upper, work) = (Some(Path::new("/s/up")), Some(Path::new("/s/wo:rk")));
        let overlay = Overlay { lowers: &lowers, upper, work, options: &options };
        let whole = "lowerdir=/s/a\\:b/diff:/s/c\\,d/diff,upperdir=/s/up,workdir=/s/wo:rk,volatile";
        assert_eq!(overlay.data(Path::new("")), whole);
        assert_eq!(overlay.common_parent(), Path::new("/s"));
        let short = "lowerdir=a\\:b/diff:c\\,d/diff,upperdir=up,workdir=wo:rk,volatile";
        assert_eq!(overlay.data(Path::new("/s")), short);
    }
}
