//! The system routes: version, info, events.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sheave_api::system::{
    ComponentVersion, DiskUsage, DiskUsageQuery, IndexConfig, PlatformName, PluginsInfo, RegistryConfig, Runtime,
    SystemInfo, SystemVersion,
};
use sheave_api::version::Version;
use sheave_host::Host;
use sheave_http::routes::system::System;
use sheave_plugin::Kind;
use sheave_telemetry::audit::timestamp;
use sheave_telemetry::events::EventBus;
use sheave_types::Result;

use crate::config::Config;
use crate::machine::{Machine, file_system};

/// The version of Docker's engine that clients may take this for; they decide by it what they can ask for.
pub const DOCKER_VERSION: &str = "28.5.0";

/// How many containers are in which state.
#[derive(Debug, Clone, Copy, Default)]
pub struct ContainerCount {
    /// Running.
    pub running: usize,
    /// Paused.
    pub paused: usize,
    /// All the others.
    pub stopped: usize,
}

/// What the areas hold.
#[async_trait]
pub trait Census: Send + Sync {
    /// The containers.
    fn containers(&self) -> Result<ContainerCount>;
    /// The number of images.
    fn images(&self) -> Result<usize>;
    /// The default storage driver.
    fn storage_driver(&self) -> String;
    /// What it takes on disk.
    async fn disk_usage(&self, query: DiskUsageQuery) -> Result<DiskUsage>;
}

/// The adapter for the system routes.
pub struct SystemArea {
    /// The engine's id.
    pub id: String,
    /// The configuration.
    pub config: Config,
    /// The host.
    pub machine: Machine,
    /// The plugins.
    pub host: Host,
    /// The event bus.
    pub events: Arc<EventBus>,
    /// What the areas hold.
    pub census: Arc<dyn Census>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

#[async_trait]
impl System for SystemArea {
    fn version(&self) -> SystemVersion {
        let arch = self.machine.arch().to_owned();
        let kernel = self.machine.kernel.clone();
        let (newest, oldest) = (Version::MAX.to_string(), Version::MIN.to_string());
        let details = [
            ("ApiVersion", newest.as_str()),
            ("Arch", &arch),
            ("BuildTime", ""),
            ("Experimental", "false"),
            ("GitCommit", ""),
            ("GoVersion", ""),
            ("KernelVersion", &kernel),
            ("MinAPIVersion", &oldest),
            ("Os", "linux"),
        ];
        let engine = component("Engine", DOCKER_VERSION, &details);
        let sheaved = component("sheaved", env!("CARGO_PKG_VERSION"), &[]);
        SystemVersion {
            platform: PlatformName { name: format!("Sheave {}", env!("CARGO_PKG_VERSION")) },
            components: vec![engine, sheaved],
            version: DOCKER_VERSION.to_owned(),
            api_version: newest.clone(),
            min_api_version: oldest.clone(),
            os: "linux".to_owned(),
            arch: arch.clone(),
            kernel_version: kernel.clone(),
            ..SystemVersion::default()
        }
    }

    async fn info(&self) -> Result<SystemInfo> {
        let containers = self.census.containers()?;
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let root: PathBuf = self.config.data_root();
        let mut info = SystemInfo {
            id: self.id.clone(),
            containers: number(containers.running + containers.paused + containers.stopped),
            containers_running: number(containers.running),
            containers_paused: number(containers.paused),
            containers_stopped: number(containers.stopped),
            images: number(self.census.images()?),
            driver: self.census.storage_driver(),
            driver_status: vec![["Backing Filesystem".to_owned(), file_system(&root).to_owned()]],
            plugins: self.plugins(),
            debug: self.config.debug,
            system_time: timestamp(),
            logging_driver: "json-file".to_owned(),
            events_listeners: number(self.events.listeners()),
            index_server_address: "https://index.docker.io/v1/".to_owned(),
            registry_config: self.registries(),
            docker_root_dir: root.display().to_string(),
            labels: self.config.labels.clone(),
            server_version: DOCKER_VERSION.to_owned(),
            runtimes: self.runtimes(),
            default_runtime: self
                .config
                .default_runtime
                .clone()
                .unwrap_or_else(|| sheave_supervisor::NATIVE.to_owned()),
            live_restore_enabled: true,
            init_binary: self.config.init.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
            warnings: self.warnings.clone(),
            ..SystemInfo::default()
        };
        self.machine.describe(&mut info);
        Ok(info)
    }

    fn events(&self) -> &EventBus {
        &self.events
    }

    async fn disk_usage(&self, query: DiskUsageQuery) -> Result<DiskUsage> {
        self.census.disk_usage(query).await
    }
}

impl SystemArea {
    fn plugins(&self) -> PluginsInfo {
        let hooks: Vec<_> = self.host.hooks().iter().map(|h| h.name().to_owned()).collect();
        PluginsInfo {
            volume: self.host.drivers(Kind::Volume),
            network: self.host.drivers(Kind::Network),
            authorization: (!hooks.is_empty()).then_some(hooks),
            log: vec!["json-file".to_owned()],
        }
    }

    fn runtimes(&self) -> BTreeMap<String, Runtime> {
        let native = (sheave_supervisor::NATIVE.to_owned(), Runtime { path: "sheave-shim".to_owned() });
        let configured = self.config.runtimes.iter();
        let configured = configured.map(|(name, r)| (name.clone(), Runtime { path: r.path.display().to_string() }));
        configured.chain([native]).collect()
    }

    fn registries(&self) -> RegistryConfig {
        let index = |name: &str, mirrors: &[String], secure| IndexConfig {
            name: name.to_owned(),
            mirrors: mirrors.to_vec(),
            secure,
            official: name == "docker.io",
        };
        let config = &self.config;
        let mut configs =
            BTreeMap::from([("docker.io".to_owned(), index("docker.io", &config.registry_mirrors, true))]);
        for host in &config.insecure_registries {
            configs.insert(host.clone(), index(host, &[], false));
        }
        for (host, registry) in &config.registries {
            configs.insert(host.clone(), index(host, &registry.mirrors, !registry.insecure));
        }
        RegistryConfig {
            insecure_registry_cidrs: vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()],
            index_configs: configs,
            mirrors: (!config.registry_mirrors.is_empty()).then(|| config.registry_mirrors.clone()),
        }
    }
}

fn component(name: &str, version: &str, details: &[(&str, &str)]) -> ComponentVersion {
    let details = details.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ComponentVersion { name: name.to_owned(), version: version.to_owned(), details }
}
