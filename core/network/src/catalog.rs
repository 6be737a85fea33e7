//! The networks themselves: brought back after a restart, listed, removed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use sheave_api::containers::EndpointSettings;
use sheave_api::networks::{
    ConfigReference, Ipam, IpamPool, Network as ApiNetwork, NetworkContainer, NetworkPruneResponse,
};
use sheave_api::{Filters, timestamp};
use sheave_types::{Error, Id, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::create::{Coming, make, no_plan, now, realise, subnets};
use crate::error::NetworkError;
use crate::ipam::Prefix;
use crate::model::{EndpointDoc, Network, NetworkDoc};
use crate::shared::Shared;

/// The filters of lists.
const FILTERS: &[&str] = &["driver", "id", "label", "name", "scope", "type", "dangling"];
/// The filters of prunes.
const PRUNE_FILTERS: &[&str] = &["until", "label", "label!"];
/// Brings all networks of the database back, and makes the predefined ones if they are missing.
///
/// A network that cannot be brought back is logged and kept, so that it can be removed.
pub(crate) async fn load(shared: &Arc<Shared>) -> Result<()> {
    for row in shared.database.networks().all::<NetworkDoc>()? {
        if row.doc.predefined && row.name == "bridge" && !fits_config(shared, &row.doc) {
            // The configuration changed: the default network is made anew. Its containers are given new ends by it.
            shared.database.networks().remove(&row.id)?;
            continue;
        }
        let coming = Coming { id: row.id.clone(), name: row.name.clone(), doc: row.doc.clone() };
        let network = match realise(shared, coming, false).await {
            Ok(network) => network,
            Err(error) => {
                tracing::error!(network = row.name, %error, "a network cannot be brought back");
                Arc::new(Network { id: row.id, name: row.name, doc: row.doc, plan: no_plan() })
            }
        };
        shared.held().networks.insert(network.id.clone(), network);
    }
    for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
        let missing = !shared.held().networks.values().any(|n| n.name == name);
        if missing {
            let coming =
                Coming { id: Id::random().to_string(), name: name.to_owned(), doc: predefined(shared, driver) };
            make(shared, coming).await.map_err(|e| e.context(format!("network {name}")))?;
        }
    }
    Ok(())
}

fn fits_config(shared: &Shared, doc: &NetworkDoc) -> bool {
    let name = doc.options.get("com.docker.network.bridge.name");
    let subnet = shared.config.bip.map(|bip| (bip.network().to_string(), bip.address().to_string()));
    let pool = doc.ipam.config.iter().flatten().next();
    name == Some(&shared.config.bridge)
        && subnet.is_none_or(|(s, g)| pool.is_some_and(|p| p.subnet == s && p.gateway == g))
}

fn predefined(shared: &Shared, driver: &str) -> NetworkDoc {
    let bridge = driver == "bridge";
    let option = |key: &str, value: &str| (format!("com.docker.network.{key}"), value.to_owned());
    let options = BTreeMap::from([
        option("bridge.default_bridge", "true"),
        option("bridge.enable_icc", "true"),
        option("bridge.enable_ip_masquerade", "true"),
        option("bridge.host_binding_ipv4", "0.0.0.0"),
        option("bridge.name", &shared.config.bridge),
        option("driver.mtu", "1500"),
    ]);
    let pools = shared.config.bip.map(|bip| {
        let (subnet, gateway) = (bip.network().to_string(), bip.address().to_string());
        vec![IpamPool { subnet, gateway, ..IpamPool::default() }]
    });
    NetworkDoc {
        created: now(),
        driver: driver.to_owned(),
        ipv4: bridge,
        ipv6: false,
        internal: false,
        attachable: false,
        config_only: false,
        config_from: String::new(),
        predefined: true,
        user_subnet: false,
        ipam: Ipam { driver: "default".to_owned(), options: None, config: if bridge { pools } else { None } },
        options: if bridge { options } else { BTreeMap::new() },
        labels: BTreeMap::new(),
    }
}

/// Removes a network that nothing is attached to.
pub(crate) async fn remove(shared: &Arc<Shared>, name: &str) -> Result<()> {
    let network = {
        let mut held = shared.held();
        let network = held.find(name)?;
        if network.doc.predefined {
            return Err(NetworkError::forbidden(format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            ))
            .into());
        }
        let endpoints = shared.database.endpoints().of_network::<EndpointDoc>(&network.id)?;
        if !endpoints.is_empty() {
            let list: Vec<String> = endpoints
                .iter()
                .map(|e| format!("name:{:?} id:{:?}", e.doc.container_name, e.id.get(..12).unwrap_or(&e.id)))
                .collect();
            let (name, endpoints) = (network.name.clone(), list.join(", "));
            return Err(NetworkError::ActiveEndpoints { name, endpoints }.into());
        }
        // Out of the map and the database in one go: nobody joins from here on, and what is left in the kernel after a
        // crash belongs to nobody.
        shared.database.networks().remove(&network.id)?;
        shared.database.leases().release_network(&network.id)?;
        held.networks.remove(&network.id);
        held.cursors.retain(|(id, _), _| *id != network.id);
        network
    };
    if !network.doc.config_only {
        let driver = shared.driver(&network.doc.driver)?;
        if let Err(error) = driver.delete(network.id.clone()).await {
            tracing::warn!(%error, network = network.name, "the network driver did not delete");
        }
        let (id, plan) = (network.id.clone(), network.plan.clone());
        shared.thread.run(move |executor| executor.remove_network(&id, &plan)).await?;
    }
    shared.event("destroy", &network, None);
    Ok(())
}

/// The networks that fit these filters, without their containers.
pub(crate) fn list(shared: &Shared, filters: &Filters) -> Result<Vec<ApiNetwork>> {
    filters.check(FILTERS)?;
    let patterns = |key: &str| -> Result<Vec<regex_lite::Regex>> {
        let compile = |p: &String| {
            regex_lite::Regex::new(p).map_err(|e| Error::invalid(format!("invalid filter '{key}': {p:?}: {e}")))
        };
        filters.get(key).iter().map(compile).collect()
    };
    let (names, ids) = (patterns("name")?, patterns("id")?);
    if let Some(bad) = filters.get("type").iter().find(|t| !matches!(t.as_str(), "custom" | "builtin")) {
        return Err(Error::invalid(format!("invalid filter: 'type'='{bad}'")));
    }
    let dangling = filters.flag("dangling")?;
    let networks: Vec<Arc<Network>> = shared.held().networks.values().cloned().collect();
    let mut found = Vec::new();
    for network in networks {
        let fits = (names.is_empty() || names.iter().any(|p| p.is_match(&network.name)))
            && (ids.is_empty() || ids.iter().any(|p| p.is_match(&network.id)))
            && filters.any("driver", |d| d == network.doc.driver)
            && filters.any("scope", |s| s == "local")
            && filters.any("type", |t| (t == "builtin") == network.doc.predefined)
            && filters.labels(|key| network.doc.labels.get(key).map(String::as_str));
        if !fits {
            continue;
        }
        if let Some(dangling) = dangling {
            let unused = shared.database.endpoints().of_network::<EndpointDoc>(&network.id)?.is_empty();
            if dangling != (unused && !network.doc.predefined) {
                continue;
            }
        }
        found.push(shown(&network));
    }
    found.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    Ok(found)
}

fn shown(network: &Network) -> ApiNetwork {
    let doc = &network.doc;
    ApiNetwork {
        name: network.name.clone(),
        id: network.id.clone(),
        created: doc.created.clone(),
        scope: "local".to_owned(),
        driver: doc.driver.clone(),
        enable_ipv4: doc.ipv4,
        enable_ipv6: doc.ipv6,
        ipam: Ipam { config: Some(doc.ipam.config.clone().unwrap_or_default()), ..doc.ipam.clone() },
        internal: doc.internal,
        attachable: doc.attachable,
        ingress: false,
        config_from: ConfigReference { network: doc.config_from.clone() },
        config_only: doc.config_only,
        containers: BTreeMap::new(),
        options: doc.options.clone(),
        labels: doc.labels.clone(),
    }
}

/// One network with its containers.
pub(crate) fn inspect(shared: &Shared, name: &str) -> Result<ApiNetwork> {
    let network = shared.held().find(name)?;
    let mut shown = shown(&network);
    for endpoint in shared.database.endpoints().of_network::<EndpointDoc>(&network.id)? {
        let text = |prefix: Option<Prefix>| prefix.map(|p| p.to_string()).unwrap_or_default();
        let state = endpoint.doc.state;
        let container = NetworkContainer {
            name: endpoint.doc.container_name,
            endpoint_id: endpoint.id,
            mac_address: state.mac,
            ipv4_address: text(state.ipv4),
            ipv6_address: text(state.ipv6),
        };
        shown.containers.insert(endpoint.container, container);
    }
    Ok(shown)
}

/// Removes the networks that nothing is attached to and that fit the filters. `used` are those that containers at rest
/// are configured for.
pub(crate) async fn prune(shared: &Arc<Shared>, filters: &Filters, used: &[String]) -> Result<NetworkPruneResponse> {
    filters.check(PRUNE_FILTERS)?;
    let now = i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos()).unwrap_or(i64::MAX);
    let until = match filters.get("until") {
        [] => None,
        [text] => Some(timestamp::parse(text, now)?),
        _ => return Err(Error::invalid("more than one until filter specified")),
    };
    if std::mem::replace(&mut shared.held().pruning, true) {
        return Err(Error::conflict("a prune operation is already running"));
    }
    let result = prune_now(shared, filters, until, used).await;
    shared.held().pruning = false;
    result
}

async fn prune_now(
    shared: &Arc<Shared>,
    filters: &Filters,
    until: Option<i64>,
    used: &[String],
) -> Result<NetworkPruneResponse> {
    let networks: Vec<Arc<Network>> = shared.held().networks.values().cloned().collect();
    let mut deleted = Vec::new();
    for network in networks {
        let young = until.is_some_and(|until| {
            let created = OffsetDateTime::parse(&network.doc.created, &Rfc3339);
            created.is_ok_and(|c| c.unix_timestamp_nanos() > i128::from(until))
        });
        let wanted = used.iter().any(|u| *u == network.name || *u == network.id);
        let labelled = filters.labels(|key| network.doc.labels.get(key).map(String::as_str));
        if network.doc.predefined || young || wanted || !labelled {
            continue;
        }
        match remove(shared, &network.id).await {
            Ok(()) => deleted.push(network.name.clone()),
            Err(error) => tracing::debug!(%error, network = network.name, "not pruned"),
        }
    }
    deleted.sort();
    let pruned = sheave_telemetry::events::EventKind::Network;
    let attributes = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
    shared.events.publish(sheave_telemetry::events::Event::now(pruned, "prune", String::new(), attributes));
    Ok(NetworkPruneResponse { networks_deleted: (!deleted.is_empty()).then_some(deleted) })
}

/// Checks what a container asks for in a network before it is recorded: the network is there and could be joined.
pub(crate) fn check(shared: &Shared, name: &str, settings: &EndpointSettings) -> Result<(String, String)> {
    let network = shared.held().find(name)?;
    if network.doc.config_only {
        return Err(NetworkError::forbidden("configuration only networks cannot be connected to").into());
    }
    if !settings.mac_address.is_empty() {
        crate::kernel::executor::parse_mac(&settings.mac_address)?;
    }
    let fixed = settings.ipam_config.iter().flat_map(|c| [&c.ipv4_address, &c.ipv6_address]);
    for text in fixed.filter(|t| !t.is_empty()) {
        let address: IpAddr = text.parse().map_err(|_| NetworkError::invalid(format!("invalid IP address: {text}")))?;
        if !network.doc.user_subnet {
            return Err(NetworkError::invalid(
                "user specified IP address is supported only when connecting to networks with user configured subnets",
            )
            .into());
        }
        if !subnets(&network.doc.ipam).iter().any(|s| s.contains(address)) {
            return Err(NetworkError::invalid(format!("no configured subnet contains IP address {address}")).into());
        }
    }
    Ok((network.id.clone(), network.name.clone()))
}
