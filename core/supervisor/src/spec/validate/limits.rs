//! Limits: their ranges, and what the host's cgroups cannot set.

use sheave_api::containers::Resources;

use crate::spec::error::{Result, SpecError};
use crate::spec::host::HostFacts;
use crate::spec::parse::cpu_list;

/// The least memory a container can be set up in.
const LEAST_MEMORY: i64 = 6 << 20;

/// Checks limits, also those of an update, and takes out what the host's cgroups cannot set, with a warning each.
///
/// # Errors
/// Docker's texts.
pub fn validate_limits(limits: &mut Resources, host: &HostFacts, update: bool) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    memory(limits, host, update, &mut warnings)?;
    out_of_memory(limits, host, &mut warnings);
    if limits.pids_limit.is_some() && !host.limits.pids {
        if limits.pids_limit > Some(0) {
            warnings.push(not_supported("PIDs limit capabilities", "PIDs limit discarded."));
        }
        limits.pids_limit = None;
    }
    cpu(limits, host, &mut warnings)?;
    cpuset(limits, host, &mut warnings)?;
    block_io(limits, host, &mut warnings)?;
    Ok(warnings)
}

fn not_supported(what: &str, then: &str) -> String {
    format!("Your kernel does not support {what} or the cgroup is not mounted. {then}")
}

fn refuse<T>(field: &'static str, text: impl Into<String>) -> Result<T> {
    Err(SpecError::refused(field, text))
}

fn memory(limits: &mut Resources, host: &HostFacts, update: bool, warnings: &mut Vec<String>) -> Result<()> {
    // How clients say "not given".
    if limits.memory_swappiness == Some(-1) {
        limits.memory_swappiness = None;
    }
    if limits.memory != 0 && limits.memory < LEAST_MEMORY {
        return refuse("HostConfig.Memory", "Minimum memory limit allowed is 6MB");
    }
    if limits.memory > 0 && !host.limits.memory {
        warnings.push(not_supported("memory limit capabilities", "Limitation discarded."));
        limits.memory = 0;
        limits.memory_swap = -1;
    }
    if limits.memory > 0 && limits.memory_swap != -1 && !host.limits.swap {
        warnings.push(not_supported("swap limit capabilities", "Memory limited without swap."));
        limits.memory_swap = -1;
    }
    if limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        return refuse(
            "HostConfig.MemorySwap",
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        );
    }
    if limits.memory == 0 && limits.memory_swap > 0 && !update {
        return refuse(
            "HostConfig.MemorySwap",
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if limits.memory_swap < -1 {
        return refuse("HostConfig.MemorySwap", format!("Invalid value {} for memory swap", limits.memory_swap));
    }
    if limits.memory_swappiness.is_some() && !host.limits.swappiness {
        warnings.push(not_supported("memory swappiness capabilities", "Memory swappiness discarded."));
        limits.memory_swappiness = None;
    }
    if let Some(swappiness) = limits.memory_swappiness.filter(|s| !(0..=100).contains(s)) {
        let text = format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100");
        return refuse("HostConfig.MemorySwappiness", text);
    }
    reservation(limits, host, warnings)
}

fn reservation(limits: &mut Resources, host: &HostFacts, warnings: &mut Vec<String>) -> Result<()> {
    if limits.memory_reservation > 0 && !host.limits.memory {
        warnings.push(not_supported("memory soft limit capabilities", "Limitation discarded."));
        limits.memory_reservation = 0;
    }
    if limits.memory_reservation != 0 && limits.memory_reservation < LEAST_MEMORY {
        return refuse("HostConfig.MemoryReservation", "Minimum memory reservation allowed is 6MB");
    }
    if limits.memory > 0 && limits.memory_reservation > limits.memory {
        return refuse(
            "HostConfig.MemoryReservation",
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    // The kernel has no such limit since 5.16, and this engine needs a newer one.
    if limits.kernel_memory != 0 {
        warnings.push(not_supported("kernel memory limit capabilities", "Limitation discarded."));
        limits.kernel_memory = 0;
    }
    if limits.kernel_memory_tcp != 0 && (host.limits.unified || !host.limits.memory) {
        warnings.push(not_supported("kernel memory TCP limit capabilities", "Limitation discarded."));
        limits.kernel_memory_tcp = 0;
    }
    Ok(())
}

fn out_of_memory(limits: &mut Resources, host: &HostFacts, warnings: &mut Vec<String>) {
    if limits.oom_kill_disable.is_some() && !host.limits.oom_kill_disable {
        if limits.oom_kill_disable == Some(true) {
            warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
        }
        limits.oom_kill_disable = None;
    }
    if limits.oom_kill_disable == Some(true) && limits.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
             running out of resources."
                .to_owned(),
        );
    }
}

fn cpu(limits: &mut Resources, host: &HostFacts, warnings: &mut Vec<String>) -> Result<()> {
    if limits.nano_cpus > 0 && limits.cpu_period > 0 {
        return refuse("HostConfig.NanoCpus", "Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if limits.nano_cpus > 0 && limits.cpu_quota > 0 {
        return refuse("HostConfig.NanoCpus", "Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if limits.nano_cpus > 0 && !host.limits.cpu {
        let text = "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not \
                    mounted";
        return refuse("HostConfig.NanoCpus", text);
    }
    let count = host.cpu_count();
    let most = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if limits.nano_cpus < 0 || limits.nano_cpus > most {
        let text = format!("Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available");
        return refuse("HostConfig.NanoCpus", text);
    }
    if limits.cpu_shares < 0 {
        return refuse("HostConfig.CpuShares", "shares: invalid argument");
    }
    if limits.cpu_shares > 0 && !host.limits.cpu {
        warnings.push(not_supported("CPU shares", "Shares discarded."));
        limits.cpu_shares = 0;
    }
    if (limits.cpu_period != 0 || limits.cpu_quota != 0) && !host.limits.cpu {
        warnings.push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.".to_owned());
        limits.cpu_period = 0;
        limits.cpu_quota = 0;
    }
    if limits.cpu_period != 0 && !(1000..=1_000_000).contains(&limits.cpu_period) {
        let text = "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)";
        return refuse("HostConfig.CpuPeriod", text);
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1000 {
        return refuse("HostConfig.CpuQuota", "CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if limits.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".to_owned());
        limits.cpu_percent = 0;
    }
    if limits.cpu_count != 0 {
        warnings.push("linux does not support CPU count. Count discarded.".to_owned());
        limits.cpu_count = 0;
    }
    Ok(())
}

fn cpuset(limits: &mut Resources, host: &HostFacts, warnings: &mut Vec<String>) -> Result<()> {
    if (!limits.cpuset_cpus.is_empty() || !limits.cpuset_mems.is_empty()) && !host.limits.cpuset {
        warnings.push(not_supported("cpuset", "Cpuset discarded."));
        limits.cpuset_cpus.clear();
        limits.cpuset_mems.clear();
    }
    for (field, what, kind, asked, there) in [
        ("HostConfig.CpusetCpus", "CPUs", "cpus", &limits.cpuset_cpus, &host.cpus),
        ("HostConfig.CpusetMems", "memory nodes", "mems", &limits.cpuset_mems, &host.mems),
    ] {
        let list = cpu_list(asked)
            .map_err(|error| SpecError::refused(field, format!("Invalid value {asked} for cpuset {kind}: {error}")))?;
        if !list.is_subset(&cpu_list(there).unwrap_or_default()) {
            return refuse(
                field,
                format!("Requested {what} are not available - requested {asked}, available: {there}"),
            );
        }
    }
    Ok(())
}

fn block_io(limits: &mut Resources, host: &HostFacts, warnings: &mut Vec<String>) -> Result<()> {
    if limits.blkio_weight > 0 && !host.limits.blkio_weight {
        warnings.push(not_supported("Block I/O weight", "Weight discarded."));
        limits.blkio_weight = 0;
    }
    let weights = limits.blkio_weight_device.iter().flatten().map(|device| device.weight);
    if weights.chain([limits.blkio_weight]).any(|weight| weight > 0 && !(10..=1000).contains(&weight)) {
        return refuse("HostConfig.BlkioWeight", "Range of blkio weight is from 10 to 1000");
    }
    let qos = |what: &str| format!("invalid QoS settings: linux does not support configuration of maximum {what}");
    if limits.io_maximum_bandwidth != 0 {
        return refuse("HostConfig.IOMaximumBandwidth", qos("bandwidth"));
    }
    if limits.io_maximum_iops != 0 {
        return refuse("HostConfig.IOMaximumIOps", qos("IOPs"));
    }
    if limits.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) && !host.limits.blkio_weight {
        warnings.push(not_supported("Block I/O weight_device", "Weight-device discarded."));
        limits.blkio_weight_device = Some(Vec::new());
    }
    let rates = host.limits.blkio_rates;
    for (list, what, then) in [
        (&mut limits.blkio_device_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit discarded."),
        (&mut limits.blkio_device_write_bps, "BPS Block I/O write limit", "Block I/O BPS write limit discarded."),
        (&mut limits.blkio_device_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit discarded."),
        (&mut limits.blkio_device_write_iops, "IOPS Block write limit", "Block I/O IOPS write limit discarded."),
    ] {
        if list.as_ref().is_some_and(|list| !list.is_empty()) && !rates {
            warnings.push(not_supported(what, then));
            *list = Some(Vec::new());
        }
    }
    Ok(())
}
