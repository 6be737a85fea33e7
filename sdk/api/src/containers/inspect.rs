//! `GET /containers/{id}/json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::ContainerConfig;
use super::endpoints::NetworkSettings;
use super::host_config::HostConfig;
use super::mounts::MountPoint;

/// Everything about a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerInspectResponse {
    /// Its id.
    pub id: String,
    /// When it was made, RFC 3339 with nanoseconds.
    pub created: String,
    /// The program that runs.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it is doing.
    pub state: ContainerState,
    /// Id of its image.
    pub image: String,
    /// Host path of its `resolv.conf`; empty before the first start.
    pub resolv_conf_path: String,
    /// Host path of its `hostname`.
    pub hostname_path: String,
    /// Host path of its `hosts`.
    pub hosts_path: String,
    /// Host path of its log.
    pub log_path: String,
    /// Its name with a leading `/`.
    pub name: String,
    /// How often its restart policy started it since it was started by hand.
    pub restart_count: i64,
    /// Its storage driver.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// `SELinux` label of its mounts.
    pub mount_label: String,
    /// `SELinux` label of its processes.
    pub process_label: String,
    /// Its `AppArmor` profile.
    pub app_armor_profile: String,
    /// Ids of its execs; `null` when there are none.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// Its host configuration with the defaults filled in.
    pub host_config: HostConfig,
    /// What its storage driver tells of it.
    pub graph_driver: DriverData,
    /// Bytes of its writable layer, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of all its layers, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// Its configuration, merged with its image's.
    pub config: ContainerConfig,
    /// Its networks.
    pub network_settings: NetworkSettings,
    /// Descriptor of the manifest of its image's platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<serde_json::Value>,
}

/// What a container is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    pub status: String,
    /// Its process is there, also while it is paused or waits for a restart.
    pub running: bool,
    /// Its processes are frozen.
    pub paused: bool,
    /// It waits for its restart policy to start it.
    pub restarting: bool,
    /// The kernel killed it for want of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Its removal failed.
    pub dead: bool,
    /// Its first process on the host; 0 when it does not run.
    pub pid: i64,
    /// Code of its last end.
    pub exit_code: i64,
    /// Why it could not be started.
    pub error: String,
    /// RFC 3339 with nanoseconds; `0001-01-01T00:00:00Z` for never.
    pub started_at: String,
    /// The same for its last end.
    pub finished_at: String,
    /// What its health check found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What a health check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: i64,
    /// The last five checks, the oldest first.
    pub log: Vec<HealthcheckResult>,
}

/// One health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthcheckResult {
    /// RFC 3339 with nanoseconds.
    pub start: String,
    /// RFC 3339 with nanoseconds.
    pub end: String,
    /// Code of the probe; -1 when it took too long.
    pub exit_code: i64,
    /// The first 4096 bytes it wrote.
    pub output: String,
}

/// What a storage driver tells of a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DriverData {
    /// Paths and other facts; `null` when the driver has none.
    pub data: Option<BTreeMap<String, String>>,
    /// Name of the driver.
    pub name: String,
}
