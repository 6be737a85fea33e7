//! The composition root: every part of the engine is made here, from the bottom up, and given what it needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sheave_hooks::{Configured, HookBus};
use sheave_host::{Host, Options};
use sheave_http::routes::system::{self, System};
use sheave_http::{Observers, Router, Server, routes};
use sheave_images::unpack::Limits;
use sheave_images::{Images, StorageLayers, Tuning};
use sheave_metadata::Database;
use sheave_network::{Networks, NetworksConfig};
use sheave_storage::{Snapshots, Volumes};
use sheave_supervisor::{NATIVE, Neighbours, Settings, Supervisor};
use sheave_telemetry::audit::AuditLog;
use sheave_telemetry::events::EventBus;
use sheave_telemetry::metrics::Metrics;
use sheave_types::Result;
use tracing::info;

use crate::builtins;
use crate::census::Holdings;
use crate::config::Config;
use crate::containers;
use crate::error::DaemonError;
use crate::images::ImageRoutes;
use crate::machine::Machine;
use crate::networks::NetworkRoutes;
use crate::system::{DOCKER_VERSION, SystemArea};
use crate::volumes::VolumeRoutes;

/// An engine, ready to serve.
pub struct Engine {
    /// The API.
    pub server: Server,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// Its networks, closed when it stops.
    pub networks: Arc<Networks>,
}

/// What every area may need.
struct Base {
    config: Config,
    database: Database,
    events: Arc<EventBus>,
    metrics: Arc<Metrics>,
    host: Host,
    hooks: Arc<HookBus>,
}

/// Puts the engine together: database, plugins, hooks; then the areas, each of which first puts right what a killed engine
/// left; then the API.
pub async fn engine(config: &Config) -> Result<Engine> {
    let base = base(config).await?;
    let storage = storage(&base).await?;
    let images = images(&base, &storage).await?;
    let networks = Arc::new(networks(&base).await?);
    let supervisor = supervisor(&base, &storage, &images, &networks).await?;
    images.set_users(Arc::new(supervisor.clone()));
    let router = system_area(&base, &storage, &images, &networks, &supervisor)?;
    let router = areas(router, &storage, images, networks.clone(), &supervisor);
    let observers = Observers { metrics: base.metrics.clone(), audit: Some(Arc::new(audit(config)?)) };
    let server = Server::new(router, base.hooks.clone(), observers, DOCKER_VERSION)?;
    Ok(Engine { server, metrics: base.metrics, networks })
}

async fn base(config: &Config) -> Result<Base> {
    let database = Database::open(&config.data_root().join("sheave.db"))?;
    let events = Arc::new(EventBus::default());
    let metrics = Arc::new(Metrics::default());
    let options = Options {
        data_root: config.data_root(),
        database: database.clone(),
        events: events.clone(),
        metrics: metrics.clone(),
        plugins: plugin_options(config)?,
        secrets: secrets(config)?,
        hook_order: config.hooks.iter().map(|h| h.name.clone()).collect(),
    };
    let host = Host::load(&builtins::linked(), options).await?;
    let loaded: Vec<_> = host.plugins().into_iter().map(|p| p.manifest.name).collect();
    info!(plugins = loaded.join(" "), "plugins are loaded");
    let hooks = Arc::new(hooks(config, &host).await?);
    Ok(Base { config: config.clone(), database, events, metrics, host, hooks })
}

/// What was configured for plugins, the settings with names of their own included.
fn plugin_options(config: &Config) -> Result<BTreeMap<String, sheave_host::PluginOptions>> {
    let mut options = config.plugin_options();
    let (plugin, settings) = builtins::registry_settings(config);
    if !settings.is_empty() {
        let plugin = options.entry(plugin.to_owned()).or_default();
        let setting = |reason: String| DaemonError::Setting { setting: "registries", reason };
        let mut config: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&plugin.config).map_err(|e| setting(e.to_string()))?;
        for (key, value) in settings {
            if config.insert(key.clone(), value).is_some() {
                return Err(setting(format!("{key} is set here and in the plugin's own table")).into());
            }
        }
        plugin.config = serde_json::Value::from(config).to_string();
    }
    Ok(options)
}

fn secrets(config: &Config) -> Result<BTreeMap<String, String>, DaemonError> {
    let read = |(name, path): (&String, &std::path::PathBuf)| match std::fs::read_to_string(path) {
        Ok(text) => Ok((name.clone(), text.trim_end_matches('\n').to_owned())),
        Err(source) => Err(DaemonError::Io { path: path.clone(), source }),
    };
    config.secrets.iter().map(read).collect()
}

/// The hooks in the order of the configuration; those it does not name are asked last, and are mandatory.
async fn hooks(config: &Config, host: &Host) -> Result<HookBus, DaemonError> {
    let plugins = host.hooks();
    for named in &config.hooks {
        if !plugins.iter().any(|p| p.name() == named.name) {
            let known = plugins.iter().map(|p| p.name()).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(DaemonError::UnknownHook { name: named.name.clone(), known });
        }
    }
    let configured = plugins.into_iter().map(|hook| {
        let settings = config.hooks.iter().find(|named| named.name == hook.name());
        Configured {
            mandatory: settings.is_none_or(|s| s.mandatory),
            deadline: Duration::from_secs(settings.map_or(5, |s| s.deadline_seconds)),
            hook,
        }
    });
    Ok(HookBus::new(configured.collect()).await)
}

fn audit(config: &Config) -> Result<AuditLog, DaemonError> {
    let path = config.data_root().join("audit.log");
    AuditLog::open(&path).map_err(|source| DaemonError::Io { path, source })
}

/// What storage and volume drivers keep.
struct Storage {
    snapshots: Snapshots,
    volumes: Volumes,
}

async fn storage(base: &Base) -> Result<Storage> {
    let options =
        sheave_storage::Options { exec_root: base.config.exec_root(), driver: base.config.storage_driver.clone() };
    let snapshots = Snapshots::open(base.host.clone(), base.database.clone(), options).await?;
    snapshots.recover().await?;
    let volumes = Volumes::open(base.host.clone(), base.database.clone(), base.events.clone())?;
    volumes.recover().await?;
    Ok(Storage { snapshots, volumes })
}

async fn images(base: &Base, storage: &Storage) -> Result<Arc<Images>> {
    let options = sheave_images::Options {
        content: base.config.data_root().join("content"),
        database: base.database.clone(),
        host: base.host.clone(),
        layers: Arc::new(StorageLayers::new(base.host.clone(), storage.snapshots.clone())),
        events: base.events.clone(),
        tuning: Tuning::default(),
        limits: Limits::default(),
    };
    Ok(Arc::new(Images::open(options).await?))
}

async fn networks(base: &Base) -> Result<Networks> {
    let mut config = NetworksConfig::new(base.config.exec_root());
    if let Some(bridge) = &base.config.bridge {
        config.bridge.clone_from(bridge);
    }
    let setting = |e: sheave_network::NetworkError| DaemonError::Setting { setting: "bip", reason: e.to_string() };
    config.bip = base.config.bip.as_deref().map(str::parse).transpose().map_err(setting)?;
    Networks::open(config, base.host.clone(), base.database.clone(), base.events.clone()).await
}

/// The containers; what runs already is found here.
async fn supervisor(
    base: &Base,
    storage: &Storage,
    images: &Arc<Images>,
    networks: &Arc<Networks>,
) -> Result<Supervisor> {
    let config = &base.config;
    let settings = Settings {
        data_root: config.data_root(),
        exec_root: config.exec_root(),
        shim: shim(config)?,
        runtimes: config.runtimes.clone(),
        default_runtime: config.default_runtime.clone().unwrap_or_else(|| NATIVE.to_owned()),
        init: config.init.clone(),
    };
    let neighbours = Neighbours {
        images: images.clone(),
        snapshots: storage.snapshots.clone(),
        volumes: Arc::new(storage.volumes.clone()),
        networks: networks.clone(),
        hooks: base.hooks.clone(),
    };
    Supervisor::open(settings, neighbours, base.database.clone(), base.events.clone()).await
}

/// The program of the configuration, or the one beside this one.
fn shim(config: &Config) -> Result<PathBuf, DaemonError> {
    if let Some(shim) = &config.shim {
        return Ok(shim.clone());
    }
    let own = std::env::current_exe().map_err(|source| DaemonError::Io { path: "/proc/self/exe".into(), source })?;
    Ok(own.with_file_name("sheave-shim"))
}

/// The routes of everything that containers are made of.
fn areas(
    router: Router,
    storage: &Storage,
    images: Arc<Images>,
    networks: Arc<Networks>,
    supervisor: &Supervisor,
) -> Router {
    let networks: Arc<dyn routes::networks::Networks> =
        Arc::new(NetworkRoutes { networks, supervisor: supervisor.clone() });
    let images: Arc<dyn routes::images::Images> = Arc::new(ImageRoutes(images));
    let volumes: Arc<dyn routes::volumes::Volumes> = Arc::new(VolumeRoutes(storage.volumes.clone()));
    let (containers, execs) = containers::areas(supervisor);
    router
        .area(routes::images::routes(), &images)
        .area(routes::networks::routes(), &networks)
        .area(routes::volumes::routes(), &volumes)
        .area(routes::containers::routes(), &containers)
        .area(routes::exec::routes(), &execs)
}

/// The routes of the engine itself.
fn system_area(
    base: &Base,
    storage: &Storage,
    images: &Arc<Images>,
    networks: &Networks,
    supervisor: &Supervisor,
) -> Result<Router> {
    let census = Holdings {
        database: base.database.clone(),
        images: images.clone(),
        volumes: storage.volumes.clone(),
        supervisor: supervisor.clone(),
        driver: storage.snapshots.default_driver().to_owned(),
    };
    let area: Arc<dyn System> = Arc::new(SystemArea {
        id: base.database.engine_id()?,
        config: base.config.clone(),
        machine: Machine::look(),
        host: base.host.clone(),
        events: base.events.clone(),
        census: Arc::new(census),
        warnings: networks.warnings(),
    });
    Ok(Router::new().area(system::routes(), &area))
}
