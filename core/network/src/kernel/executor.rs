//! Executes plans. One instance, owned by the network thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};

use sheave_plugin::network::{Link, Plan, PortMap};

use super::nft::{NetworkRules, NftSocket, PortRule, Ruleset};
use super::route::{LinkState, NewRoute, NewVeth, RouteSocket};
use super::{foreign, namespace, sysctl};
use crate::error::{NetworkError, Result};
use crate::ipam::Prefix;

/// A container's namespace as the executor works with it.
pub(crate) struct Sandbox {
    /// Keeps the namespace alive and names it to the kernel.
    pub(crate) namespace: OwnedFd,
    route: RouteSocket,
    /// New links have no IPv6 by themselves, so that it need not be turned off one by one.
    without_ipv6: bool,
}

/// An interface that was made inside of a container.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) mac: Vec<u8>,
}

/// Changes the host's network.
pub(crate) struct Executor {
    engine: String,
    route: RouteSocket,
    nft: NftSocket,
    rules: Ruleset,
    /// Whether containers of the network of a bridge are kept apart.
    separated: BTreeMap<String, bool>,
    bridges: BTreeMap<String, u32>,
}

const IPV6_OFF: &str = "net.ipv6.conf.default.disable_ipv6";

/// A name in the kernel that may come from a plugin: 1 to 15 bytes without `/` and white space.
fn check_name(name: &str) -> Result<()> {
    let bad = |b: u8| b == b'/' || b == b':' || b == b'%' || b.is_ascii_whitespace() || b == 0;
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.bytes().any(bad) {
        return Err(NetworkError::invalid(format!("invalid interface name {name:?}")));
    }
    Ok(())
}

impl Executor {
    /// For the calling thread's network namespace.
    pub(crate) fn new(engine: String) -> Result<Self> {
        let table = format!("sheave-{}", engine.get(..12).unwrap_or(&engine));
        Ok(Self {
            route: RouteSocket::open()?,
            nft: NftSocket::open()?,
            rules: Ruleset::new(table),
            engine,
            separated: BTreeMap::new(),
            bridges: BTreeMap::new(),
        })
    }

    fn alias(&self, what: &str) -> String {
        format!("sheave/{}/{what}", self.engine)
    }

    /// Replaces the engine's table by what is known now.
    pub(crate) fn install(&mut self) -> Result<()> {
        self.nft.commit(self.rules.install(), "table")
    }

    /// Removes all that this engine has in the host's namespace: rules, accepts in the chains of others, links.
    pub(crate) fn leave(&mut self) -> Result<()> {
        foreign::reconcile(&mut self.nft, self.rules.table(), &self.engine, &BTreeSet::new())?;
        self.nft.commit(self.rules.uninstall(), "table")?;
        self.remove_strays(&BTreeSet::new())?;
        Ok(())
    }

    /// The destinations that the host has routes to.
    pub(crate) fn route_destinations(&mut self) -> Result<Vec<Prefix>> {
        self.route.route_destinations()
    }

    /// Makes what a network's plan says be there. What is there already is kept.
    pub(crate) fn create_network(&mut self, id: &str, plan: &Plan) -> Result<Vec<String>> {
        self.check_host_plan(plan)?;
        for link in &plan.links {
            if let Link::Bridge(bridge) = link {
                self.ensure_bridge(id, &bridge.name, bridge.mtu)?;
            }
        }
        let mut addresses = Vec::new();
        for address in &plan.addresses {
            let index = self.bridge_index(&address.link)?;
            addresses.push((index, address.address.parse::<Prefix>()?));
        }
        self.route.configure(&addresses, &[])?;
        for change in &plan.sysctls {
            sysctl::write(&change.key, &change.value)?;
        }
        let mut rules = NetworkRules::default();
        for policy in &plan.policies {
            self.bridge_index(&policy.link)?;
            sysctl::write(&format!("net.ipv4.conf.{}.route_localnet", policy.link.replace('.', "/")), "1")?;
            self.separated.insert(policy.link.clone(), super::nft::separates(policy.forwarding));
            rules.policies.push((policy.link.clone(), policy.forwarding));
        }
        for masquerade in &plan.masquerade {
            check_name(&masquerade.except_link)?;
            rules.masquerade.push((masquerade.subnet.parse::<Prefix>()?.network(), masquerade.except_link.clone()));
        }
        self.rules.set_network(id, rules);
        self.nft.commit(self.rules.update_networks(), "network")?;
        self.foreign()
    }

    /// Brings our accepts in the chains of others up to date; warnings for `/info`.
    pub(crate) fn foreign(&mut self) -> Result<Vec<String>> {
        let bridges = self.rules.bridges();
        foreign::reconcile(&mut self.nft, self.rules.table(), &self.engine, &bridges)
    }

    /// Removes what a network's plan made. What is not there is not an error.
    pub(crate) fn remove_network(&mut self, id: &str, plan: &Plan) -> Result<()> {
        self.rules.forget_network(id);
        self.nft.commit(self.rules.update_networks(), "network")?;
        self.foreign()?;
        let alias = self.alias(id);
        for link in &plan.links {
            if let Link::Bridge(bridge) = link {
                self.bridges.remove(&bridge.name);
                self.separated.remove(&bridge.name);
                let found = self.route.find(&bridge.name)?;
                if found.is_some_and(|l| l.alias.as_deref() == Some(&alias)) {
                    self.route.remove(&bridge.name)?;
                }
            }
        }
        Ok(())
    }

    fn check_host_plan(&self, plan: &Plan) -> Result<()> {
        for link in &plan.links {
            match link {
                Link::Bridge(bridge) => check_name(&bridge.name)?,
                other => return Err(unsupported(other, "a network")),
            }
        }
        for change in &plan.sysctls {
            if !change.key.starts_with("net.") {
                return Err(NetworkError::invalid(format!("sysctl {:?} is not a network sysctl", change.key)));
            }
        }
        if !plan.routes.is_empty() || !plan.ports.is_empty() {
            return Err(NetworkError::unsupported("routes and ports in the plan of a network"));
        }
        Ok(())
    }

    fn ensure_bridge(&mut self, id: &str, name: &str, mtu: u32) -> Result<()> {
        let alias = self.alias(id);
        if let Some(found) = self.route.find(name)? {
            if found.kind.as_deref() != Some("bridge") {
                return Err(NetworkError::forbidden(format!("link {name} exists and is not a bridge")));
            }
            let ours = found.alias.as_deref() == Some(&alias);
            if !ours && found.alias.as_deref().is_some_and(|a| a.starts_with("sheave/")) {
                return Err(NetworkError::forbidden(format!(
                    "bridge {name} belongs to another network or engine ({})",
                    found.alias.as_deref().unwrap_or_default()
                )));
            }
            self.bridges.insert(name.to_owned(), found.index);
            self.route.up(&[name])?;
            return Ok(());
        }
        self.route.add_bridge(name, mtu, &alias)?;
        let found = self.route.find(name)?;
        let index = found
            .map(|l| l.index)
            .ok_or_else(|| NetworkError::kernel(name, std::io::Error::other("bridge vanished")))?;
        self.bridges.insert(name.to_owned(), index);
        Ok(())
    }

    fn bridge_index(&mut self, name: &str) -> Result<u32> {
        if let Some(index) = self.bridges.get(name) {
            return Ok(*index);
        }
        check_name(name)?;
        let found = self.route.find(name)?;
        let state = found.ok_or_else(|| NetworkError::invalid(format!("link {name} does not exist")))?;
        self.bridges.insert(name.to_owned(), state.index);
        Ok(state.index)
    }

    /// Makes an endpoint's links inside of a sandbox, with their addresses and routes.
    pub(crate) fn attach(&mut self, sandbox: &mut Sandbox, endpoint: &str, plan: &Plan) -> Result<Vec<Interface>> {
        let alias = self.alias(endpoint);
        let mut names: Vec<(String, String, Option<String>)> = Vec::new();
        for link in &plan.links {
            let Link::Veth(veth) = link else { return Err(unsupported(link, "an endpoint")) };
            check_name(&veth.host_name)?;
            check_name(&veth.container_name)?;
            let master = veth.master.as_deref().map(|m| self.bridge_index(m)).transpose()?;
            let isolated = veth.master.as_ref().is_some_and(|m| self.separated.get(m) == Some(&true));
            let new = NewVeth {
                host_name: &veth.host_name,
                alias: &alias,
                master,
                mtu: veth.mtu,
                hairpin: veth.hairpin,
                isolated,
                peer_name: &veth.container_name,
                peer_mac: veth.mac.as_deref().map(parse_mac).transpose()?,
                peer_namespace: sandbox.namespace.as_fd(),
            };
            self.route.add_veth(&new)?;
            names.push((veth.container_name.clone(), veth.host_name.clone(), veth.master.clone()));
        }
        sandbox.write_sysctls(plan)?;
        let inside: Vec<&str> = names.iter().map(|(name, ..)| name.as_str()).collect();
        let states = sandbox.route.up(&inside)?;
        configure(&mut sandbox.route, &states, plan)?;
        let outside: Vec<&str> =
            names.iter().flat_map(|(_, host, master)| [Some(host.as_str()), master.as_deref()]).flatten().collect();
        self.route.settle(&outside);
        sandbox.route.settle(&inside);
        Ok(states.into_iter().map(|s| Interface { name: s.name, mac: s.mac }).collect())
    }

    /// Publishes an endpoint's ports.
    pub(crate) fn publish(&mut self, endpoint: &str, ports: Vec<PortRule>) -> Result<()> {
        self.nft.commit(self.rules.add_ports(&ports), "published ports")?;
        super::conntrack::flush(&ports);
        self.rules.set_ports(endpoint, ports);
        Ok(())
    }

    /// Tells which ports an endpoint has, for the next [`Self::install`].
    pub(crate) fn remember_ports(&mut self, endpoint: &str, ports: Vec<PortRule>) {
        self.rules.set_ports(endpoint, ports);
    }

    /// Forgets the ports of endpoints that are not live, for the next [`Self::install`].
    pub(crate) fn keep_ports(&mut self, live: &BTreeSet<String>) {
        self.rules.keep_ports(live);
    }

    /// Publishes an endpoint's ports no longer.
    pub(crate) fn unpublish(&mut self, endpoint: &str) -> Result<()> {
        let ports = self.rules.forget_ports(endpoint);
        if ports.is_empty() {
            return Ok(());
        }
        let removed = self.nft.commit(self.rules.remove_ports(&ports), "published ports");
        if removed.is_err() {
            // Someone changed the table by hand: make it anew instead of leaving elements behind.
            self.install()?;
        }
        super::conntrack::flush(&ports);
        Ok(())
    }

    /// Removes an endpoint's links from a namespace that lives on.
    pub(crate) fn detach(&mut self, plan: &Plan) -> Result<()> {
        for link in &plan.links {
            if let Link::Veth(veth) = link {
                self.route.remove(&veth.host_name)?;
            }
        }
        Ok(())
    }

    /// Links of this engine's endpoints that are not in `live`, removed; how many.
    pub(crate) fn remove_strays(&mut self, live: &BTreeSet<String>) -> Result<usize> {
        let prefix = self.alias("");
        let mut removed = 0;
        for link in self.route.links()? {
            let Some(owner) = link.alias.as_deref().and_then(|a| a.strip_prefix(&prefix)) else { continue };
            if !live.contains(owner) {
                tracing::info!(link = link.name, owner, "removing a link that nothing owns");
                self.route.remove(&link.name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn configure(route: &mut RouteSocket, states: &[LinkState], plan: &Plan) -> Result<()> {
    let index = |name: &str| {
        states
            .iter()
            .find(|s| s.name == name)
            .map(|s| s.index)
            .ok_or_else(|| NetworkError::invalid(format!("the plan names a link {name:?} that it does not make")))
    };
    let mut addresses = Vec::new();
    for address in &plan.addresses {
        addresses.push((index(&address.link)?, address.address.parse::<Prefix>()?));
    }
    let mut routes = Vec::new();
    for planned in &plan.routes {
        routes.push(new_route(planned, index(&planned.link)?)?);
    }
    route.configure(&addresses, &routes)
}

fn new_route(planned: &sheave_plugin::network::Route, link: u32) -> Result<NewRoute> {
    let destination = match planned.destination.as_str() {
        "default" => {
            let v6 = planned.via.as_deref().is_some_and(|v| v.contains(':'));
            let any: IpAddr = if v6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            Prefix::new(any, 0).ok_or_else(|| NetworkError::invalid("default route"))?
        }
        other => other.parse::<Prefix>()?.network(),
    };
    let via = planned
        .via
        .as_deref()
        .map(|v| v.parse().map_err(|_| NetworkError::invalid(format!("invalid gateway address: {v}"))))
        .transpose()?;
    Ok(NewRoute { destination, via, link, metric: planned.metric })
}

/// Why a link cannot be made.
fn unsupported(link: &Link, what: &str) -> NetworkError {
    let kind = match link {
        Link::Bridge(_) => "bridge",
        Link::Veth(_) => "veth",
        Link::Macvlan(_) => "macvlan",
        Link::Vxlan(_) => "vxlan",
        Link::MoveExisting(_) => "move-existing",
        Link::Adopted(_) => "adopted",
    };
    NetworkError::unsupported(format!("a link of the kind {kind} in the plan of {what}"))
}

/// Reads a MAC address.
pub(crate) fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|p| p.len() == 2);
        *byte = part
            .and_then(|p| u8::from_str_radix(p, 16).ok())
            .ok_or_else(|| NetworkError::invalid(format!("invalid MAC address: {text}")))?;
    }
    if parts.next().is_some() {
        return Err(NetworkError::invalid(format!("invalid MAC address: {text}")));
    }
    Ok(mac)
}

/// The rules of planned ports that lead to an IPv4 address; ranges are taken apart.
pub(crate) fn port_rules(ports: &[PortMap], address: Ipv4Addr) -> Result<Vec<PortRule>> {
    let mut rules = Vec::new();
    for map in ports {
        let host: IpAddr = map
            .host_address
            .parse()
            .map_err(|_| NetworkError::invalid(format!("invalid host address: {}", map.host_address)))?;
        let IpAddr::V4(host_address) = host else { continue };
        for n in 0..map.count.max(1) {
            let both = map.host_port.checked_add(n).zip(map.container_port.checked_add(n));
            let (host_port, port) = both.ok_or_else(|| NetworkError::invalid("a port range beyond 65535"))?;
            rules.push(PortRule { protocol: map.protocol, host_address, host_port, address, port });
        }
    }
    Ok(rules)
}

impl Sandbox {
    /// Makes a namespace bound at `path`, with loopback up. `f` runs inside.
    pub(crate) fn create<R: Send>(
        path: &std::path::Path,
        without_ipv6: bool,
        f: impl FnOnce() -> Result<R> + Send,
    ) -> Result<(Self, R)> {
        let (namespace, (route, result)) = namespace::create(path, || {
            let mut route = RouteSocket::open()?;
            route.up(&["lo"])?;
            if without_ipv6 && sysctl::read(IPV6_OFF)?.is_some() {
                sysctl::write(IPV6_OFF, "1")?;
            }
            Ok((route, f()?))
        })?;
        Ok((Self { namespace, route, without_ipv6 }, result))
    }

    /// Opens the namespace bound at `path`; None if there is none.
    pub(crate) fn open(path: &std::path::Path) -> Result<Option<Self>> {
        let Some(namespace) = namespace::open(path)? else { return Ok(None) };
        let route = namespace::inside(namespace.as_fd(), RouteSocket::open)?;
        Ok(Some(Self { namespace, route, without_ipv6: false }))
    }

    /// Writes the sysctls of a plan whose links are there, before they are up.
    fn write_sysctls(&self, plan: &Plan) -> Result<()> {
        let off = |key: &str| key.starts_with("net.ipv6.conf.") && key.ends_with(".disable_ipv6");
        let mut changes: Vec<(String, String)> = plan
            .sysctls
            .iter()
            .filter(|s| !(self.without_ipv6 && off(&s.key) && s.value == "1"))
            .map(|s| (s.key.clone(), s.value.clone()))
            .collect();
        for address in plan.addresses.iter().filter(|a| a.address.contains(':')) {
            // Turned off for new links when the namespace was made. Addresses are the engine's: looking for another owner of
            // the link-local one would only delay the first packets.
            let link = address.link.replace('.', "/");
            changes.push((format!("net.ipv6.conf.{link}.accept_dad"), "0".to_owned()));
            changes.push((format!("net.ipv6.conf.{link}.disable_ipv6"), "0".to_owned()));
        }
        if changes.is_empty() {
            return Ok(());
        }
        namespace::inside(self.namespace.as_fd(), || {
            for (key, value) in &changes {
                if off(key) && sysctl::read(key)?.is_none() {
                    continue;
                }
                sysctl::write(key, value)?;
            }
            Ok(())
        })
    }

    /// Makes these gateways, on this link, the default routes.
    pub(crate) fn default_routes(&mut self, link: u32, gateways: [Option<IpAddr>; 2]) -> Result<()> {
        let mut routes = Vec::new();
        for gateway in gateways.into_iter().flatten() {
            let planned = sheave_plugin::network::Route {
                destination: "default".to_owned(),
                via: Some(gateway.to_string()),
                link: String::new(),
                metric: 0,
            };
            routes.push(new_route(&planned, link)?);
        }
        self.route.configure(&[], &routes)
    }

    /// The socket for links and routes inside.
    pub(crate) fn routes(&mut self) -> &mut RouteSocket {
        &mut self.route
    }
}
