//! What of a container depends on its host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decode::{Empty, null_default};
use super::mounts::Mount;
use super::resources::Resources;

/// A set of ports, `{"80/tcp": {}}`.
pub type PortSet = BTreeMap<String, Empty>;

/// Where ports are published, `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`; `null` is one binding of any port.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

/// The configuration of a container that depends on its host: isolation, limits, mounts, network.
///
/// `None` in a list or map is Go's `nil`, sent as `null`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// `[source:]destination[:options]`.
    pub binds: Option<Vec<String>>,
    /// Written by clients alone; stored.
    #[serde(rename = "ContainerIDFile", deserialize_with = "null_default")]
    pub container_id_file: String,
    /// Log driver and its options.
    #[serde(deserialize_with = "null_default")]
    pub log_config: LogConfig,
    /// `default`, `none`, `host`, `container:<id>` or a network.
    #[serde(deserialize_with = "null_default")]
    pub network_mode: String,
    /// Published ports.
    #[serde(deserialize_with = "null_default")]
    pub port_bindings: PortMap,
    /// When it is started again after its end.
    #[serde(deserialize_with = "null_default")]
    pub restart_policy: RestartPolicy,
    /// It is removed at its end, with its anonymous volumes.
    #[serde(deserialize_with = "null_default")]
    pub auto_remove: bool,
    /// Driver of the volumes that `binds` name.
    #[serde(deserialize_with = "null_default")]
    pub volume_driver: String,
    /// `container[:ro|rw]`, whose mounts are taken over.
    pub volumes_from: Option<Vec<String>>,
    /// Rows and columns of the terminal at the start.
    #[serde(deserialize_with = "null_default")]
    pub console_size: [u32; 2],
    /// Annotations of the runtime specification.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Capabilities beside the default ones.
    pub cap_add: Option<Vec<String>>,
    /// Capabilities taken from the default ones.
    pub cap_drop: Option<Vec<String>>,
    /// `private` or `host`.
    #[serde(deserialize_with = "null_default")]
    pub cgroupns_mode: String,
    /// DNS servers.
    pub dns: Option<Vec<String>>,
    /// Options of `resolv.conf`.
    pub dns_options: Option<Vec<String>>,
    /// Search domains; `.` alone is none.
    pub dns_search: Option<Vec<String>>,
    /// `name:address` lines of `/etc/hosts`.
    pub extra_hosts: Option<Vec<String>>,
    /// Further groups of the container's user.
    pub group_add: Option<Vec<String>>,
    /// `none`, `private`, `shareable`, `host`, `container:<id>`.
    #[serde(deserialize_with = "null_default")]
    pub ipc_mode: String,
    /// A cgroup to share; not used by any engine since Docker 1.13.
    #[serde(deserialize_with = "null_default")]
    pub cgroup: String,
    /// Links of the default bridge, `container:alias`.
    pub links: Option<Vec<String>>,
    /// -1000 to 1000.
    #[serde(deserialize_with = "null_default")]
    pub oom_score_adj: i64,
    /// Empty, `host` or `container:<id>`.
    #[serde(deserialize_with = "null_default")]
    pub pid_mode: String,
    /// All capabilities and devices, nothing masked.
    #[serde(deserialize_with = "null_default")]
    pub privileged: bool,
    /// Every exposed port is published at a free one.
    #[serde(deserialize_with = "null_default")]
    pub publish_all_ports: bool,
    /// The root file system is read-only.
    #[serde(deserialize_with = "null_default")]
    pub readonly_rootfs: bool,
    /// `no-new-privileges`, `seccomp=…`, `apparmor=…`, `label=…`, `systempaths=unconfined`.
    pub security_opt: Option<Vec<String>>,
    /// Options of the storage driver.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_opt: BTreeMap<String, String>,
    /// `tmpfs` mounts: path and options.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Empty or `host`.
    #[serde(rename = "UTSMode", deserialize_with = "null_default")]
    pub uts_mode: String,
    /// Empty or `host`.
    #[serde(deserialize_with = "null_default")]
    pub userns_mode: String,
    /// Size of `/dev/shm` in bytes; 0 is 64 MiB.
    #[serde(deserialize_with = "null_default")]
    pub shm_size: i64,
    /// Namespaced kernel parameters.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Name of the runtime.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub runtime: String,
    /// Windows only.
    #[serde(deserialize_with = "null_default")]
    pub isolation: String,
    /// Limits and devices.
    #[serde(flatten)]
    pub resources: Resources,
    /// Mounts in their long form.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Paths hidden from the container; `None` is the default list, empty is none.
    pub masked_paths: Option<Vec<String>>,
    /// Paths read-only in the container; `None` is the default list, empty is none.
    pub readonly_paths: Option<Vec<String>>,
    /// Whether an init process runs the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

/// A log driver and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LogConfig {
    /// Name of the driver; empty is the engine's default.
    #[serde(rename = "Type", deserialize_with = "null_default")]
    pub kind: String,
    /// Its options.
    #[serde(deserialize_with = "null_default")]
    pub config: BTreeMap<String, String>,
}

/// When a container is started again after its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `no`, `always`, `unless-stopped`, `on-failure`, or empty.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// How often at most, for `on-failure`; 0 is without end.
    #[serde(deserialize_with = "null_default")]
    pub maximum_retry_count: i64,
}

/// An address and port of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortBinding {
    /// Address; empty is every address.
    #[serde(deserialize_with = "null_default")]
    pub host_ip: String,
    /// A port, a range `8000-8010` of which the first free one is taken, or empty or `0` for any.
    #[serde(deserialize_with = "null_default")]
    pub host_port: String,
}
