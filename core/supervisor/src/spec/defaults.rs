//! What a container has when its request says nothing.

use sheave_api::containers::{ContainerConfig, HostConfig};
use sheave_types::Id;

use super::host::HostFacts;

/// Size of `/dev/shm`.
const SHM_SIZE: i64 = 64 << 20;

/// Paths that tell of the host or could harm it.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that are read, and not written.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Fills in the defaults, as inspect shows them afterwards.
///
/// `host_name` is the host's own name, which a container in the host's network or UTS namespace has.
pub fn apply_defaults(
    id: &Id,
    config: &mut ContainerConfig,
    host_config: &mut HostConfig,
    host: &HostFacts,
    host_name: &str,
) {
    let shares_names = host_config.network_mode == "host" || host_config.uts_mode == "host";
    if config.hostname.is_empty() && !host_config.network_mode.starts_with("container:") {
        config.hostname = if shares_names { host_name.to_owned() } else { id.short() };
    }
    config.labels.get_or_insert_default();
    config.env.get_or_insert_default();
    let set = |field: &mut String, value: &str| {
        if field.is_empty() {
            value.clone_into(field);
        }
    };
    set(&mut host_config.network_mode, "default");
    set(&mut host_config.log_config.kind, "json-file");
    set(&mut host_config.restart_policy.name, "no");
    set(&mut host_config.ipc_mode, "private");
    let private = host.limits.unified;
    set(&mut host_config.cgroupns_mode, if private { "private" } else { "host" });
    if let Some(runtime) = host.programs.runtimes.first() {
        set(&mut host_config.runtime, runtime);
    }
    if host_config.shm_size == 0 {
        host_config.shm_size = SHM_SIZE;
    }
    let limits = &mut host_config.resources;
    if limits.memory > 0 && limits.memory_swap == 0 {
        limits.memory_swap = limits.memory.saturating_mul(2);
    }
    if host.limits.oom_kill_disable {
        limits.oom_kill_disable.get_or_insert(false);
    }
    // As Docker: who sees the host's processes or devices is not held apart from them by labels.
    if host_config.privileged || host_config.ipc_mode == "host" || host_config.pid_mode == "host" {
        host_config.security_opt.get_or_insert_default().push("label=disable".to_owned());
    }
    if host_config.privileged {
        host_config.masked_paths = None;
        host_config.readonly_paths = None;
    } else {
        host_config.masked_paths.get_or_insert_with(|| {
            MASKED.iter().map(|path| (*path).to_owned()).chain(host.thermal_paths.iter().cloned()).collect()
        });
        host_config.readonly_paths.get_or_insert_with(|| READ_ONLY.iter().map(|path| (*path).to_owned()).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in_and_wishes_kept() {
        let (mut config, mut host_config) = (ContainerConfig::default(), HostConfig::default());
        let id = Id::random();
        host_config.resources.memory = 10 << 20;
        host_config.readonly_paths = Some(vec![]);
        apply_defaults(&id, &mut config, &mut host_config, &HostFacts::example(), "host");
        assert_eq!(config.hostname, id.short());
        assert_eq!(host_config.resources.memory_swap, 20 << 20);
        assert_eq!((host_config.ipc_mode.as_str(), host_config.cgroupns_mode.as_str()), ("private", "host"));
        assert_eq!(host_config.masked_paths.as_ref().map(Vec::len), Some(12));
        assert_eq!(host_config.readonly_paths, Some(vec![]));
        assert_eq!((host_config.shm_size, host_config.runtime.as_str()), (64 << 20, "runc"));
    }

    #[test]
    fn the_hosts_name_goes_with_its_network() {
        let mut config = ContainerConfig::default();
        let mut host_config = HostConfig { network_mode: "host".to_owned(), privileged: true, ..Default::default() };
        apply_defaults(&Id::random(), &mut config, &mut host_config, &HostFacts::example(), "host");
        assert_eq!(config.hostname, "host");
        assert_eq!(host_config.masked_paths, None);
        assert_eq!(host_config.security_opt, Some(vec!["label=disable".to_owned()]));
    }
}
