//! Which plugins there are, by kind and driver name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sheave_metadata::Database;
use sheave_plugin::{Kind, Linked, Make, Manifest};
use sheave_telemetry::events::EventBus;
use sheave_telemetry::metrics::Metrics;

use crate::client::{BuildPlugin, HookPlugin, NetworkPlugin, RegistryPlugin, StoragePlugin, VolumePlugin};
use crate::error::HostError;
use crate::grants::{Grants, host_matches};
use crate::lifecycle::State;
use crate::outgoing;
use crate::plugin::{Plugin, Shared, Watch};

/// What the operator configured for one plugin.
#[derive(Debug, Clone)]
pub struct PluginOptions {
    /// Its driver's configuration, JSON.
    pub config: String,
    /// Its grants; none grants what it requests, which only a linked plugin may have.
    pub grants: Option<Grants>,
    /// How long a call may take.
    pub deadline: Duration,
}

impl Default for PluginOptions {
    fn default() -> Self {
        Self { config: "{}".to_owned(), grants: None, deadline: Duration::from_secs(30) }
    }
}

/// What the host needs.
pub struct Options {
    /// The engine's data root; each plugin gets a directory below it.
    pub data_root: PathBuf,
    /// The engine's database.
    pub database: Database,
    /// Where changes of plugins are told.
    pub events: Arc<EventBus>,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// What was configured, by plugin name.
    pub plugins: BTreeMap<String, PluginOptions>,
    /// The secrets of the configuration, by name.
    pub secrets: BTreeMap<String, String>,
    /// The names of hooks in the order in which they are asked; those not named follow in alphabetical order.
    pub hook_order: Vec<String>,
}

/// One loaded plugin, for listings.
#[derive(Debug, Clone)]
pub struct PluginInfo {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its driver's name.
    pub driver: String,
    /// Its state.
    pub state: State,
}

type Drivers<P> = BTreeMap<String, Arc<P>>;

#[derive(Default)]
struct Loaded {
    storage: Drivers<StoragePlugin>,
    network: Drivers<NetworkPlugin>,
    volume: Drivers<VolumePlugin>,
    registry: Drivers<RegistryPlugin>,
    patterns: Vec<(String, Arc<RegistryPlugin>)>,
    build: Drivers<BuildPlugin>,
    hook: Drivers<HookPlugin>,
    hook_order: Vec<String>,
}

/// The loaded plugins of an engine; a cheap handle.
#[derive(Clone)]
pub struct Host(Arc<Loaded>);

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

struct Loader<'a> {
    options: &'a Options,
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
    origin: Instant,
}

impl Loader<'_> {
    fn driver<D: ?Sized + Send + Sync + 'static>(
        &self,
        manifest: &Manifest,
        kind: Kind,
        make: Option<Make<D>>,
        into: &mut Drivers<Plugin<D>>,
    ) -> Result<(), HostError> {
        let plugin = || manifest.name.clone();
        let Some(make) = make else {
            return Err(HostError::Missing { plugin: plugin(), kind: kind.to_string() });
        };
        let configured = self.options.plugins.get(&manifest.name).cloned().unwrap_or_default();
        let root = self.root(manifest, kind);
        std::fs::create_dir_all(&root).map_err(|source| HostError::Root {
            plugin: plugin(),
            path: root.clone(),
            source,
        })?;
        let shared = Arc::new(Shared {
            name: plugin(),
            manifest: manifest.clone(),
            root,
            grants: configured.grants.unwrap_or_else(|| Grants::all_of(&manifest.requests)),
            secrets: self.options.secrets.clone(),
            deadline: configured.deadline,
            database: self.options.database.clone(),
            client: self.client.clone(),
            runtime: self.runtime.clone(),
            watch: Watch {
                origin: self.origin,
                state: Mutex::new(State::Discovered),
                events: self.options.events.clone(),
                metrics: self.options.metrics.clone(),
            },
        });
        let loaded = Plugin::load(shared, configured.config, make)?;
        let name = loaded.driver().to_owned();
        if into.insert(name, Arc::new(loaded)).is_some() {
            return Err(HostError::Duplicate { plugin: plugin() });
        }
        Ok(())
    }

    fn root(&self, manifest: &Manifest, kind: Kind) -> PathBuf {
        let driver = crate::plugin::driver_name(manifest);
        match kind {
            Kind::Storage => self.options.data_root.join("storage").join(driver),
            Kind::Volume => self.options.data_root.join("volumes").join(driver),
            _ => self.options.data_root.join("plugins").join(&manifest.name),
        }
    }
}

impl Host {
    /// Loads linked plugins. Called once, on a runtime, before anything rests on a plugin.
    ///
    /// # Errors
    /// [`HostError`] naming the plugin and the field at fault; then nothing is loaded.
    pub async fn load(linked: &[Linked], options: Options) -> Result<Self, sheave_types::Error> {
        let mut loaded = Loaded { hook_order: options.hook_order.clone(), ..Loaded::default() };
        let client =
            outgoing::client().map_err(|source| HostError::Client { plugin: "the host's".to_owned(), source })?;
        let runtime = tokio::runtime::Handle::current();
        let loader = Loader { options: &options, client, runtime, origin: Instant::now() };
        for plugin in linked {
            let manifest = Manifest::parse(plugin.manifest).map_err(|source| {
                let first = plugin.manifest.lines().next().unwrap_or_default().to_owned();
                HostError::Manifest { plugin: first, source }
            })?;
            for kind in &manifest.kinds {
                match kind {
                    Kind::Storage => loader.driver(&manifest, *kind, plugin.storage, &mut loaded.storage)?,
                    Kind::Network => loader.driver(&manifest, *kind, plugin.network, &mut loaded.network)?,
                    Kind::Volume => loader.driver(&manifest, *kind, plugin.volume, &mut loaded.volume)?,
                    Kind::Registry => loader.driver(&manifest, *kind, plugin.registry, &mut loaded.registry)?,
                    Kind::Build => loader.driver(&manifest, *kind, plugin.build, &mut loaded.build)?,
                    Kind::Hook => loader.driver(&manifest, *kind, plugin.hook, &mut loaded.hook)?,
                }
            }
        }
        for plugin in loaded.registry.values() {
            for pattern in plugin.patterns().await? {
                loaded.patterns.push((pattern, plugin.clone()));
            }
        }
        // The most specific pattern first: the one with the most characters that are not wildcards.
        loaded.patterns.sort_by_key(|(p, _)| std::cmp::Reverse((!p.contains('*'), p.replace('*', "").len())));
        Ok(Self(Arc::new(loaded)))
    }

    /// The storage driver of this name (`vfs` or `storage-vfs`).
    ///
    /// # Errors
    /// [`HostError::Unknown`] with the names there are; so for each kind.
    pub fn storage(&self, driver: &str) -> Result<Arc<StoragePlugin>, HostError> {
        find("storage", &self.0.storage, driver)
    }

    /// The network driver of this name.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn network(&self, driver: &str) -> Result<Arc<NetworkPlugin>, HostError> {
        find("network", &self.0.network, driver)
    }

    /// The volume driver of this name.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn volume(&self, driver: &str) -> Result<Arc<VolumePlugin>, HostError> {
        find("volume", &self.0.volume, driver)
    }

    /// The build frontend of this name.
    ///
    /// # Errors
    /// [`HostError::Unknown`].
    pub fn build(&self, driver: &str) -> Result<Arc<BuildPlugin>, HostError> {
        find("build", &self.0.build, driver)
    }

    /// The registry driver whose pattern fits this host best.
    ///
    /// # Errors
    /// [`HostError::Unknown`] if none does.
    pub fn registry_for(&self, host: &str) -> Result<Arc<RegistryPlugin>, HostError> {
        let found = self.0.patterns.iter().find(|(pattern, _)| pattern == "*" || host_matches(pattern, host));
        found.map(|(_, plugin)| plugin.clone()).ok_or_else(|| unknown("registry", &self.0.registry, host))
    }

    /// All registry drivers, by name.
    pub fn registries(&self) -> Vec<Arc<RegistryPlugin>> {
        self.0.registry.values().cloned().collect()
    }

    /// The hooks in the order in which they are asked.
    pub fn hooks(&self) -> Vec<Arc<HookPlugin>> {
        let named = self.0.hook_order.iter().filter_map(|name| find("hook", &self.0.hook, name).ok());
        let mut hooks: Vec<_> = named.collect();
        for hook in self.0.hook.values() {
            if !hooks.iter().any(|h| Arc::ptr_eq(h, hook)) {
                hooks.push(hook.clone());
            }
        }
        hooks
    }

    /// The names of the drivers of a kind, sorted.
    pub fn drivers(&self, kind: Kind) -> Vec<String> {
        match kind {
            Kind::Storage => self.0.storage.keys().cloned().collect(),
            Kind::Network => self.0.network.keys().cloned().collect(),
            Kind::Volume => self.0.volume.keys().cloned().collect(),
            Kind::Registry => self.0.registry.keys().cloned().collect(),
            Kind::Build => self.0.build.keys().cloned().collect(),
            Kind::Hook => self.0.hook.keys().cloned().collect(),
        }
    }

    /// All loaded plugins, one entry a kind and driver.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        let mut all = Vec::new();
        infos(&self.0.storage, &mut all);
        infos(&self.0.network, &mut all);
        infos(&self.0.volume, &mut all);
        infos(&self.0.registry, &mut all);
        infos(&self.0.build, &mut all);
        infos(&self.0.hook, &mut all);
        all
    }
}

fn find<D: ?Sized>(kind: &'static str, drivers: &Drivers<Plugin<D>>, name: &str) -> Result<Arc<Plugin<D>>, HostError> {
    let short = name.strip_prefix(kind).and_then(|n| n.strip_prefix('-')).unwrap_or(name);
    drivers.get(short).cloned().ok_or_else(|| unknown(kind, drivers, name))
}

fn unknown<P>(kind: &'static str, drivers: &Drivers<P>, name: &str) -> HostError {
    let mut known = drivers.keys().cloned().collect::<Vec<_>>().join(", ");
    if known.is_empty() {
        known = "none".to_owned();
    }
    HostError::Unknown { kind, driver: name.to_owned(), known }
}

fn infos<D: ?Sized + Send + Sync + 'static>(drivers: &Drivers<Plugin<D>>, into: &mut Vec<PluginInfo>) {
    into.extend(drivers.values().map(|p| PluginInfo {
        manifest: p.manifest().clone(),
        driver: p.driver().to_owned(),
        state: p.state(),
    }));
}
