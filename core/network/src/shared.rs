//! What the parts of this crate share.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sheave_host::Host;
use sheave_metadata::Database;
use sheave_plugin::Label;
use sheave_plugin::network::{Pool, Spec};
use sheave_telemetry::events::{Event, EventBus, EventKind};

use crate::dns::Directory;
use crate::error::{NetworkError, Result};
use crate::kernel::worker::NetworkThread;
use crate::model::{Network, NetworkDoc, NetworksConfig};

/// The state of the networks of one engine.
pub(crate) struct Shared {
    pub(crate) config: NetworksConfig,
    pub(crate) database: Database,
    pub(crate) host: Host,
    pub(crate) events: Arc<EventBus>,
    pub(crate) thread: NetworkThread,
    pub(crate) directory: Arc<Directory>,
    pub(crate) held: Mutex<Held>,
}

/// What is looked up and changed in one go, without waiting for anything but the database.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) networks: HashMap<String, Arc<Network>>,
    /// The address given out last, by network and family (true is IPv4).
    pub(crate) cursors: HashMap<(String, bool), IpAddr>,
    /// The sockets that hold host ports, by endpoint.
    pub(crate) sockets: HashMap<String, Vec<OwnedFd>>,
    /// Warnings about the host's firewall.
    pub(crate) warnings: Vec<String>,
    /// Names and subnets of networks that are being created.
    pub(crate) coming: Vec<(String, Vec<crate::Prefix>)>,
    pub(crate) pruning: bool,
    /// When the forward chains of others were looked at.
    pub(crate) looked: Option<std::time::Instant>,
}

impl Shared {
    /// For a look-up or change; nothing is awaited meanwhile.
    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the forward chains of others, which may have come later than our networks; not at every start of a container,
    /// and never in its way.
    pub(crate) fn look_at_foreign_chains(self: &Arc<Self>) {
        const EVERY: std::time::Duration = std::time::Duration::from_secs(5);
        let now = std::time::Instant::now();
        let before = self.held().looked.replace(now);
        if before.is_some_and(|before| now - before < EVERY) {
            self.held().looked = before;
            return;
        }
        let shared = self.clone();
        tokio::spawn(async move {
            match shared.thread.run(|executor| executor.foreign()).await {
                Ok(warnings) => shared.held().warnings = warnings,
                Err(error) => tracing::warn!(%error, "the forward chains of others were not looked at"),
            }
        });
    }

    pub(crate) fn event(&self, action: &str, network: &Network, container: Option<&str>) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.doc.driver.clone()),
        ]);
        if let Some(container) = container {
            attributes.insert("container".to_owned(), container.to_owned());
        }
        self.events.publish(Event::now(EventKind::Network, action, network.id.clone(), attributes));
    }

    /// The plugin of a driver. Docker calls that of `none` `null`.
    pub(crate) fn driver(&self, name: &str) -> sheave_types::Result<Arc<sheave_host::NetworkPlugin>> {
        let plugin = if name == "null" { "none" } else { name };
        self.host.network(plugin).map_err(|_| {
            sheave_types::Error::not_found(format!(
                "could not find plugin {name} in v1 plugin registry: plugin not found"
            ))
        })
    }
}

impl Held {
    /// A network by id, name, or the beginning of its id.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Network>> {
        let name = if name == "default" { "bridge" } else { name };
        if let Some(network) = self.networks.get(name) {
            return Ok(network.clone());
        }
        if let Some(network) = self.networks.values().find(|n| n.name == name) {
            return Ok(network.clone());
        }
        let mut fits = self.networks.values().filter(|n| !name.is_empty() && n.id.starts_with(name));
        match (fits.next(), fits.count()) {
            (Some(network), 0) => Ok(network.clone()),
            (Some(_), more) => Err(NetworkError::Ambiguous(name.to_owned(), more + 1)),
            (None, _) => Err(NetworkError::NoSuchNetwork(name.to_owned())),
        }
    }
}

/// A map as the plugin interface has it.
pub(crate) fn labels(map: &BTreeMap<String, String>) -> Vec<Label> {
    map.iter().map(|(key, value)| Label { key: key.clone(), value: value.clone() }).collect()
}

/// A network as its driver sees it.
pub(crate) fn spec(id: &str, name: &str, doc: &NetworkDoc) -> Spec {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let pools = doc.ipam.config.iter().flatten().map(|pool| Pool {
        subnet: pool.subnet.clone(),
        ip_range: some(&pool.ip_range),
        gateway: some(&pool.gateway),
        reserved: labels(&pool.auxiliary_addresses),
    });
    Spec {
        id: id.to_owned(),
        name: name.to_owned(),
        pools: pools.collect(),
        internal: doc.internal,
        ipv4: doc.ipv4,
        ipv6: doc.ipv6,
        options: labels(&doc.options),
        labels: labels(&doc.labels),
    }
}
