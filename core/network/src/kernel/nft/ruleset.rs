//! The engine's own table: static chains over sets, so that a container adds elements only.
//!
//! Chains:
//! - `raw` (before connection tracking): loopback addresses never arrive from a bridge. Publishing at 127.0.0.1 needs
//!   `route_localnet` on the bridges, which would open the host's loopback services to containers.
//! - `prerouting`, `output` → `publish`: published ports, by address and port or by port alone.
//! - `postrouting`: masquerading of what leaves a network; and of what comes back into the network it came from through a
//!   published port, or from this host, so that the answer takes the same way back.
//! - `forward`: isolation between networks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use sheave_plugin::network::{Forwarding, Protocol};

use super::message::{ADDRESS_PORT, Batch, Element, Family, Hook, IFNAME, IFNAMES, PORT, Set, TARGET, Table};
use super::rule::{Rule, Verdict, interface};
use crate::ipam::Prefix;

const BRIDGES: Set = Set { name: "bridges", key: IFNAME, data: None };
const OPEN: Set = Set { name: "open", key: IFNAME, data: None };
const CLOSED: Set = Set { name: "internal", key: IFNAME, data: None };
const WITHIN: Set = Set { name: "within", key: IFNAMES, data: None };
const PUBLISHED: Set = Set { name: "published", key: PORT, data: Some(TARGET) };
const PUBLISHED_AT: Set = Set { name: "published_at", key: ADDRESS_PORT, data: Some(TARGET) };
const SETS: [Set; 6] = [BRIDGES, OPEN, CLOSED, WITHIN, PUBLISHED, PUBLISHED_AT];

/// What the table holds for one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkRules {
    /// Bridges and what may be forwarded from and to them.
    pub(crate) policies: Vec<(String, Forwarding)>,
    /// Subnets that are masqueraded, and the link that is left out.
    pub(crate) masquerade: Vec<(Prefix, String)>,
}

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRule {
    pub(crate) protocol: Protocol,
    /// Unspecified for all addresses of the host.
    pub(crate) host_address: Ipv4Addr,
    pub(crate) host_port: u16,
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
}

/// Its number in the IP header.
pub(crate) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

impl PortRule {
    fn element(&self) -> (&'static str, Element) {
        let mut key = Vec::with_capacity(12);
        let everywhere = self.host_address.is_unspecified();
        if !everywhere {
            key.extend_from_slice(&self.host_address.octets());
        }
        // Each part of a key takes a multiple of four bytes.
        key.extend_from_slice(&[protocol_number(self.protocol), 0, 0, 0]);
        let port = |port: u16| [port.to_be_bytes()[0], port.to_be_bytes()[1], 0, 0];
        key.extend_from_slice(&port(self.host_port));
        let mut value = self.address.octets().to_vec();
        value.extend_from_slice(&port(self.port));
        (if everywhere { PUBLISHED.name } else { PUBLISHED_AT.name }, (key, Some(value)))
    }
}

/// What the engine's table holds; the same state always gives the same table.
#[derive(Debug)]
pub(crate) struct Ruleset {
    table: Table,
    networks: BTreeMap<String, NetworkRules>,
    ports: BTreeMap<String, Vec<PortRule>>,
}

impl Ruleset {
    /// An empty one; `name` is the table's.
    pub(crate) fn new(name: String) -> Self {
        Self { table: Table { family: Family::Inet as u8, name }, networks: BTreeMap::new(), ports: BTreeMap::new() }
    }

    /// The table.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// All bridges of all networks.
    pub(crate) fn bridges(&self) -> BTreeSet<String> {
        self.networks.values().flat_map(|n| n.policies.iter().map(|(link, _)| link.clone())).collect()
    }

    /// Sets a network without telling the kernel.
    pub(crate) fn set_network(&mut self, id: &str, rules: NetworkRules) {
        self.networks.insert(id.to_owned(), rules);
    }

    /// Forgets a network without telling the kernel; what it had.
    pub(crate) fn forget_network(&mut self, id: &str) -> Option<NetworkRules> {
        self.networks.remove(id)
    }

    /// Sets an endpoint's ports without telling the kernel.
    pub(crate) fn set_ports(&mut self, endpoint: &str, rules: Vec<PortRule>) {
        self.ports.insert(endpoint.to_owned(), rules);
    }

    /// Forgets an endpoint's ports; what it had.
    pub(crate) fn forget_ports(&mut self, endpoint: &str) -> Vec<PortRule> {
        self.ports.remove(endpoint).unwrap_or_default()
    }

    /// Forgets the ports of endpoints that are not in `live`.
    pub(crate) fn keep_ports(&mut self, live: &BTreeSet<String>) {
        self.ports.retain(|endpoint, _| live.contains(endpoint));
    }

    /// Removes the whole table.
    pub(crate) fn uninstall(&self) -> Batch {
        let mut batch = Batch::new();
        batch.add_table(&self.table);
        batch.remove_table(&self.table);
        batch
    }

    /// The whole table anew; replaces in one step what is there.
    pub(crate) fn install(&self) -> Batch {
        let mut batch = Batch::new();
        // Adding first makes the removal succeed whether or not the table is there.
        batch.add_table(&self.table);
        batch.remove_table(&self.table);
        batch.add_table(&self.table);
        for (set, id) in SETS.iter().zip(1..) {
            batch.add_set(&self.table, *set, id);
        }
        self.chains(&mut batch);
        self.fill(&mut batch);
        for rules in self.ports.values() {
            batch_elements(&mut batch, &self.table, rules, true);
        }
        batch
    }

    /// Brings the networks' part up to date, in one step.
    pub(crate) fn update_networks(&self) -> Batch {
        let mut batch = Batch::new();
        for set in [BRIDGES, OPEN, CLOSED, WITHIN] {
            batch.flush_set(&self.table, set.name);
        }
        batch.flush_chain(&self.table, "masquerade");
        self.fill(&mut batch);
        batch
    }

    /// Publishes ports.
    pub(crate) fn add_ports(&self, rules: &[PortRule]) -> Batch {
        let mut batch = Batch::new();
        batch_elements(&mut batch, &self.table, rules, true);
        batch
    }

    /// Publishes ports no longer.
    pub(crate) fn remove_ports(&self, rules: &[PortRule]) -> Batch {
        let mut batch = Batch::new();
        batch_elements(&mut batch, &self.table, rules, false);
        batch
    }

    fn chains(&self, batch: &mut Batch) {
        let (nat, filter) = ("nat", "filter");
        for (name, hook) in [
            ("raw", Some(Hook { kind: filter, number: 0, priority: -300 })),
            ("prerouting", Some(Hook { kind: nat, number: 0, priority: -100 })),
            ("output", Some(Hook { kind: nat, number: 3, priority: -100 })),
            ("postrouting", Some(Hook { kind: nat, number: 4, priority: 100 })),
            ("forward", Some(Hook { kind: filter, number: 2, priority: 0 })),
            ("publish", None),
            ("masquerade", None),
        ] {
            batch.add_chain(&self.table, name, hook);
        }
        let loopback = Prefix::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8);
        let mut rule = |chain: &str, rule: Rule| batch.add_rule(&self.table, chain, rule);
        if let Some(loopback) = loopback {
            let from_bridge = || Rule::new().input_in(BRIDGES.name).ipv4();
            rule("raw", from_bridge().destination(loopback).verdict(&Verdict::Drop));
            rule("raw", from_bridge().source(loopback).verdict(&Verdict::Drop));
            // A neighbour may send to 127.0.0.1; only this host's own connections are led to a port published there.
            rule("prerouting", Rule::new().ipv4().destination(loopback).verdict(&Verdict::Return));
        }
        for chain in ["prerouting", "output"] {
            rule(chain, Rule::new().ipv4().local(true).verdict(&Verdict::Jump("publish")));
        }
        rule("publish", Rule::new().translate_by_address(PUBLISHED_AT.name));
        rule("publish", Rule::new().translate_by_port(PUBLISHED.name));
        rule("postrouting", Rule::new().ipv4().output_in(BRIDGES.name).translated().local(false).masquerade());
        rule("postrouting", Rule::new().verdict(&Verdict::Jump("masquerade")));
        rule("forward", Rule::new().established().verdict(&Verdict::Accept));
        rule("forward", Rule::new().pair_in(WITHIN.name).verdict(&Verdict::Accept));
        rule("forward", Rule::new().input_in(CLOSED.name).verdict(&Verdict::Drop));
        rule("forward", Rule::new().output_in(CLOSED.name).verdict(&Verdict::Drop));
        rule("forward", Rule::new().output_in(OPEN.name).verdict(&Verdict::Accept));
        rule("forward", Rule::new().output_in(BRIDGES.name).translated().verdict(&Verdict::Accept));
        rule("forward", Rule::new().output_in(BRIDGES.name).verdict(&Verdict::Drop));
    }

    fn fill(&self, batch: &mut Batch) {
        let (mut bridges, mut open, mut closed, mut within) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (link, forwarding) in self.networks.values().flat_map(|n| &n.policies) {
            let name = interface(link).to_vec();
            bridges.push((name.clone(), None));
            match forwarding {
                Forwarding::Open => open.push((name.clone(), None)),
                Forwarding::Internal | Forwarding::Sealed => closed.push((name.clone(), None)),
                Forwarding::Isolated | Forwarding::NoIntercommunication => {}
            }
            if !separates(*forwarding) {
                within.push(([name.clone(), name].concat(), None));
            }
        }
        for (set, elements) in [(BRIDGES, bridges), (OPEN, open), (CLOSED, closed), (WITHIN, within)] {
            batch.add_elements(&self.table, set.name, &elements);
        }
        for (subnet, except) in self.networks.values().flat_map(|n| &n.masquerade) {
            let family = || if subnet.address().is_ipv4() { Rule::new().ipv4() } else { Rule::new().ipv6() };
            let from = || family().source(*subnet);
            batch.add_rule(&self.table, "masquerade", from().output(except, false).masquerade());
            batch.add_rule(&self.table, "masquerade", from().output(except, true).translated().masquerade());
        }
    }
}

/// Whether the containers of a network are kept apart.
pub(crate) fn separates(forwarding: Forwarding) -> bool {
    matches!(forwarding, Forwarding::NoIntercommunication | Forwarding::Sealed)
}

fn batch_elements(batch: &mut Batch, table: &Table, rules: &[PortRule], add: bool) {
    for set in [PUBLISHED.name, PUBLISHED_AT.name] {
        let elements: Vec<Element> = rules
            .iter()
            .map(PortRule::element)
            .filter(|(name, _)| *name == set)
            .map(|(_, (key, value))| (key, value.filter(|_| add)))
            .collect();
        if add {
            batch.add_elements(table, set, &elements);
        } else {
            batch.remove_elements(table, set, &elements);
        }
    }
}
