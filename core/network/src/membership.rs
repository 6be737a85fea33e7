//! A running container joins networks and leaves them.

use std::sync::Arc;

use sheave_metadata::Endpoint as Row;
use sheave_types::{Error, Id, Result};

use crate::error::NetworkError;
use crate::kernel::executor::Sandbox as KernelSandbox;
use crate::model::{EndpointDoc, EndpointRequest, EndpointState, Mode, PublishedPort, SandboxRequest};
use crate::sandbox::{
    attach, blocking, choose_default_route, interface_name, interface_prefix, netns_path, plan, release, reserve,
};
use crate::shared::Shared;

/// Joins a running container to a network.
pub(crate) async fn connect(
    shared: &Arc<Shared>,
    container: &Id,
    names: (&str, &str),
    settings: &EndpointRequest,
) -> Result<EndpointState> {
    let key = netns_path(shared, container);
    let rows = shared.database.endpoints().of_container::<EndpointDoc>(&container.to_string())?;
    if let Some(row) = rows.iter().find(|r| matches!(r.doc.state.network.as_str(), "host" | "none")) {
        return Err(NetworkError::forbidden(format!(
            "container cannot be connected to a network while it is in the network {}",
            row.doc.state.network
        ))
        .into());
    }
    let network = shared.held().find(&settings.network)?;
    if matches!(network.doc.driver.as_str(), "host" | "null") {
        return Err(NetworkError::forbidden(format!(
            "a running container cannot be connected to the network {}",
            network.name
        ))
        .into());
    }
    if rows.iter().any(|r| r.network == network.id) {
        return Err(NetworkError::forbidden(format!(
            "endpoint with name {} already exists in network {}",
            names.0, network.name
        ))
        .into());
    }
    let sandbox = blocking(move || Ok(KernelSandbox::open(&key)?)).await?;
    let sandbox = sandbox.ok_or_else(|| Error::conflict(format!("container {} is not running", container.short())))?;
    let request = SandboxRequest {
        container: *container,
        name: names.0.to_owned(),
        hostname: names.1.to_owned(),
        mode: Mode::Networks,
        endpoints: Vec::new(),
        ports: Vec::new(),
        dns: Vec::new(),
    };
    let used: Vec<String> = rows.iter().map(|r| r.doc.state.interface.clone()).collect();
    let name = interface_name(settings, &interface_prefix(shared, settings), &used);
    let mut joining = reserve(shared, &request, settings, &name)?;
    if !rows.iter().any(|r| r.doc.default_route) {
        choose_default_route(std::slice::from_mut(&mut joining));
    }
    let id = joining.row.id.clone();
    let joined = async {
        let plan = plan(shared, &joining, &[]).await?;
        attach(shared, sandbox, &mut joining, plan, &[]).await
    };
    if let Err(error) = joined.await {
        undo_endpoint(shared, container, &id).await;
        return Err(error);
    }
    shared.event("connect", &network, Some(&container.to_string()));
    Ok(joining.row.doc.state)
}

async fn undo_endpoint(shared: &Arc<Shared>, container: &Id, endpoint: &str) {
    let rows = shared.database.endpoints().of_container::<EndpointDoc>(&container.to_string());
    let row = rows.ok().and_then(|rows| rows.into_iter().find(|r| r.id == endpoint));
    if let Some(row) = row
        && let Err(error) = release(shared, row, true).await
    {
        tracing::error!(%error, endpoint, "an endpoint that failed is not undone");
    }
}

/// Takes a running container out of a network. Another of its networks takes over the default route.
pub(crate) async fn disconnect(shared: &Arc<Shared>, container: &Id, name: &str) -> Result<()> {
    let network = shared.held().find(name)?;
    if matches!(network.doc.driver.as_str(), "host" | "null") {
        return Err(NetworkError::forbidden(format!(
            "container cannot be disconnected from {} network - network mode is set at container creation",
            network.name
        ))
        .into());
    }
    let rows = shared.database.endpoints().of_container::<EndpointDoc>(&container.to_string())?;
    let (mut here, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|r| r.network == network.id);
    let Some(row) = here.pop() else {
        return Err(NetworkError::NotConnected { container: container.short(), network: network.name.clone() }.into());
    };
    let had_route = row.doc.default_route;
    release(shared, row, true).await?;
    if had_route {
        move_default_route(shared, container, others).await?;
    }
    Ok(())
}

/// Gives the default route to the first of these endpoints whose network leads out.
async fn move_default_route(shared: &Arc<Shared>, container: &Id, rows: Vec<Row<EndpointDoc>>) -> Result<()> {
    let leads_out = |row: &Row<EndpointDoc>| {
        let network = shared.held().networks.get(&row.network).cloned();
        network.is_some_and(|n| !n.doc.internal) && row.doc.state.gateway.is_some()
    };
    let Some(mut row) = rows.into_iter().find(|r| leads_out(r)) else { return Ok(()) };
    let key = netns_path(shared, container);
    let Some(mut sandbox) = blocking(move || Ok(KernelSandbox::open(&key)?)).await? else { return Ok(()) };
    let state = row.doc.state.clone();
    shared
        .thread
        .run(move |_| {
            let links = sandbox.routes().up(&[&state.interface])?;
            let index = links.first().map(|l| l.index).unwrap_or_default();
            sandbox.default_routes(index, [state.gateway, state.gateway6])
        })
        .await?;
    row.doc.default_route = true;
    Ok(shared.database.endpoints().put(&row)?)
}

/// See [`crate::Networks::endpoints`].
pub(crate) fn endpoints(shared: &Shared, container: &Id) -> Result<(Vec<EndpointState>, Vec<PublishedPort>)> {
    let mut rows = shared.database.endpoints().of_container::<EndpointDoc>(&container.to_string())?;
    rows.sort_by(|a, b| a.doc.state.interface.cmp(&b.doc.state.interface));
    let ports = rows.iter().flat_map(|r| r.doc.ports.iter().copied()).collect();
    Ok((rows.into_iter().map(|r| r.doc.state).collect(), ports))
}

/// See [`crate::Networks::rename`].
pub(crate) fn rename(shared: &Shared, container: &Id, from: &str, to: &str) -> Result<()> {
    for mut row in shared.database.endpoints().of_container::<EndpointDoc>(&container.to_string())? {
        to.clone_into(&mut row.doc.container_name);
        for name in row.doc.state.names.iter_mut().filter(|n| *n == from) {
            to.clone_into(name);
        }
        shared.database.endpoints().put(&row)?;
        if row.doc.state.dns {
            let leads_out = shared.held().networks.get(&row.network).is_some_and(|n| !n.doc.internal);
            shared.directory.add(&row.container, &row.doc.state, leads_out);
        }
    }
    Ok(())
}
