//! Containers and exec: what clients send and what they are answered, at API 1.51.
//!
//! Requests are read as Docker reads them: a missing field and a `null` mean the same, `Cmd` and `Entrypoint` are a
//! string or a list, unknown fields are ignored. Responses carry every field Docker sends, with its nulls and empty
//! lists, because clients index them without looking. Older versions are shaped from these by `version`.
//!
//! Field names and meanings follow the [Docker Engine API](https://docs.docker.com/reference/api/engine/version/v1.51/).

mod config;
mod create;
mod decode;
mod endpoints;
mod exec;
mod host_config;
mod inspect;
mod mounts;
mod operations;
mod queries;
mod resources;
mod stats;
mod summary;

pub use config::{ContainerConfig, HealthConfig};
pub use create::{ContainerCreateRequest, ContainerCreateResponse, NetworkingConfig};
pub use decode::{Empty, null_default, string_or_list};
pub use endpoints::{EndpointIpamConfig, EndpointSettings, NetworkAddress, NetworkSettings};
pub use exec::{ExecCreateRequest, ExecCreateResponse, ExecInspectResponse, ExecProcessConfig, ExecStartRequest};
pub use host_config::{HostConfig, LogConfig, PortBinding, PortMap, PortSet, RestartPolicy};
pub use inspect::{ContainerInspectResponse, ContainerState, DriverData, Health, HealthcheckResult};
pub use mounts::{BindOptions, ImageOptions, Mount, MountPoint, TmpfsOptions, VolumeDriverConfig, VolumeOptions};
pub use operations::{
    ContainerPruneResponse, ContainerTopResponse, ContainerUpdateRequest, ContainerUpdateResponse,
    ContainerWaitResponse, FilesystemChange, PathStat, WaitError,
};
pub use queries::{
    ContainerAttachQuery, ContainerCreateQuery, ContainerInspectQuery, ContainerKillQuery, ContainerListQuery,
    ContainerLogsQuery, ContainerPruneQuery, ContainerRemoveQuery, ContainerRenameQuery, ContainerStopQuery,
    ContainerTopQuery, ContainerWaitQuery, ResizeQuery,
};
pub use resources::{DeviceMapping, DeviceRequest, Resources, ThrottleDevice, Ulimit, WeightDevice};
pub use stats::{
    BlkioStatEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, StorageStats,
    ThrottlingData,
};
pub use summary::{ContainerSummary, PortSummary, SummaryHostConfig, SummaryNetworkSettings};

#[cfg(test)]
mod tests;
