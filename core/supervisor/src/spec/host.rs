//! What the engine's host offers to containers, read once at the start.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};

use super::capabilities::CapabilitySet;

/// What the host offers; the pure functions beside this one are given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The capabilities the engine has and can give away.
    pub bounding: CapabilitySet,
    /// CPUs that are online, as a list: `0-3`.
    pub cpus: String,
    /// Memory nodes that are there, as a list: `0`.
    pub mems: String,
    /// Which limits its cgroups can set.
    pub limits: LimitSupport,
    /// Resource limits of the engine itself, by name in lower case: the hard ones.
    pub hard_rlimits: Vec<(&'static str, u64)>,
    /// The lowest `oom_score_adj` a process of it may have.
    pub oom_score_floor: i64,
    /// Version of the kernel, major and minor.
    pub kernel: (u32, u32),
    /// The programs that the engine was given.
    pub programs: Programs,
    /// Host paths of CPUs whose `thermal_throttle` tells of other containers, and is hidden.
    pub thermal_paths: Vec<String>,
    /// Names of the security modules that are on (`apparmor`, `selinux`).
    pub security_modules: Vec<String>,
}

/// The programs that the engine was given for its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// Names of the runtimes that `HostConfig.Runtime` may ask for, the default one first.
    pub runtimes: Vec<String>,
    /// Host path of the static program that `HostConfig.Init` runs as the first process.
    pub init: Option<PathBuf>,
}

/// Which limits the host's cgroups can set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a list of what is there, not a state")]
pub struct LimitSupport {
    /// One hierarchy (version 2) instead of one a controller.
    pub unified: bool,
    /// Memory limits.
    pub memory: bool,
    /// Limits of memory and swap together.
    pub swap: bool,
    /// Swappiness of one container.
    pub swappiness: bool,
    /// Sparing a container from the OOM killer.
    pub oom_kill_disable: bool,
    /// CPU shares, periods and quotas.
    pub cpu: bool,
    /// CPUs and memory nodes.
    pub cpuset: bool,
    /// Numbers of processes.
    pub pids: bool,
    /// Block I/O weights.
    pub blkio_weight: bool,
    /// Block I/O rates.
    pub blkio_rates: bool,
}

impl LimitSupport {
    /// A host that offers all; for tests and for a first guess.
    pub fn all(unified: bool) -> Self {
        Self {
            unified,
            memory: true,
            swap: true,
            swappiness: !unified,
            oom_kill_disable: !unified,
            cpu: true,
            cpuset: true,
            pids: true,
            blkio_weight: true,
            blkio_rates: true,
        }
    }

    /// What the cgroups mounted at `root` (`/sys/fs/cgroup`) offer.
    pub fn detect(root: &Path) -> Self {
        if let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) {
            let has = |name| controllers.split_whitespace().any(|c| c == name);
            return Self {
                unified: true,
                memory: has("memory"),
                swap: has("memory"),
                swappiness: false,
                oom_kill_disable: false,
                cpu: has("cpu"),
                cpuset: has("cpuset"),
                pids: has("pids"),
                blkio_weight: has("io"),
                blkio_rates: has("io"),
            };
        }
        let has = |path: &str| root.join(path).exists();
        Self {
            unified: false,
            memory: has("memory/memory.limit_in_bytes"),
            swap: has("memory/memory.memsw.limit_in_bytes"),
            swappiness: has("memory/memory.swappiness"),
            oom_kill_disable: has("memory/memory.oom_control"),
            cpu: has("cpu/cpu.cfs_quota_us"),
            cpuset: has("cpuset/cpuset.cpus"),
            pids: has("pids"),
            blkio_weight: has("blkio/blkio.weight") || has("blkio/blkio.bfq.weight"),
            blkio_rates: has("blkio/blkio.throttle.read_bps_device"),
        }
    }
}

/// The resource limits that a container may set, `setrlimit(2)`.
pub(crate) const RLIMITS: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

impl HostFacts {
    /// Reads them from this host; what cannot be read counts as not offered.
    pub fn detect(programs: Programs) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = text("/proc/self/status");
        let bounding = status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))
            .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
            .map(CapabilitySet::from_bits)
            .unwrap_or_default();
        let own_score = text("/proc/self/oom_score_adj").trim().parse().unwrap_or(0);
        let kernel = text("/proc/sys/kernel/osrelease");
        let mut numbers = kernel.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
        let cpus = text("/sys/devices/system/cpu/online").trim().to_owned();
        Self {
            bounding,
            mems: text("/sys/devices/system/node/has_memory").trim().to_owned(),
            limits: LimitSupport::detect(Path::new("/sys/fs/cgroup")),
            hard_rlimits: RLIMITS
                .iter()
                .filter_map(|(name, resource)| getrlimit(*resource).ok().map(|(_, hard)| (*name, hard)))
                .collect(),
            oom_score_floor: if bounding.has("CAP_SYS_RESOURCE") { -1000 } else { own_score },
            kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
            programs,
            thermal_paths: thermal_paths(Path::new("/sys/devices/system/cpu")),
            security_modules: text("/sys/kernel/security/lsm").trim().split(',').map(str::to_owned).collect(),
            cpus,
        }
    }

    /// How many CPUs are online.
    pub fn cpu_count(&self) -> usize {
        super::parse::cpu_list(&self.cpus).map_or(1, |list| list.len().max(1))
    }

    /// Whether a mount can be made read-only with all below it (`mount_setattr(2)`, Linux 5.12).
    pub fn recursive_read_only(&self) -> bool {
        self.kernel >= (5, 12)
    }

    /// Whether the engine may raise limits above its own.
    pub fn may_raise_limits(&self) -> bool {
        self.bounding.has("CAP_SYS_RESOURCE")
    }
}

fn thermal_paths(cpus: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(cpus) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().join("thermal_throttle").is_dir())
        .map(|entry| entry.path().join("thermal_throttle").display().to_string())
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
impl HostFacts {
    /// A host like the virtual machines the engine is tested on: no `CAP_SYS_RESOURCE`, 20,000 files, cgroup v1.
    pub(crate) fn example() -> Self {
        Self {
            bounding: CapabilitySet::from_bits(0x1ff_feff_ffff),
            cpus: "0-1".to_owned(),
            mems: "0".to_owned(),
            limits: LimitSupport::all(false),
            hard_rlimits: RLIMITS.iter().map(|(name, _)| (*name, 20_000)).collect(),
            oom_score_floor: 0,
            kernel: (6, 1),
            programs: Programs { runtimes: vec!["runc".to_owned()], init: None },
            thermal_paths: Vec::new(),
            security_modules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_read() {
        let facts = HostFacts::detect(Programs::default());
        assert!(facts.bounding.has("CAP_CHOWN"), "{facts:?}");
        assert!(facts.cpu_count() >= 1);
        assert!(facts.kernel >= (5, 15), "{:?}", facts.kernel);
        assert_eq!(facts.hard_rlimits.len(), RLIMITS.len());
    }
}
