//! Who is called what, by network.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::model::EndpointState;

struct Entry {
    endpoint: String,
    container: String,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    leads_out: bool,
}

#[derive(Default)]
struct Zone {
    name: String,
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Inner {
    zones: BTreeMap<String, Zone>,
    servers: HashMap<String, AbortHandle>,
}

/// The names of all networks with a name server, and the servers that run.
#[derive(Default)]
pub(crate) struct Directory(Mutex<Inner>);

/// What the directory knows of a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Unknown,
    /// The name exists, with these addresses.
    Addresses(Vec<IpAddr>),
}

impl Directory {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an endpoint's names. `leads_out` says that its network is not internal.
    pub(crate) fn add(&self, container: &str, state: &EndpointState, leads_out: bool) {
        let mut inner = self.inner();
        let zone = inner.zones.entry(state.network_id.clone()).or_default();
        zone.name = state.network.to_lowercase();
        zone.entries.retain(|e| e.endpoint != state.id);
        zone.entries.push(Entry {
            endpoint: state.id.clone(),
            container: container.to_owned(),
            names: state.names.iter().map(|n| n.to_lowercase()).collect(),
            addresses: [state.ipv4, state.ipv6].into_iter().flatten().map(|p| p.address()).collect(),
            leads_out,
        });
    }

    /// Removes an endpoint's names.
    pub(crate) fn remove(&self, state: &EndpointState) {
        let mut inner = self.inner();
        if let Some(zone) = inner.zones.get_mut(&state.network_id) {
            zone.entries.retain(|e| e.endpoint != state.id);
            if zone.entries.is_empty() {
                inner.zones.remove(&state.network_id);
            }
        }
    }

    /// Remembers a container's running server; an earlier one ends.
    pub(crate) fn started(&self, container: &str, server: AbortHandle) {
        if let Some(earlier) = self.inner().servers.insert(container.to_owned(), server) {
            earlier.abort();
        }
    }

    /// Ends a container's server.
    pub(crate) fn stop(&self, container: &str) {
        if let Some(server) = self.inner().servers.remove(container) {
            server.abort();
        }
    }

    /// Looks a name (lower case, without its last dot) up in the networks of a container: `name`, or `name.network`.
    pub(crate) fn find(&self, container: &str, name: &str) -> Found {
        let inner = self.inner();
        let mut known = false;
        let mut addresses = Vec::new();
        for zone in inner.zones.values().filter(|z| z.has(container)) {
            let inside = name.strip_suffix(zone.name.as_str()).and_then(|n| n.strip_suffix('.'));
            for entry in &zone.entries {
                if entry.names.iter().any(|n| n == name || Some(n.as_str()) == inside) {
                    known = true;
                    addresses.extend_from_slice(&entry.addresses);
                }
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        if known { Found::Addresses(addresses) } else { Found::Unknown }
    }

    /// The name of an address in the networks of a container: its first name and the network's.
    pub(crate) fn reverse(&self, container: &str, address: IpAddr) -> Option<String> {
        let inner = self.inner();
        inner.zones.values().filter(|z| z.has(container)).find_map(|zone| {
            let entry = zone.entries.iter().find(|e| e.addresses.contains(&address))?;
            Some(format!("{}.{}", entry.names.first()?, zone.name))
        })
    }

    /// Whether a container may ask the world: one of its networks is not internal.
    pub(crate) fn leads_out(&self, container: &str) -> bool {
        let inner = self.inner();
        inner.zones.values().flat_map(|z| &z.entries).any(|e| e.container == container && e.leads_out)
    }
}

impl Zone {
    fn has(&self, container: &str) -> bool {
        self.entries.iter().any(|e| e.container == container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str, network: &str, address: &str, names: &[&str]) -> EndpointState {
        EndpointState {
            id: id.into(),
            network_id: format!("id-{network}"),
            network: network.into(),
            interface: "eth0".into(),
            mac: String::new(),
            ipv4: Some(address.parse().expect("prefix")),
            ipv6: None,
            gateway: None,
            gateway6: None,
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            dns: true,
        }
    }

    #[test]
    fn names_are_seen_within_a_network_only() {
        let directory = Directory::default();
        let web = state("1", "Front", "10.0.0.2/24", &["Web", "alias"]);
        directory.add("web", &web, true);
        directory.add("api", &state("2", "Front", "10.0.0.3/24", &["api", "alias"]), true);
        directory.add("db", &state("3", "back", "10.1.0.2/24", &["db"]), false);
        let addresses = |list: &[&str]| Found::Addresses(list.iter().map(|a| a.parse().expect("address")).collect());
        for (from, name, found) in [
            ("api", "web", addresses(&["10.0.0.2"])),
            ("api", "alias", addresses(&["10.0.0.2", "10.0.0.3"])),
            ("api", "web.front", addresses(&["10.0.0.2"])),
            ("api", "db", Found::Unknown),
            ("api", "web.back", Found::Unknown),
            ("db", "web", Found::Unknown),
        ] {
            assert_eq!(directory.find(from, name), found, "{from} {name}");
        }
        assert_eq!(directory.reverse("api", "10.0.0.2".parse().expect("address")).as_deref(), Some("web.front"));
        assert_eq!(directory.reverse("db", "10.0.0.2".parse().expect("address")), None);
        assert!(directory.leads_out("web") && !directory.leads_out("db"));
        directory.remove(&web);
        assert_eq!(directory.find("api", "web"), Found::Unknown);
    }
}
