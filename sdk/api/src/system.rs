//! `GET /version`, `GET /info`, `GET /system/df`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Answer to `GET /version`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SystemVersion {
    /// The product.
    pub platform: PlatformName,
    /// What it consists of; the first is `Engine`.
    pub components: Vec<ComponentVersion>,
    /// The engine's version, read as a semantic version by many clients.
    pub version: String,
    /// The newest API version.
    pub api_version: String,
    /// The oldest API version.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// The commit that it was built from; empty when unknown.
    pub git_commit: String,
    /// Docker's compiler; here what compiled the engine.
    pub go_version: String,
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub arch: String,
    /// The running kernel.
    pub kernel_version: String,
    /// RFC 3339; empty when unknown.
    pub build_time: String,
}

/// Parameters of `GET /system/df`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskUsageQuery {
    /// `container`, `image`, `volume`, `build-cache`; none is all of them.
    #[serde(rename = "type")]
    pub kinds: Vec<String>,
}

/// Answer to `GET /system/df`; what was not asked for is null.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Bytes of all image layers, each counted once.
    pub layers_size: u64,
    /// The images, with what they share.
    pub images: Option<Vec<crate::images::ImageSummary>>,
    /// The containers as `GET /containers/json?all=1&size=1` has them.
    pub containers: Option<Box<serde_json::value::RawValue>>,
    /// The volumes with their sizes.
    pub volumes: Option<Vec<crate::volumes::Volume>>,
    /// Always empty: this engine does not build.
    pub build_cache: Option<Vec<Value>>,
}

/// The product's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PlatformName {
    /// The name.
    pub name: String,
}

/// One part of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ComponentVersion {
    /// `Engine`, …
    pub name: String,
    /// Its version.
    pub version: String,
    /// More about it.
    pub details: BTreeMap<String, String>,
}

/// Answer to `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SystemInfo {
    /// The engine's id, made at its first start.
    #[serde(rename = "ID")]
    pub id: String,
    /// All containers.
    pub containers: i64,
    /// Those that run.
    pub containers_running: i64,
    /// Those that are paused.
    pub containers_paused: i64,
    /// The others.
    pub containers_stopped: i64,
    /// Images.
    pub images: i64,
    /// The default storage driver.
    pub driver: String,
    /// What it says about itself.
    pub driver_status: Vec<[String; 2]>,
    /// Plugins by kind.
    pub plugins: PluginsInfo,
    /// Whether memory can be limited.
    pub memory_limit: bool,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether CPU periods can be set.
    pub cpu_cfs_period: bool,
    /// Whether CPU quotas can be set.
    pub cpu_cfs_quota: bool,
    /// Whether CPU shares can be set.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// Whether CPU sets can be set.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// Whether the number of processes can be limited.
    pub pids_limit: bool,
    /// Whether the kernel forwards IPv4.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Whether the engine logs verbosely.
    pub debug: bool,
    /// Open files of the daemon.
    #[serde(rename = "NFd")]
    pub open_files: i64,
    /// Whether the OOM killer can be switched off.
    pub oom_kill_disable: bool,
    /// Tasks of the daemon.
    #[serde(rename = "NGoroutines")]
    pub tasks: i64,
    /// RFC 3339.
    pub system_time: String,
    /// `json-file`.
    pub logging_driver: String,
    /// Who makes cgroups: `cgroupfs`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Who listens to events.
    #[serde(rename = "NEventsListener")]
    pub events_listeners: i64,
    /// The running kernel.
    pub kernel_version: String,
    /// Pretty name of the distribution.
    pub operating_system: String,
    /// Version of the distribution.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `x86_64`, `aarch64`, …
    pub architecture: String,
    /// Where images without a host come from.
    pub index_server_address: String,
    /// What registries are configured.
    pub registry_config: RegistryConfig,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub cpus: i64,
    /// Bytes.
    pub mem_total: i64,
    /// Never any; clients index it.
    pub generic_resources: Option<Vec<Value>>,
    /// The data root.
    pub docker_root_dir: String,
    /// Proxy for plain HTTP.
    pub http_proxy: String,
    /// Proxy for TLS.
    pub https_proxy: String,
    /// Hosts without a proxy.
    pub no_proxy: String,
    /// The host's name.
    pub name: String,
    /// The engine's labels.
    pub labels: Vec<String>,
    /// Always false.
    pub experimental_build: bool,
    /// The engine's version.
    pub server_version: String,
    /// What runs containers, by name.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The one used without a choice.
    pub default_runtime: String,
    /// Swarm: never active.
    pub swarm: SwarmInfo,
    /// Containers outlive the daemon: always true.
    pub live_restore_enabled: bool,
    /// Empty.
    pub isolation: String,
    /// The init program of `--init`.
    pub init_binary: String,
    /// Commits of containerd, where there is one.
    pub containerd_commit: Commit,
    /// Commits of runc, where there is one.
    pub runc_commit: Commit,
    /// Commits of the init program.
    pub init_commit: Commit,
    /// `name=seccomp,profile=builtin`, …
    pub security_options: Vec<String>,
    /// Where CDI specifications are looked for.
    #[serde(rename = "CDISpecDirs")]
    pub cdi_spec_dirs: Vec<String>,
    /// The firewall that is driven.
    pub firewall_backend: Option<FirewallInfo>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Plugins by kind, with the names that `docker info` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PluginsInfo {
    /// Volume drivers.
    pub volume: Vec<String>,
    /// Network drivers.
    pub network: Vec<String>,
    /// Hooks.
    pub authorization: Option<Vec<String>>,
    /// Log drivers.
    pub log: Vec<String>,
}

/// What registries are configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RegistryConfig {
    /// Networks whose registries may be insecure.
    #[serde(rename = "InsecureRegistryCIDRs")]
    pub insecure_registry_cidrs: Vec<String>,
    /// By host.
    pub index_configs: BTreeMap<String, IndexConfig>,
    /// Mirrors of docker.io.
    pub mirrors: Option<Vec<String>>,
}

/// One registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexConfig {
    /// Its host.
    pub name: String,
    /// Its mirrors.
    pub mirrors: Vec<String>,
    /// Whether TLS is required.
    pub secure: bool,
    /// Whether it is docker.io.
    pub official: bool,
}

/// A way to run containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The program.
    pub path: String,
}

/// Swarm, never active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmInfo {
    /// Empty.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Empty.
    pub node_addr: String,
    /// `inactive`.
    pub local_node_state: String,
    /// False.
    pub control_available: bool,
    /// Empty.
    pub error: String,
    /// None.
    pub remote_managers: Option<Vec<Value>>,
}

impl Default for SwarmInfo {
    fn default() -> Self {
        Self {
            node_id: String::new(),
            node_addr: String::new(),
            local_node_state: "inactive".into(),
            control_available: false,
            error: String::new(),
            remote_managers: None,
        }
    }
}

/// A commit of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Commit {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
}

/// The firewall that is driven.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FirewallInfo {
    /// `nftables`.
    pub driver: String,
    /// What it says about itself.
    pub info: Vec<[String; 2]>,
}
