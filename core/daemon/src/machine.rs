//! What the host is: for `/info` and `/version`.

use std::fs;
use std::path::Path;

use sheave_api::system::SystemInfo;

/// The parts of a host that do not change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The host's name.
    pub name: String,
    /// `x86_64`, `aarch64`, …
    pub machine: String,
    /// The distribution's pretty name.
    pub system: String,
    /// The distribution's version.
    pub system_version: String,
    /// Bytes of memory.
    pub memory: i64,
    /// Processors that this process may use.
    pub cpus: i64,
    /// Whether cgroup v2 is the only hierarchy.
    pub cgroup2: bool,
    limits: Limits,
}

/// Which resources can be limited.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    memory: bool,
    swap: bool,
    cpu_quota: bool,
    cpu_shares: bool,
    cpu_set: bool,
    pids: bool,
    oom_kill_disable: bool,
}

impl Machine {
    /// Looks at the host.
    pub fn look() -> Self {
        let uname = nix::sys::utsname::uname().ok();
        let part = |of: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            uname.as_ref().map(|u| of(u).to_string_lossy().into_owned()).unwrap_or_default()
        };
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let cgroup2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        Self {
            kernel: part(nix::sys::utsname::UtsName::release),
            name: part(nix::sys::utsname::UtsName::nodename),
            machine: part(nix::sys::utsname::UtsName::machine),
            system: release_value(&release, "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
            system_version: release_value(&release, "VERSION_ID").unwrap_or_default(),
            memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            cpus: std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
            cgroup2,
            limits: if cgroup2 { Limits::v2() } else { Limits::v1() },
        }
    }

    /// Go's name of the architecture.
    pub fn arch(&self) -> &str {
        match self.machine.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "armv7l" => "arm",
            "i686" => "386",
            other => other,
        }
    }

    /// Fills in what is known of the host, with the warnings that follow from it.
    pub fn describe(&self, info: &mut SystemInfo) {
        let limits = self.limits;
        info.kernel_version.clone_from(&self.kernel);
        info.name.clone_from(&self.name);
        info.architecture.clone_from(&self.machine);
        info.operating_system.clone_from(&self.system);
        info.os_version.clone_from(&self.system_version);
        info.os_type = "linux".to_owned();
        info.mem_total = self.memory;
        info.cpus = self.cpus;
        info.cgroup_driver = "cgroupfs".to_owned();
        info.cgroup_version = if self.cgroup2 { "2" } else { "1" }.to_owned();
        info.memory_limit = limits.memory;
        info.swap_limit = limits.swap;
        info.cpu_cfs_period = limits.cpu_quota;
        info.cpu_cfs_quota = limits.cpu_quota;
        info.cpu_shares = limits.cpu_shares;
        info.cpu_set = limits.cpu_set;
        info.pids_limit = limits.pids;
        info.oom_kill_disable = limits.oom_kill_disable;
        info.ipv4_forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|t| t.trim() == "1");
        info.open_files = entries("/proc/self/fd");
        info.tasks = entries("/proc/self/task");
        info.security_options = vec!["name=seccomp,profile=builtin".to_owned()];
        if Path::new("/proc/self/ns/cgroup").exists() {
            info.security_options.push("name=cgroupns".to_owned());
        }
        for (works, warning) in [
            (limits.memory, "WARNING: No memory limit support"),
            (limits.swap, "WARNING: No swap limit support"),
            (limits.cpu_quota, "WARNING: No cpu cfs quota support"),
            (limits.cpu_shares, "WARNING: No cpu shares support"),
            (limits.cpu_set, "WARNING: No cpuset support"),
            (limits.pids, "WARNING: No pids limit support"),
            (info.ipv4_forwarding, "WARNING: IPv4 forwarding is disabled"),
        ] {
            if !works {
                info.warnings.push(warning.to_owned());
            }
        }
    }
}

impl Limits {
    fn v1() -> Self {
        let has = |file: &str| Path::new("/sys/fs/cgroup").join(file).exists();
        Self {
            memory: has("memory/memory.limit_in_bytes"),
            swap: has("memory/memory.memsw.limit_in_bytes"),
            cpu_quota: has("cpu/cpu.cfs_quota_us"),
            cpu_shares: has("cpu/cpu.shares"),
            cpu_set: has("cpuset/cpuset.cpus"),
            pids: has("pids/cgroup.procs"),
            oom_kill_disable: has("memory/memory.oom_control"),
        }
    }

    fn v2() -> Self {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
        let (memory, cpu) = (has("memory"), has("cpu"));
        Self {
            memory,
            swap: memory && Path::new("/proc/swaps").exists(),
            cpu_quota: cpu,
            cpu_shares: cpu,
            cpu_set: has("cpuset"),
            pids: has("pids"),
            oom_kill_disable: false,
        }
    }
}

fn entries(dir: &str) -> i64 {
    fs::read_dir(dir).map_or(0, |d| i64::try_from(d.count()).unwrap_or(0))
}

fn release_value(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

fn memory(text: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().map_or(0, |kib: i64| kib * 1024)
}

/// The type of the file system that holds a directory.
pub fn file_system(path: &Path) -> &'static str {
    let Ok(stat) = nix::sys::statfs::statfs(path) else { return "unknown" };
    match stat.filesystem_type() {
        nix::sys::statfs::EXT4_SUPER_MAGIC => "extfs",
        nix::sys::statfs::XFS_SUPER_MAGIC => "xfs",
        nix::sys::statfs::BTRFS_SUPER_MAGIC => "btrfs",
        nix::sys::statfs::TMPFS_MAGIC => "tmpfs",
        nix::sys::statfs::OVERLAYFS_SUPER_MAGIC => "overlayfs",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_files() {
        let release = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\n";
        assert_eq!(release_value(release, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(release_value(release, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(release_value(release, "VERSION"), None);
        assert_eq!(memory("MemTotal:       24685312 kB\nMemFree: 1 kB\n"), 24_685_312 * 1024);
        assert_eq!(memory(""), 0);
    }
}
