//! A network is made: the request checked, pools found, the plan executed, the row written.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use sheave_api::networks::{Ipam, IpamPool, NetworkCreateRequest, NetworkCreateResponse};
use sheave_metadata::NetworkRow;
use sheave_types::{Error, Id, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::NetworkError;
use crate::ipam::{Prefix, Range, choose_pool};
use crate::model::{Network, NetworkDoc};
use crate::shared::{Held, Shared, spec};

/// Names that nobody may take.
const RESERVED: [&str; 4] = ["bridge", "host", "none", "default"];

/// The time as Docker writes it.
pub(crate) fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// A network that is to be made.
pub(crate) struct Coming {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) doc: NetworkDoc,
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
pub(crate) fn subnets(ipam: &Ipam) -> Vec<Prefix> {
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
pub(crate) async fn make(shared: &Arc<Shared>, mut coming: Coming) -> Result<Arc<Network>> {
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
pub(crate) async fn realise(shared: &Arc<Shared>, coming: Coming, new: bool) -> Result<Arc<Network>> {
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

/// A plan of nothing.
pub(crate) fn no_plan() -> sheave_plugin::network::Plan {
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
