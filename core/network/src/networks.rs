//! The networks of an engine: what other crates call.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use sheave_api::Filters;
use sheave_api::containers::EndpointSettings;
use sheave_api::networks::{Network, NetworkCreateRequest, NetworkCreateResponse, NetworkPruneResponse};
use sheave_host::Host;
use sheave_metadata::Database;
use sheave_telemetry::events::EventBus;
use sheave_types::{Id, Result};

use crate::dns::Directory;
use crate::kernel::executor::Executor;
use crate::kernel::sysctl;
use crate::kernel::worker::NetworkThread;
use crate::model::{EndpointRequest, EndpointState, NetworksConfig, PublishedPort, Sandbox, SandboxRequest};
use crate::shared::{Held, Shared};
use crate::{catalog, create, membership, recovery, sandbox};

/// The networks of an engine; a cheap handle.
#[derive(Clone)]
pub struct Networks(Arc<Shared>);

/// A sysctl that was changed, and what it was.
#[derive(Debug, Serialize, Deserialize)]
struct ChangedSysctl {
    key: String,
    prior: String,
}

/// Lets packets through the host, and remembers that it did not before.
fn enable_forwarding(database: &Database) -> Result<()> {
    const KEY: &str = "net.ipv4.ip_forward";
    if let Some(prior) = sysctl::read(KEY)?
        && prior == "0"
    {
        database.journal().add("sysctl", &ChangedSysctl { key: KEY.to_owned(), prior })?;
        sysctl::write(KEY, "1")?;
    }
    Ok(())
}

impl Networks {
    /// Opens the networks of the database in the caller's network namespace, which is the host's, and makes the predefined
    /// ones. Called once, on the runtime; [`Self::reconcile`] follows.
    ///
    /// # Errors
    /// Those of the kernel, of the database, and of the driver `bridge`.
    pub async fn open(config: NetworksConfig, host: Host, database: Database, events: Arc<EventBus>) -> Result<Self> {
        let engine = database.engine_id()?;
        let thread = NetworkThread::start(move || Executor::new(engine))?;
        enable_forwarding(&database)?;
        let shared = Arc::new(Shared {
            config,
            database,
            host,
            events,
            thread,
            directory: Arc::new(Directory::default()),
            held: Mutex::new(Held::default()),
        });
        recovery::load_ports(&shared).await?;
        catalog::load(&shared).await?;
        Ok(Self(shared))
    }

    /// Makes a network.
    ///
    /// # Errors
    /// `conflict` for a name in use, `denied` for a predefined one or an overlapping pool, `invalid`, `not-found` for the
    /// driver.
    pub async fn create(&self, request: &NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        create::create(&self.0, request).await
    }

    /// The networks that fit these filters.
    ///
    /// # Errors
    /// `invalid` for filters that there are not.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Network>> {
        catalog::list(&self.0, filters)
    }

    /// One network by id, name or beginning of the id, with its running containers.
    ///
    /// # Errors
    /// `not-found`, `invalid` if it is not unique.
    pub fn inspect(&self, name: &str) -> Result<Network> {
        catalog::inspect(&self.0, name)
    }

    /// Removes a network.
    ///
    /// # Errors
    /// `not-found`; `denied` if it is predefined or in use.
    pub async fn remove(&self, name: &str) -> Result<()> {
        catalog::remove(&self.0, name).await
    }

    /// Removes all networks that are not in use. `used` are the names or ids that containers at rest are configured for.
    ///
    /// # Errors
    /// `invalid` for filters, `conflict` while another prune runs.
    pub async fn prune(&self, filters: &Filters, used: &[String]) -> Result<NetworkPruneResponse> {
        catalog::prune(&self.0, filters, used).await
    }

    /// Checks what a container asks for in a network; the network's id and name.
    ///
    /// # Errors
    /// `not-found`; `invalid` for addresses that the network does not have.
    pub fn check(&self, network: &str, settings: &EndpointSettings) -> Result<(String, String)> {
        catalog::check(&self.0, network, settings)
    }

    /// Sets up a container's network. After an error nothing of it is left.
    ///
    /// # Errors
    /// `not-found` for a network, `internal` for a port in use, `unavailable` when no address is left, …
    pub async fn open_sandbox(&self, request: &SandboxRequest) -> Result<Sandbox> {
        // Not in the caller's task: what was begun is finished, or undone, even if the caller goes away.
        let (shared, request) = (self.0.clone(), request.clone());
        let task = tokio::spawn(async move { sandbox::open(&shared, &request).await });
        task.await.map_err(|e| sheave_types::Error::internal(format!("the network set-up ended early: {e}")))?
    }

    /// Takes down a container's network, as much as there is of it. Called after its processes ended, and at recovery.
    ///
    /// # Errors
    /// Those of the kernel and of the database; it can be called again.
    pub async fn close_sandbox(&self, container: &Id) -> Result<()> {
        sandbox::close(&self.0, container).await
    }

    /// Joins a running container to a network.
    ///
    /// `names` are the container's name and host name.
    ///
    /// # Errors
    /// `denied` if it is in the network already, or has the host's namespace.
    pub async fn connect(
        &self,
        container: &Id,
        names: (&str, &str),
        request: &EndpointRequest,
    ) -> Result<EndpointState> {
        membership::connect(&self.0, container, names, request).await
    }

    /// Takes a running container out of a network.
    ///
    /// # Errors
    /// `denied` if it is not in it.
    pub async fn disconnect(&self, container: &Id, network: &str) -> Result<()> {
        membership::disconnect(&self.0, container, network).await
    }

    /// A container's endpoints and ports as they are now.
    ///
    /// # Errors
    /// Those of the database.
    pub fn endpoints(&self, container: &Id) -> Result<(Vec<EndpointState>, Vec<PublishedPort>)> {
        membership::endpoints(&self.0, container)
    }

    /// Changes the name of a running container in its networks' name servers.
    ///
    /// # Errors
    /// Those of the database.
    pub fn rename(&self, container: &Id, from: &str, to: &str) -> Result<()> {
        membership::rename(&self.0, container, from, to)
    }

    /// Answers a container's DNS queries again after the daemon was restarted. The sockets come from its shim.
    ///
    /// # Errors
    /// `not-found` if the container has no network.
    pub fn adopt(&self, container: &Id, sockets: &[OwnedFd], resolvers: &[IpAddr]) -> Result<()> {
        recovery::adopt(&self.0, container, sockets, resolvers)
    }

    /// Removes what no live container owns: rows, links, namespaces, published ports. Holds the ports of the live ones again.
    ///
    /// # Errors
    /// Those of the kernel and of the database; it can be called again.
    pub async fn reconcile(&self, live: &[Id]) -> Result<()> {
        let live: BTreeSet<String> = live.iter().map(ToString::to_string).collect();
        recovery::reconcile(&self.0, &live).await
    }

    /// Called when the engine stops. Where no container is connected, bridges and rules go, and come back at the next start
    /// from the networks' plans; where one is, everything stays, for it goes on.
    ///
    /// # Errors
    /// Those of the kernel and of the database.
    pub async fn close(&self) -> Result<()> {
        recovery::close(&self.0).await
    }

    /// What the operator should know about the host's firewall, for `/info`.
    pub fn warnings(&self) -> Vec<String> {
        self.0.held().warnings.clone()
    }

    /// The addresses of the default bridge on the host, for `host-gateway`.
    pub fn host_gateway(&self) -> Vec<IpAddr> {
        let network = self.0.held().find("bridge");
        let pools = network.map(|n| n.doc.ipam.config.clone().unwrap_or_default()).unwrap_or_default();
        pools.iter().filter_map(|p| p.gateway.parse().ok()).collect()
    }
}

impl std::fmt::Debug for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Networks")
    }
}
