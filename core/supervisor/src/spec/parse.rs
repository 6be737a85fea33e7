//! Readers of the small languages in requests: mounts, ports, log options, sizes, lists of CPUs.

mod log;
mod mounts;
mod ports;
mod values;

pub use log::{JsonFileOptions, LogDriver, log_driver};
pub(super) use mounts::clean as clean_path;
pub use mounts::{MountRequest, Propagation, VolumesFrom, requested_mounts, volumes_from};
pub use ports::{HostPorts, Port, Protocol, exposed_ports, host_ports, port};
pub use values::{cpu_list, duration, env_key, restart_policy, size};
