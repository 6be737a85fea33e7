//! Finding the host's cgroup hierarchies.

use std::path::{Path, PathBuf};

use crate::protocol::{CgroupHierarchy, CgroupPlacement};

impl CgroupPlacement {
    /// The placement of the cgroup `path` on a host with these mounts (`/proc/self/mountinfo`).
    ///
    /// Source of the format: <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
    pub fn detect(mountinfo: &str, path: &Path) -> Self {
        let mut found = Self { hierarchies: Vec::new(), unified: None, path: path.to_owned() };
        for line in mountinfo.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let mount: Vec<&str> = mount.split(' ').collect();
            let filesystem: Vec<&str> = filesystem.split(' ').collect();
            let (Some(root), Some(at)) = (mount.get(3), mount.get(4)) else { continue };
            let at = PathBuf::from(at);
            // A bind of one cgroup somewhere is no hierarchy; nor is one mounted a second time.
            if *root != "/" {
                continue;
            }
            match (filesystem.first(), filesystem.get(2)) {
                (Some(&"cgroup2"), _) => drop(found.unified.get_or_insert(at)),
                (Some(&"cgroup"), Some(options)) => {
                    let controllers = controllers(options);
                    if !controllers.is_empty() && !found.hierarchies.iter().any(|h| h.controllers == controllers) {
                        found.hierarchies.push(CgroupHierarchy { controllers, mount: at });
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// The controllers among the options of a version 1 file system, or its name.
fn controllers(options: &str) -> Vec<String> {
    const KNOWN: &[&str] = &[
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "hugetlb",
        "net_cls",
        "net_prio",
        "perf_event",
        "rdma",
        "misc",
    ];
    let wanted = |option: &&str| KNOWN.contains(option) || option.starts_with("name=");
    options.split(',').filter(wanted).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_unified() {
        let hybrid = "\
30 1 0:1 / / rw - ext4 /dev/vda rw
31 30 0:2 / /sys/fs/cgroup ro - tmpfs tmpfs ro
32 31 0:3 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:4 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 31 0:5 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
35 30 0:3 /x /mnt rw - cgroup cgroup rw,cpu,cpuacct";
        let placement = CgroupPlacement::detect(hybrid, Path::new("s/1"));
        let hierarchy = |controllers: &[&str], mount: &str| CgroupHierarchy {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            mount: mount.into(),
        };
        let expected = [
            hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct"),
            hierarchy(&["name=systemd"], "/sys/fs/cgroup/systemd"),
        ];
        assert_eq!(placement.hierarchies, expected);
        assert_eq!(placement.unified, Some("/sys/fs/cgroup/unified".into()));
        let unified = "32 31 0:3 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup rw,nsdelegate";
        let placement = CgroupPlacement::detect(unified, Path::new("s/1"));
        assert!(placement.hierarchies.is_empty() && placement.unified == Some("/sys/fs/cgroup".into()));
    }
}
