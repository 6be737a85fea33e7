//! Limits as the runtime specification has them.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};
use sheave_api::containers::{Resources, ThrottleDevice};

use super::devices::DeviceInput;
use crate::spec::error::{Result, SpecError};

/// Microseconds of a CFS period when a number of CPUs is given.
const PERIOD: u64 = 100_000;

/// Turns limits into the runtime specification's; what was not asked for is not set. Also used to change the limits of a
/// running container.
///
/// # Errors
/// A block device whose number is not in `devices`.
pub fn linux_resources(limits: &Resources, devices: &DeviceInput) -> Result<LinuxResources> {
    let mut resources = LinuxResourcesBuilder::default().build()?;
    let positive = |value: i64| (value > 0).then_some(value);
    let mut memory = LinuxMemoryBuilder::default().build()?;
    memory
        .set_limit(positive(limits.memory))
        .set_reservation(positive(limits.memory_reservation))
        // Unlimited swap is written, because an update takes a limit back with it.
        .set_swap((limits.memory_swap > 0 || limits.memory_swap == -1).then_some(limits.memory_swap))
        .set_kernel_tcp(positive(limits.kernel_memory_tcp))
        .set_swappiness(limits.memory_swappiness.and_then(|value| u64::try_from(value).ok()))
        .set_disable_oom_killer(limits.oom_kill_disable);
    resources.set_memory(Some(memory));
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value != 0);
    let mut cpu = LinuxCpuBuilder::default().build()?;
    cpu.set_shares(unsigned(limits.cpu_shares));
    if limits.nano_cpus > 0 {
        let quota = limits.nano_cpus / (1_000_000_000 / i64::try_from(PERIOD).unwrap_or(1));
        cpu.set_period(Some(PERIOD)).set_quota(Some(quota));
    }
    if let Some(period) = unsigned(limits.cpu_period) {
        cpu.set_period(Some(period));
    }
    if limits.cpu_quota != 0 {
        cpu.set_quota(Some(limits.cpu_quota));
    }
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    cpu.set_cpus(given(&limits.cpuset_cpus)).set_mems(given(&limits.cpuset_mems));
    resources.set_cpu(Some(cpu));
    if let Some(limit) = limits.pids_limit {
        let limit = if limit <= 0 { -1 } else { limit };
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    resources.set_block_io(Some(block_io(limits, devices)?));
    Ok(resources)
}

fn block_io(limits: &Resources, devices: &DeviceInput) -> Result<LinuxBlockIo> {
    let mut block_io = LinuxBlockIoBuilder::default().build()?;
    block_io.set_weight((limits.blkio_weight > 0).then_some(limits.blkio_weight));
    let mut weights = Vec::new();
    for device in limits.blkio_weight_device.iter().flatten() {
        let (major, minor) = number(&device.path, devices)?;
        weights.push(LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(device.weight).build()?);
    }
    block_io.set_weight_device((!weights.is_empty()).then_some(weights));
    block_io.set_throttle_read_bps_device(rates(limits.blkio_device_read_bps.as_deref(), devices)?);
    block_io.set_throttle_write_bps_device(rates(limits.blkio_device_write_bps.as_deref(), devices)?);
    block_io.set_throttle_read_iops_device(rates(limits.blkio_device_read_iops.as_deref(), devices)?);
    block_io.set_throttle_write_iops_device(rates(limits.blkio_device_write_iops.as_deref(), devices)?);
    Ok(block_io)
}

fn rates(asked: Option<&[ThrottleDevice]>, devices: &DeviceInput) -> Result<Option<Vec<LinuxThrottleDevice>>> {
    let mut rates = Vec::new();
    for device in asked.unwrap_or_default() {
        let (major, minor) = number(&device.path, devices)?;
        rates.push(LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(device.rate).build()?);
    }
    Ok((!rates.is_empty()).then_some(rates))
}

fn number(path: &str, devices: &DeviceInput) -> Result<(i64, i64)> {
    devices
        .block
        .get(path)
        .copied()
        .ok_or_else(|| SpecError::Device { path: path.to_owned(), reason: "no such block device".to_owned() })
}
