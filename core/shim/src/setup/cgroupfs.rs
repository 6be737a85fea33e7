//! What the container sees of its cgroups at `/sys/fs/cgroup`.

use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::MsFlags;
use nix::unistd::symlinkat;
use sheave_shim::protocol::{CgroupHierarchy, Stage};

use super::mounts::Mounter;
use super::options::Options;
use super::rootfs::READ_ONLY;
use crate::failure::{At, Step};
use crate::sys;

/// A mount of type `cgroup`: version 2, or a tmpfs with every version 1 hierarchy of the container in it.
pub(super) fn mount(mounter: &Mounter<'_>, destination: &Path, parsed: &Options) -> Step<()> {
    if mounter.cgroup.hierarchies.is_empty() {
        let target = mounter.directory(destination)?;
        let parsed = Options { data: String::new(), ..parsed.clone() };
        return mounter.attach_new("cgroup2", Path::new("cgroup"), destination, target.as_fd(), &parsed);
    }
    let target = mounter.directory(destination)?;
    let mut outer = Options { data: "mode=755".into(), ..parsed.clone() };
    outer.flags &= !MsFlags::MS_RDONLY.bits();
    mounter.attach_new("tmpfs", Path::new("tmpfs"), destination, target.as_fd(), &outer)?;
    for hierarchy in &mounter.cgroup.hierarchies {
        let Some(name) = hierarchy.mount.file_name() else { continue };
        let at = destination.join(name);
        if mounter.cgroup_namespace {
            namespaced(mounter, hierarchy, &at, parsed)?;
        } else {
            let bind = Options { bind: true, recursive: true, data: String::new(), ..parsed.clone() };
            mounter.bind(&hierarchy.mount.join(&mounter.cgroup.path), &at, &bind)?;
        }
        link_controllers(mounter, hierarchy, destination)?;
    }
    if parsed.read_only() {
        let name = || "making the cgroup directory read-only".to_owned();
        let outer = mounter.root.find(destination).at(Stage::Mounts, name)?;
        sys::mount_setattr(outer.as_fd(), READ_ONLY, false).at(Stage::Mounts, name)?;
    }
    Ok(())
}

fn namespaced(mounter: &Mounter<'_>, hierarchy: &CgroupHierarchy, at: &Path, parsed: &Options) -> Step<()> {
    let target = mounter.directory(at)?;
    let joined = hierarchy.controllers.join(",");
    let data = if joined.starts_with("name=") { format!("none,{joined}") } else { joined };
    let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let read_only = parsed.flags & MsFlags::MS_RDONLY.bits();
    let inner = Options { flags: flags.bits() | read_only, data, ..Options::default() };
    mounter.attach_new("cgroup", Path::new("cgroup"), at, target.as_fd(), &inner)
}

/// Names such as `cpu` for a hierarchy mounted at `cpu,cpuacct`.
fn link_controllers(mounter: &Mounter<'_>, hierarchy: &CgroupHierarchy, destination: &Path) -> Step<()> {
    let Some(name) = hierarchy.mount.file_name().filter(|_| hierarchy.controllers.len() > 1) else {
        return Ok(());
    };
    let parent = mounter.directory(destination)?;
    for controller in hierarchy.controllers.iter().filter(|controller| name != controller.as_str()) {
        match symlinkat(name, &parent, controller.as_str()) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            other => other.at(Stage::Mounts, || format!("linking {controller}"))?,
        }
    }
    Ok(())
}
