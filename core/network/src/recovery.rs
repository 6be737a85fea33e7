//! After a restart of the daemon.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use sheave_types::{Id, Result};

use crate::dns;
use crate::error::NetworkError;
use crate::kernel::executor::port_rules;
use crate::kernel::namespace;
use crate::kernel::ports::bind;
use crate::model::EndpointDoc;
use crate::sandbox::{blocking, netns_path, release};
use crate::shared::Shared;

/// Makes the engine's table anew with the ports that were published, before the networks are brought back. It is replaced in
/// one step, so that containers that went on running meanwhile notice nothing.
pub(crate) async fn load_ports(shared: &Arc<Shared>) -> Result<()> {
    let mut all = Vec::new();
    for row in shared.database.endpoints().all::<EndpointDoc>()? {
        if let (Some(plan), Some(IpAddr::V4(target))) = (&row.doc.plan, row.doc.state.ipv4.map(|p| p.address())) {
            all.push((row.id.clone(), port_rules(&plan.ports, target)?));
        }
    }
    shared
        .thread
        .run(move |executor| {
            for (endpoint, rules) in all {
                executor.remember_ports(&endpoint, rules);
            }
            executor.install()
        })
        .await?;
    Ok(())
}

/// See [`crate::Networks::reconcile`].
pub(crate) async fn reconcile(shared: &Arc<Shared>, live: &BTreeSet<String>) -> Result<()> {
    let mut owners: BTreeSet<String> = shared.held().networks.keys().cloned().collect();
    let mut endpoints = BTreeSet::new();
    let mut ports = Vec::new();
    for row in shared.database.endpoints().all::<EndpointDoc>()? {
        if !live.contains(&row.container) || !shared.held().networks.contains_key(&row.network) {
            tracing::info!(endpoint = row.id, container = row.container, "removing an endpoint of no live container");
            release(shared, row, true).await?;
            continue;
        }
        owners.insert(row.id.clone());
        endpoints.insert(row.id.clone());
        if row.doc.state.dns {
            let leads_out = shared.held().networks.get(&row.network).is_some_and(|n| !n.doc.internal);
            shared.directory.add(&row.container, &row.doc.state, leads_out);
        }
        let unheld = !shared.held().sockets.contains_key(&row.id);
        ports.extend(row.doc.ports.iter().filter(|_| unheld).map(|port| (row.id.clone(), *port)));
    }
    let sockets = shared
        .thread
        .run(move |executor| {
            executor.keep_ports(&endpoints);
            executor.remove_strays(&owners)?;
            executor.install()?;
            let mut sockets = Vec::new();
            for (endpoint, port) in ports {
                match bind(port.protocol, port.host_address, port.host_port) {
                    Ok(socket) => sockets.push((endpoint, socket)),
                    Err(error) => tracing::warn!(%error, ?port, "a published port was taken while the daemon was away"),
                }
            }
            Ok(sockets)
        })
        .await?;
    for (endpoint, socket) in sockets {
        shared.held().sockets.entry(endpoint).or_default().extend(socket);
    }
    remove_namespaces(shared, live).await
}

/// See [`crate::Networks::close`].
pub(crate) async fn close(shared: &Arc<Shared>) -> Result<()> {
    if shared.database.endpoints().all::<EndpointDoc>()?.iter().any(|row| row.doc.plan.is_some()) {
        return Ok(());
    }
    shared.thread.run(|executor| executor.leave()).await?;
    Ok(())
}

/// Unbinds the namespaces of containers that are not live.
async fn remove_namespaces(shared: &Arc<Shared>, live: &BTreeSet<String>) -> Result<()> {
    let directory = shared.config.exec_root.join("netns");
    let short: BTreeSet<String> = live.iter().filter_map(|id| id.get(..12).map(str::to_owned)).collect();
    blocking(move || {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(NetworkError::kernel(directory.display().to_string(), error).into()),
        };
        for entry in entries.flatten() {
            if !entry.file_name().to_str().is_some_and(|name| short.contains(name)) {
                namespace::remove(&entry.path())?;
            }
        }
        Ok(())
    })
    .await
}

/// See [`crate::Networks::adopt`].
pub(crate) fn adopt(shared: &Arc<Shared>, container: &Id, sockets: &[OwnedFd], resolvers: &[IpAddr]) -> Result<()> {
    if sockets.is_empty() {
        return Ok(());
    }
    for row in shared.database.endpoints().of_container::<EndpointDoc>(&container.to_string())? {
        if row.doc.state.dns {
            let leads_out = shared.held().networks.get(&row.network).is_some_and(|n| !n.doc.internal);
            shared.directory.add(&row.container, &row.doc.state, leads_out);
        }
    }
    let netns = namespace::open(&netns_path(shared, container))?;
    let netns = netns
        .ok_or_else(|| sheave_types::Error::not_found(format!("container {} has no network", container.short())))?;
    Ok(dns::serve(shared, container, sockets, resolvers, netns.as_fd())?)
}
