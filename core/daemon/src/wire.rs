//! The composition root: every part of the engine is made here, from the bottom up, and given what it needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sheave_hooks::{Configured, HookBus};
use sheave_host::{Host, Options};
use sheave_http::routes::system::{self, System};
use sheave_http::{Observers, Router, Server};
use sheave_metadata::Database;
use sheave_telemetry::audit::AuditLog;
use sheave_telemetry::events::EventBus;
use sheave_telemetry::metrics::Metrics;
use sheave_types::Result;
use tracing::info;

use crate::builtins;
use crate::config::Config;
use crate::error::DaemonError;
use crate::machine::Machine;
use crate::system::{Census, ContainerCount, DOCKER_VERSION, SystemArea};

/// An engine, ready to serve.
pub struct Engine {
    /// The API.
    pub server: Server,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
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
    let router = system_area(&base, Router::new())?;
    let observers = Observers { metrics: base.metrics.clone(), audit: Some(Arc::new(audit(config)?)) };
    let server = Server::new(router, base.hooks.clone(), observers, DOCKER_VERSION)?;
    Ok(Engine { server, metrics: base.metrics })
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

/// The routes of the engine itself.
fn system_area(base: &Base, router: Router) -> Result<Router> {
    let area: Arc<dyn System> = Arc::new(SystemArea {
        id: base.database.engine_id()?,
        config: base.config.clone(),
        machine: Machine::look(),
        host: base.host.clone(),
        events: base.events.clone(),
        census: Arc::new(Counts { database: base.database.clone() }),
        warnings: Vec::new(),
    });
    Ok(router.area(system::routes(), &area))
}

struct Counts {
    database: Database,
}

impl Census for Counts {
    fn containers(&self) -> Result<ContainerCount> {
        Ok(ContainerCount::default())
    }

    fn images(&self) -> Result<usize> {
        Ok(self.database.images().all::<serde::de::IgnoredAny>()?.len())
    }

    fn storage_driver(&self) -> String {
        String::new()
    }
}
