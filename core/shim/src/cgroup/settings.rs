//! Which files a container's limits go to. Pure.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups>

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};
use sheave_shim::protocol::Stage;

use crate::failure::{Step, failure};

/// A value for the first of `files` that exists in a controller's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller.
    pub controller: &'static str,
    /// Names of the file, newer kernels' first.
    pub files: Vec<String>,
    /// What to write.
    pub value: String,
}

impl Setting {
    fn new(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Self {
        Self { controller, files: vec![file.into()], value: value.to_string() }
    }

    /// Whether the two depend on each other in the order of writing.
    pub fn swaps_with(&self, before: &Self) -> bool {
        before.files[0] == "memory.limit_in_bytes" && self.files[0] == "memory.memsw.limit_in_bytes"
    }
}

fn max(limit: i64) -> String {
    if limit < 0 { "max".into() } else { limit.to_string() }
}

/// The settings on version 1, in the order to write them.
pub fn version_1(resources: &LinuxResources) -> Vec<Setting> {
    let mut list = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_1(memory, &mut list);
    }
    if let Some(cpu) = resources.cpu() {
        cpu_1(cpu, &mut list);
        cpuset(cpu, &mut list);
    }
    if let Some(pids) = resources.pids() {
        let limit = pids.limit();
        list.push(Setting::new("pids", "pids.max", if limit > 0 { limit.to_string() } else { "max".into() }));
    }
    if let Some(block_io) = resources.block_io() {
        block_io_1(block_io, &mut list);
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", page.page_size());
        list.push(Setting::new("hugetlb", file, page.limit()));
    }
    list
}

fn memory_1(memory: &LinuxMemory, list: &mut Vec<Setting>) {
    // Without a limit, swap has none either.
    let swap = memory.swap().or(memory.limit().filter(|limit| *limit == -1));
    for (file, value) in [
        ("memory.limit_in_bytes", memory.limit()),
        ("memory.memsw.limit_in_bytes", swap),
        ("memory.soft_limit_in_bytes", memory.reservation()),
        ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp()),
    ] {
        if let Some(value) = value.filter(|value| *value != 0) {
            list.push(Setting::new("memory", file, value));
        }
    }
    if let Some(swappiness) = memory.swappiness() {
        list.push(Setting::new("memory", "memory.swappiness", swappiness));
    }
    if memory.disable_oom_killer().unwrap_or(false) {
        list.push(Setting::new("memory", "memory.oom_control", 1));
    }
}

fn cpu_1(cpu: &LinuxCpu, list: &mut Vec<Setting>) {
    let mut add = |file: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| value != "0") {
            list.push(Setting::new("cpu", file, value));
        }
    };
    add("cpu.shares", cpu.shares().map(|v| v.to_string()));
    add("cpu.rt_period_us", cpu.realtime_period().map(|v| v.to_string()));
    add("cpu.rt_runtime_us", cpu.realtime_runtime().map(|v| v.to_string()));
    add("cpu.cfs_period_us", cpu.period().map(|v| v.to_string()));
    add("cpu.cfs_quota_us", cpu.quota().map(|v| v.to_string()));
    add("cpu.cfs_burst_us", cpu.burst().map(|v| v.to_string()));
    add("cpu.idle", cpu.idle().map(|v| v.to_string()));
}

fn cpuset(cpu: &LinuxCpu, list: &mut Vec<Setting>) {
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            list.push(Setting::new("cpuset", file, value));
        }
    }
}

fn block_io_1(block_io: &LinuxBlockIo, list: &mut Vec<Setting>) {
    let weight = |file: &str, bfq: &str, value: String| Setting {
        controller: "blkio",
        files: vec![file.into(), bfq.into()],
        value,
    };
    if let Some(value) = block_io.weight().filter(|value| *value != 0) {
        list.push(weight("blkio.weight", "blkio.bfq.weight", value.to_string()));
    }
    if let Some(value) = block_io.leaf_weight().filter(|value| *value != 0) {
        list.push(weight("blkio.leaf_weight", "blkio.bfq.leaf_weight", value.to_string()));
    }
    for device in block_io.weight_device().iter().flatten() {
        let value = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(number) = device.weight() {
            list.push(weight("blkio.weight_device", "blkio.bfq.weight_device", value(number)));
        }
        if let Some(number) = device.leaf_weight() {
            list.push(weight("blkio.leaf_weight_device", "blkio.bfq.leaf_weight_device", value(number)));
        }
    }
    for (file, devices, _) in throttles(block_io) {
        for device in devices {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            list.push(Setting::new("blkio", format!("blkio.throttle.{file}_device"), value));
        }
    }
}

fn throttles(block_io: &LinuxBlockIo) -> [(&'static str, &[LinuxThrottleDevice], &'static str); 4] {
    [
        ("read_bps", block_io.throttle_read_bps_device().as_deref().unwrap_or_default(), "rbps"),
        ("write_bps", block_io.throttle_write_bps_device().as_deref().unwrap_or_default(), "wbps"),
        ("read_iops", block_io.throttle_read_iops_device().as_deref().unwrap_or_default(), "riops"),
        ("write_iops", block_io.throttle_write_iops_device().as_deref().unwrap_or_default(), "wiops"),
    ]
}

/// The settings on version 2, in the order to write them.
pub fn version_2(resources: &LinuxResources) -> Step<Vec<Setting>> {
    let mut list = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_2(memory, &mut list)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_2(cpu, &mut list)?;
        cpuset(cpu, &mut list);
    }
    if let Some(pids) = resources.pids() {
        let limit = pids.limit();
        list.push(Setting::new("pids", "pids.max", if limit > 0 { limit.to_string() } else { "max".into() }));
    }
    if let Some(block_io) = resources.block_io() {
        block_io_2(block_io, &mut list);
    }
    for page in resources.hugepage_limits().iter().flatten() {
        list.push(Setting::new("hugetlb", format!("hugetlb.{}.max", page.page_size()), page.limit()));
    }
    list.extend(unified(resources)?);
    Ok(list)
}

fn memory_2(memory: &LinuxMemory, list: &mut Vec<Setting>) -> Step<()> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        list.push(Setting::new("memory", "memory.max", max(limit)));
    }
    let swap = memory.swap().filter(|swap| *swap != 0).or(limit.filter(|limit| *limit == -1));
    if let Some(swap) = swap {
        // The specification counts memory and swap together, the kernel swap alone.
        let alone = match limit {
            _ if swap < 0 => -1,
            Some(limit) if limit >= 0 && swap >= limit => swap - limit,
            _ => return Err(failure(Stage::Cgroup, "a swap limit needs a memory limit that is not larger")),
        };
        list.push(Setting::new("memory", "memory.swap.max", max(alone)));
    }
    if let Some(low) = memory.reservation().filter(|low| *low != 0) {
        list.push(Setting::new("memory", "memory.low", max(low)));
    }
    Ok(())
}

fn cpu_2(cpu: &LinuxCpu, list: &mut Vec<Setting>) -> Step<()> {
    if cpu.realtime_period().is_some_and(|v| v != 0) || cpu.realtime_runtime().is_some_and(|v| v != 0) {
        return Err(failure(Stage::Cgroup, "cgroup version 2 has no realtime limits"));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        list.push(Setting::new("cpu", "cpu.weight", weight_of_shares(shares)));
    }
    let (quota, period) = (cpu.quota().filter(|v| *v != 0), cpu.period().filter(|v| *v != 0));
    if quota.is_some() || period.is_some() {
        let value = format!("{} {}", max(quota.unwrap_or(-1)), period.unwrap_or(100_000));
        list.push(Setting::new("cpu", "cpu.max", value));
    }
    if let Some(burst) = cpu.burst() {
        list.push(Setting::new("cpu", "cpu.max.burst", burst));
    }
    if let Some(idle) = cpu.idle() {
        list.push(Setting::new("cpu", "cpu.idle", idle));
    }
    Ok(())
}

/// Version 1's 2 to 262144 as version 2's 1 to 10000, so that the default 1024 is the default 100.
///
/// Source: <https://github.com/opencontainers/cgroups/blob/main/utils.go>, `ConvertCPUSharesToCgroupV2Value`
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

fn block_io_2(block_io: &LinuxBlockIo, list: &mut Vec<Setting>) {
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        let scaled = 1 + (u64::from(weight).saturating_sub(10)) * 9_999 / 990;
        list.push(Setting::new("io", "io.weight", format!("default {scaled}")));
    }
    for (_, devices, key) in throttles(block_io) {
        for device in devices {
            let value = format!("{}:{} {key}={}", device.major(), device.minor(), device.rate());
            list.push(Setting::new("io", "io.max", value));
        }
    }
}

/// Files of version 2 that the specification names itself.
pub fn unified(resources: &LinuxResources) -> Step<Vec<Setting>> {
    let entries = resources.unified().iter().flatten();
    entries
        .map(|(file, value)| {
            if file.contains('/') || !file.contains('.') || file.starts_with('.') {
                return Err(failure(Stage::Cgroup, format!("{file:?} is no cgroup file")));
            }
            Ok(Setting::new("unified", file.as_str(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(list: &[Setting]) -> Vec<String> {
        list.iter().map(|setting| format!("{} {}", setting.files[0], setting.value)).collect()
    }

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn limits_by_version() {
        let all = resources(
            r#"{"memory":{"limit":100,"swap":300,"reservation":50,"swappiness":7},
                "cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1"},
                "pids":{"limit":-1},
                "blockIO":{"weight":500,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}]}}"#,
        );
        let expected = [
            "memory.limit_in_bytes 100",
            "memory.memsw.limit_in_bytes 300",
            "memory.soft_limit_in_bytes 50",
            "memory.swappiness 7",
            "cpu.shares 1024",
            "cpu.cfs_period_us 100000",
            "cpu.cfs_quota_us 50000",
            "cpuset.cpus 0-1",
            "pids.max max",
            "blkio.weight 500",
            "blkio.throttle.read_bps_device 8:0 1000",
        ];
        assert_eq!(lines(&version_1(&all)), expected);
        let expected = [
            "memory.max 100",
            "memory.swap.max 200",
            "memory.low 50",
            "cpu.weight 100",
            "cpu.max 50000 100000",
            "cpuset.cpus 0-1",
            "pids.max max",
            "io.weight default 4950",
            "io.max 8:0 rbps=1000",
        ];
        assert_eq!(lines(&version_2(&all).expect("version 2")), expected);
    }

    #[test]
    fn unlimited_memory_is_unlimited_swap() {
        let memory = resources(r#"{"memory":{"limit":-1}}"#);
        assert_eq!(lines(&version_1(&memory)), ["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes -1"]);
        assert_eq!(lines(&version_2(&memory).expect("ok")), ["memory.max max", "memory.swap.max max"]);
    }

    #[test]
    fn weights() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (1 << 40, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn refuses() {
        for bad in [
            r#"{"unified":{"../x.y":"1"}}"#,
            r#"{"unified":{"cgroup":"1"}}"#,
            r#"{"memory":{"swap":100}}"#,
            r#"{"cpu":{"realtimePeriod":100}}"#,
        ] {
            assert!(version_2(&resources(bad)).is_err(), "{bad}");
        }
    }
}
