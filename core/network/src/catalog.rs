//! The networks themselves: made, listed, removed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use sheave_api::containers::EndpointSettings;
use sheave_api::networks::{
    ConfigReference, Ipam, IpamPool, Network as ApiNetwork, NetworkContainer, NetworkCreateRequest,
    NetworkCreateResponse, NetworkPruneResponse,
};
use sheave_api::{Filters, timestamp};
use sheave_metadata::NetworkRow;
use sheave_types::{Error, Id, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::NetworkError;
use crate::ipam::{Prefix, Range, choose_pool};
use crate::model::{EndpointDoc, Network, NetworkDoc};
use crate::shared::{Held, Shared, spec};

/// The filters of lists.
const FILTERS: &[&str] = &["driver", "id", "label", "name", "scope", "type", "dangling"];
/// The filters of prunes.
const PRUNE_FILTERS: &[&str] = &["until", "label", "label!"];
/// Names that nobody may take.
const RESERVED: [&str; 4] = ["bridge", "host", "none", "default"];

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// A network that is to be made.
struct Coming {
    id: String,
    name: String,
    doc: NetworkDoc,
}

/// Makes a network.
pub(crate) async fn create(shared: &Arc<Shared>, request: &NetworkCreateRequest) -> Result<NetworkCreateResponse> {
    let name = request.name.as_str();
    check_name(name)?;
    let doc = document(shared, request).await?;
    let coming = Coming { id: Id::random().to_string(), name: name.to_owned(), doc };
    let network = make(shared, coming).await?;
    shared.event("create", &network, None);
    Ok(NetworkCreateResponse { id: network.id.clone(), warning: String::new() })
}

fn check_name(name: &str) -> Result<()> {
    if RESERVED.contains(&name) {
        return Err(NetworkError::Predefined(name.to_owned()).into());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let good = name.bytes().all(allowed) && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !good || name.len() > 255 {
        return Err(NetworkError::invalid(format!(
            "invalid network name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed"
        ))
        .into());
    }
    Ok(())
}

async fn document(shared: &Arc<Shared>, request: &NetworkCreateRequest) -> Result<NetworkDoc> {
    let driver = if request.driver.is_empty() || request.driver == "default" { "bridge" } else { &request.driver };
    if request.ingress || matches!(request.scope.as_str(), "swarm" | "global") {
        return Err(Error::new(
            sheave_types::ErrorKind::Unavailable,
            "This node is not a swarm manager. Networks of a cluster need one",
        ));
    }
    let mut options = request.options.clone();
    let mut ipam = request.ipam.clone().unwrap_or_default();
    let mut from = String::new();
    let (mut internal, mut ipv6) = (request.internal, request.enable_ipv6);
    if let Some(reference) = request.config_from.as_ref().filter(|r| !r.network.is_empty()) {
        let base = shared.held().find(&reference.network)?;
        if !base.doc.config_only {
            return Err(NetworkError::forbidden(format!(
                "network {} is not a configuration only network",
                reference.network
            ))
            .into());
        }
        from.clone_from(&base.name);
        options.clone_from(&base.doc.options);
        ipam = base.doc.ipam.clone();
        internal = base.doc.internal;
        ipv6 = Some(base.doc.ipv6);
    }
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return Err(Error::not_found(format!("invalid ipam driver: {}", ipam.driver)));
    }
    let flag = |key: &str| options.get(key).map(|v| !matches!(v.as_str(), "0" | "f" | "false" | "False" | "FALSE"));
    let ipv4 = request.enable_ipv4.or(flag("com.docker.network.enable_ipv4")).unwrap_or(true);
    let ipv6 = ipv6.or(flag("com.docker.network.enable_ipv6")).unwrap_or(false);
    let internal = internal || flag("com.docker.network.internal").unwrap_or(false);
    if !request.config_only {
        let capabilities = shared.driver(driver)?.capabilities().await?;
        if !capabilities.creatable {
            let what = if driver == "null" { "none" } else { driver };
            return Err(NetworkError::forbidden(format!("only one instance of \"{what}\" network is allowed")).into());
        }
        check_options(driver, &options, &capabilities.options)?;
    }
    check_pools(&ipam, ipv4, ipv6)?;
    ipam.driver = "default".to_owned();
    let user_subnet = ipam.config.iter().flatten().any(|p| !p.subnet.is_empty());
    Ok(NetworkDoc {
        created: now(),
        driver: driver.to_owned(),
        ipv4,
        ipv6,
        internal,
        attachable: request.attachable,
        config_only: request.config_only,
        config_from: from,
        predefined: false,
        user_subnet,
        ipam,
        options,
        labels: request.labels.clone(),
    })
}

fn check_options(driver: &str, options: &BTreeMap<String, String>, known: &[String]) -> Result<()> {
    const CORE: [&str; 3] =
        ["com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6", "com.docker.network.internal"];
    let fits = |option: &str, pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => option.starts_with(start),
        None => option == pattern,
    };
    let unknown = options.keys().find(|o| {
        // Options of others are for others: Docker ignores what its driver does not know outside of its own names.
        o.starts_with("com.docker.network.") && !CORE.contains(&o.as_str()) && !known.iter().any(|k| fits(o, k))
    });
    match unknown {
        Some(option) => {
            Err(NetworkError::invalid(format!("the network driver {driver} does not know the option {option}")).into())
        }
        None => Ok(()),
    }
}

/// Checks that a request's pools fit together.
fn check_pools(ipam: &Ipam, ipv4: bool, ipv6: bool) -> Result<(), NetworkError> {
    for pool in ipam.config.iter().flatten() {
        if pool.subnet.is_empty() {
            if !pool.ip_range.is_empty() || !pool.gateway.is_empty() || !pool.auxiliary_addresses.is_empty() {
                return Err(NetworkError::invalid("invalid network config: a pool without a subnet"));
            }
            continue;
        }
        let invalid = |what: String| NetworkError::invalid(format!("invalid network config:\n{what}"));
        let bad = |_| invalid(format!("invalid subnet {}: invalid CIDR block notation", pool.subnet));
        let subnet: Prefix = pool.subnet.parse().map_err(bad)?;
        if subnet != subnet.network() {
            return Err(invalid(format!("invalid subnet {subnet}: it should be {}", subnet.network())));
        }
        let v4 = subnet.address().is_ipv4();
        if v4 && !ipv4 || !v4 && !ipv6 {
            let family = if v4 { "IPv4" } else { "IPv6" };
            return Err(invalid(format!("invalid subnet {subnet}: {family} has not been enabled for this network")));
        }
        if !pool.ip_range.is_empty() {
            let range: Prefix = pool
                .ip_range
                .parse()
                .map_err(|_| invalid(format!("invalid ip-range {}: invalid CIDR block notation", pool.ip_range)))?;
            if range.length() < subnet.length() || !subnet.contains(range.address()) {
                return Err(invalid(format!(
                    "invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"
                )));
            }
        }
        let gateway = (!pool.gateway.is_empty()).then_some(("gateway", &pool.gateway));
        let others = pool.auxiliary_addresses.values().map(|a| ("auxiliary address", a));
        for (what, text) in gateway.into_iter().chain(others) {
            let address: IpAddr =
                text.parse().map_err(|_| invalid(format!("invalid {what} {text}: invalid address")))?;
            if !subnet.contains(address) {
                return Err(invalid(format!(
                    "invalid {what} {text}: parent subnet {subnet} doesn't contain this address"
                )));
            }
        }
    }
    Ok(())
}

/// The subnets of pools.
fn subnets(ipam: &Ipam) -> Vec<Prefix> {
    ipam.config.iter().flatten().filter_map(|p| p.subnet.parse().ok()).collect()
}

/// Fills in pools and gateways that were not given, and keeps name and subnets from being taken meanwhile.
fn claim(held: &mut Held, coming: &mut Coming, routes: &[Prefix]) -> Result<(), NetworkError> {
    let taken_name = held.networks.values().map(|n| &n.name).chain(held.coming.iter().map(|(n, _)| n));
    if taken_name.into_iter().any(|n| *n == coming.name) {
        return Err(NetworkError::NameInUse(coming.name.clone()));
    }
    let used: Vec<Prefix> = held
        .networks
        .values()
        .filter(|n| !n.doc.config_only)
        .flat_map(|n| subnets(&n.doc.ipam))
        .chain(held.coming.iter().flat_map(|(_, s)| s.iter().copied()))
        .collect();
    let doc = &mut coming.doc;
    if !doc.config_only {
        let mut pools = doc.ipam.config.take().unwrap_or_default();
        pools.retain(|p| !p.subnet.is_empty());
        let given: Vec<Prefix> = pools.iter().filter_map(|p| p.subnet.parse().ok()).collect();
        if given.iter().any(|g| used.iter().any(|u| u.overlaps(*g))) {
            return Err(NetworkError::PoolOverlaps);
        }
        let missing = |v4: bool| !given.iter().any(|g| g.address().is_ipv4() == v4);
        if doc.ipv4 && missing(true) {
            let taken: Vec<Prefix> = used.iter().chain(routes).copied().collect();
            let pool = choose_pool(&taken).ok_or(NetworkError::NoPool)?;
            pools.insert(0, IpamPool { subnet: pool.to_string(), ..IpamPool::default() });
        }
        if doc.ipv6 && missing(false) {
            pools.push(IpamPool { subnet: unique_local(&used)?.to_string(), ..IpamPool::default() });
        }
        for pool in pools.iter_mut().filter(|p| p.gateway.is_empty()) {
            let subnet: Prefix = pool.subnet.parse()?;
            let range = Range::new(subnet, None).ok_or(NetworkError::NoPool)?;
            pool.gateway = range.first().to_string();
        }
        doc.ipam.config = Some(pools);
    }
    held.coming.push((coming.name.clone(), subnets(&coming.doc.ipam)));
    Ok(())
}

/// A random unique local IPv6 network (RFC 4193).
fn unique_local(used: &[Prefix]) -> Result<Prefix, NetworkError> {
    for _ in 0..16 {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes[1..8])
            .map_err(|e| NetworkError::kernel("random bytes", std::io::Error::other(e.to_string())))?;
        bytes[0] = 0xfd;
        if let Some(prefix) = Prefix::new(IpAddr::from(bytes), 64)
            && !used.iter().any(|u| u.overlaps(prefix))
        {
            return Ok(prefix);
        }
    }
    Err(NetworkError::NoPool)
}

/// Makes a network that is not there yet; undone after an error.
async fn make(shared: &Arc<Shared>, mut coming: Coming) -> Result<Arc<Network>> {
    let needs_pool = coming.doc.ipv4 && !coming.doc.user_subnet && !coming.doc.config_only;
    let routes = if needs_pool { shared.thread.run(|e| e.route_destinations()).await? } else { Vec::new() };
    claim(&mut shared.held(), &mut coming, &routes)?;
    let name = coming.name.clone();
    let made = realise(shared, coming, true).await;
    let mut held = shared.held();
    held.coming.retain(|(n, _)| *n != name);
    let network = made?;
    held.networks.insert(network.id.clone(), network.clone());
    Ok(network)
}

/// Brings a network into the kernel, and into the database if it is `new`.
async fn realise(shared: &Arc<Shared>, coming: Coming, new: bool) -> Result<Arc<Network>> {
    let Coming { id, name, doc } = coming;
    let row = NetworkRow { id: id.clone(), name: name.clone(), doc: doc.clone() };
    if doc.config_only {
        if new {
            shared.database.networks().insert(&row)?;
        }
        return Ok(Arc::new(Network { id, name, doc, plan: no_plan() }));
    }
    let driver = shared.driver(&doc.driver)?;
    let planned = driver.create(spec(&id, &name, &doc)).await?;
    // The row comes first: whatever the kernel has by then is found again after a crash.
    if new {
        shared.database.networks().insert(&row)?;
    }
    let plan = (*planned).clone();
    let (executed, key) = (plan.clone(), id.clone());
    let done = shared
        .thread
        .run(move |executor| {
            let result = executor.create_network(&key, &executed);
            if result.is_err() && new {
                executor.remove_network(&key, &executed)?;
            }
            result
        })
        .await;
    match done {
        Ok(warnings) => {
            planned.commit()?;
            shared.held().warnings = warnings;
            Ok(Arc::new(Network { id, name, doc, plan }))
        }
        Err(error) => {
            if new {
                shared.database.networks().remove(&id)?;
            }
            Err(error.into())
        }
    }
}

fn no_plan() -> sheave_plugin::network::Plan {
    sheave_plugin::network::Plan {
        links: Vec::new(),
        addresses: Vec::new(),
        routes: Vec::new(),
        sysctls: Vec::new(),
        masquerade: Vec::new(),
        policies: Vec::new(),
        ports: Vec::new(),
        dns: false,
        host_namespace: false,
    }
}

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
