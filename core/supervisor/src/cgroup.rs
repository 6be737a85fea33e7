//! Where containers' cgroups are, and the end of those that lost their shim.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sheave_shim::protocol::{CgroupHierarchy, CgroupPlacement};

/// The hierarchies of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    v1: Vec<CgroupHierarchy>,
    unified: Option<PathBuf>,
}

impl Hierarchies {
    /// Reads those mounted in this mount namespace.
    ///
    /// # Errors
    /// Those of `/proc`.
    pub fn detect() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self { v1: Vec::new(), unified: None };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(root), Some(mount), Some(kind), Some(options)) =
                (left.get(3), left.get(4), right.first(), right.get(2))
            else {
                continue;
            };
            // A bind of a part of a hierarchy is not the hierarchy.
            if *root != "/" {
                continue;
            }
            match *kind {
                "cgroup2" if found.unified.is_none() => found.unified = Some(PathBuf::from(mount)),
                "cgroup" => {
                    let flags = ["rw", "ro", "xattr", "clone_children", "noprefix", "favordynmods"];
                    let named = |o: &&str| !flags.contains(o) && !o.starts_with("release_agent=");
                    let controllers: Vec<String> = options.split(',').filter(named).map(str::to_owned).collect();
                    if !found.v1.iter().any(|known| known.controllers == controllers) {
                        found.v1.push(CgroupHierarchy { controllers, mount: PathBuf::from(mount) });
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The cgroup of a container below `parent`.
    pub fn placement(&self, parent: &str, id: &str) -> CgroupPlacement {
        let path = Path::new(parent.trim_matches('/')).join(id);
        CgroupPlacement { hierarchies: self.v1.clone(), unified: self.unified.clone(), path }
    }
}

/// The directories of a placement, one a hierarchy.
fn directories(placement: &CgroupPlacement) -> impl Iterator<Item = PathBuf> {
    let mounts = placement.hierarchies.iter().map(|hierarchy| &hierarchy.mount).chain(&placement.unified);
    mounts.map(|mount| mount.join(&placement.path))
}

/// Processes of a placement.
pub fn pids(placement: &CgroupPlacement) -> Vec<i32> {
    let mut pids = Vec::new();
    directories(placement).for_each(|dir| processes(&dir, &mut pids));
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Processes in a cgroup and in those below it.
fn processes(dir: &Path, found: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) {
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    below(dir).for_each(|child| processes(&child, found));
}

fn below(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

fn remove(dir: &Path) {
    below(dir).for_each(|child| remove(&child));
    // One that is still in use is found again at the next recovery.
    let _ = fs::remove_dir(dir);
}

/// Kills every process of a placement and removes its cgroups. Used where no shim is left to do it.
pub async fn destroy(placement: &CgroupPlacement) {
    for _ in 0..100 {
        let mut pids = Vec::new();
        for dir in directories(placement) {
            thaw(&dir);
            processes(&dir, &mut pids);
        }
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            // One that has ended meanwhile is what was wanted.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    directories(placement).for_each(|dir| remove(&dir));
}

/// A frozen process of version 1 does not die before it is thawed.
fn thaw(dir: &Path) {
    let file = dir.join("freezer.state");
    if file.exists() {
        let _ = fs::write(file, "THAWED");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_hybrid_host() {
        let found = Hierarchies::parse(
            "30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n\
             31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate\n\
             32 30 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n\
             33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct\n\
             34 30 0:29 /x /mnt rw shared:12 - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let names: Vec<_> = found.v1.iter().map(|h| h.controllers.join(",")).collect();
        assert_eq!(names, ["name=systemd", "cpu,cpuacct"]);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.placement("/sheave", "x").path, Path::new("sheave/x"));
    }
}
