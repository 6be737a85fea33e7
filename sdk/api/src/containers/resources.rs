//! Limits: what a container may use of its host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::is_zero;
use super::decode::null_default;

/// Limits and devices; a part of `HostConfig`, and the body of an update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Resources {
    /// Relative weight against other containers; 0 is the default of 1024.
    #[serde(deserialize_with = "null_default")]
    pub cpu_shares: i64,
    /// Memory limit in bytes; 0 is none.
    #[serde(deserialize_with = "null_default")]
    pub memory: i64,
    /// CPU quota in billionths of a CPU.
    #[serde(deserialize_with = "null_default")]
    pub nano_cpus: i64,
    /// The cgroup the container's own is made in.
    #[serde(deserialize_with = "null_default")]
    pub cgroup_parent: String,
    /// Block I/O weight, 10 to 1000; 0 is the default.
    #[serde(deserialize_with = "null_default")]
    pub blkio_weight: u16,
    /// Block I/O weight by device.
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    /// Bytes read a second by device.
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    /// Bytes written a second by device.
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    /// Reads a second by device.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    /// Writes a second by device.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// Length of a CFS period in microseconds.
    #[serde(deserialize_with = "null_default")]
    pub cpu_period: i64,
    /// Microseconds of CPU a period.
    #[serde(deserialize_with = "null_default")]
    pub cpu_quota: i64,
    /// Length of a real-time period in microseconds.
    #[serde(deserialize_with = "null_default")]
    pub cpu_realtime_period: i64,
    /// Real-time microseconds a period.
    #[serde(deserialize_with = "null_default")]
    pub cpu_realtime_runtime: i64,
    /// CPUs it may run on: `0-2`, `0,1`.
    #[serde(deserialize_with = "null_default")]
    pub cpuset_cpus: String,
    /// Memory nodes it may use.
    #[serde(deserialize_with = "null_default")]
    pub cpuset_mems: String,
    /// Host devices to show.
    pub devices: Option<Vec<DeviceMapping>>,
    /// Rules of the device cgroup: `c 1:3 rwm`.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Devices asked for from a device driver (GPUs).
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Kernel memory limit in bytes; no kernel offers it any more.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub kernel_memory: i64,
    /// Limit of the kernel's TCP buffers in bytes (cgroup v1).
    #[serde(rename = "KernelMemoryTCP", deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub kernel_memory_tcp: i64,
    /// Soft memory limit in bytes.
    #[serde(deserialize_with = "null_default")]
    pub memory_reservation: i64,
    /// Memory and swap together in bytes; -1 is unlimited, 0 is twice the memory.
    #[serde(deserialize_with = "null_default")]
    pub memory_swap: i64,
    /// 0 to 100; `None` or -1 is the host's.
    pub memory_swappiness: Option<i64>,
    /// Whether the OOM killer leaves it alone (cgroup v1).
    pub oom_kill_disable: Option<bool>,
    /// Processes at most; 0 and -1 are unlimited.
    pub pids_limit: Option<i64>,
    /// Resource limits of its processes.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Windows only.
    #[serde(deserialize_with = "null_default")]
    pub cpu_count: i64,
    /// Windows only.
    #[serde(deserialize_with = "null_default")]
    pub cpu_percent: i64,
    /// Windows only.
    #[serde(rename = "IOMaximumIOps", deserialize_with = "null_default")]
    pub io_maximum_iops: u64,
    /// Windows only.
    #[serde(rename = "IOMaximumBandwidth", deserialize_with = "null_default")]
    pub io_maximum_bandwidth: u64,
}

/// A block device and its weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WeightDevice {
    /// Path of the device on the host.
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    /// 10 to 1000.
    #[serde(deserialize_with = "null_default")]
    pub weight: u16,
}

/// A block device and its rate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ThrottleDevice {
    /// Path of the device on the host.
    #[serde(deserialize_with = "null_default")]
    pub path: String,
    /// Bytes or operations a second.
    #[serde(deserialize_with = "null_default")]
    pub rate: u64,
}

/// A device of the host in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceMapping {
    /// Its path on the host; a directory stands for every device below it.
    #[serde(deserialize_with = "null_default")]
    pub path_on_host: String,
    /// Its path in the container.
    #[serde(deserialize_with = "null_default")]
    pub path_in_container: String,
    /// A combination of `r`, `w` and `m`.
    #[serde(deserialize_with = "null_default")]
    pub cgroup_permissions: String,
}

/// Devices asked for from a device driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceRequest {
    /// Name of the device driver.
    #[serde(deserialize_with = "null_default")]
    pub driver: String,
    /// How many; -1 is all.
    #[serde(deserialize_with = "null_default")]
    pub count: i64,
    /// Which, as the driver names them.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Option<Vec<String>>,
    /// An OR list of AND lists of capabilities.
    pub capabilities: Option<Vec<Vec<String>>>,
    /// Options for the driver.
    pub options: Option<BTreeMap<String, String>>,
}

/// A resource limit of processes, `setrlimit(2)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ulimit {
    /// Its name in lower case, without `RLIMIT_`.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Hard limit; -1 is unlimited.
    #[serde(deserialize_with = "null_default")]
    pub hard: i64,
    /// Soft limit; -1 is unlimited.
    #[serde(deserialize_with = "null_default")]
    pub soft: i64,
}
