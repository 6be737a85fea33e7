//! Networks for their routes.

use std::sync::Arc;

use async_trait::async_trait;
use sheave_api::Filters;
use sheave_api::networks::{
    Network, NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
    NetworkPruneResponse,
};
use sheave_http::routes::networks;
use sheave_network::Networks;
use sheave_supervisor::Supervisor;
use sheave_types::{ErrorKind, Id, Result};

/// The networks, and the containers in them, for the routes of networks.
pub struct NetworkRoutes {
    /// The networks.
    pub networks: Arc<Networks>,
    /// The containers.
    pub supervisor: Supervisor,
}

#[async_trait]
impl networks::Networks for NetworkRoutes {
    async fn create(&self, request: NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        self.networks.create(&request).await
    }

    async fn list(&self, filters: &Filters) -> Result<Vec<Network>> {
        self.networks.list(filters)
    }

    async fn inspect(&self, name: &str) -> Result<Network> {
        self.networks.inspect(name)
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.networks.remove(name).await
    }

    async fn prune(&self, filters: &Filters) -> Result<NetworkPruneResponse> {
        // A container at rest needs its networks when it is started again.
        let views = self.supervisor.views();
        let used: Vec<String> = views.iter().flat_map(|view| view.network.networks.keys().cloned()).collect();
        self.networks.prune(filters, &used).await
    }

    async fn connect(&self, network: &str, request: NetworkConnectRequest) -> Result<()> {
        let wishes = request.endpoint_config.unwrap_or_default();
        self.supervisor.connect(&request.container, network, wishes).await
    }

    async fn disconnect(&self, network: &str, request: NetworkDisconnectRequest) -> Result<()> {
        match self.supervisor.disconnect(&request.container, network).await {
            Err(error) if request.force && error.kind() == ErrorKind::NotFound => {
                // A container that is gone may have left its end behind.
                let shown = self.networks.inspect(network)?;
                let mut left =
                    shown.containers.iter().filter(|(id, c)| **id == request.container || c.name == request.container);
                let (id, _) = left.next().ok_or(error)?;
                self.networks.disconnect(&id.parse::<Id>()?, network).await
            }
            other => other,
        }
    }
}
