//! Addresses and host ports: rows of the database, and sockets that hold the ports.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use sheave_api::networks::IpamPool;

use crate::error::{NetworkError, Result};
use crate::ipam::{Prefix, Range, next_free};
use crate::kernel::ports::{bind, ephemeral_range, protocol_name};
use crate::model::{HostPort, Network, PortRequest, PublishedPort};
use crate::shared::{Held, Shared};

/// Takes an address of a network for an endpoint; None if the network has no pool of that family.
pub(crate) fn take_address(
    shared: &Shared,
    held: &mut Held,
    network: &Network,
    endpoint: &str,
    v4: bool,
    wanted: Option<IpAddr>,
) -> Result<Option<Prefix>> {
    let pools: Vec<&IpamPool> = network
        .doc
        .ipam
        .config
        .iter()
        .flatten()
        .filter(|p| p.subnet.parse::<Prefix>().is_ok_and(|s| s.address().is_ipv4() == v4))
        .collect();
    if let Some(wanted) = wanted {
        return take_wanted(shared, network, endpoint, &pools, wanted).map(Some);
    }
    if pools.is_empty() || (v4 && !network.doc.ipv4) || (!v4 && !network.doc.ipv6) {
        return Ok(None);
    }
    let leases = shared.database.leases();
    let taken: HashSet<IpAddr> =
        leases.of_network(&network.id)?.into_iter().filter_map(|(address, _)| address.parse().ok()).collect();
    let key = (network.id.clone(), v4);
    for pool in pools {
        let subnet: Prefix = pool.subnet.parse()?;
        let part = (!pool.ip_range.is_empty()).then(|| pool.ip_range.parse()).transpose()?;
        let Some(range) = Range::new(subnet, part) else { continue };
        let reserved = |a: IpAddr| {
            taken.contains(&a)
                || pool.gateway.parse() == Ok(a)
                || pool.auxiliary_addresses.values().any(|aux| aux.parse() == Ok(a))
        };
        while let Some(address) = next_free(range, held.cursors.get(&key).copied(), reserved) {
            held.cursors.insert(key.clone(), address);
            if leases.take(&network.id, &address.to_string(), endpoint)? {
                return Ok(Some(subnet.with_address(address)));
            }
        }
    }
    Err(NetworkError::NoAddress { name: network.name.clone(), id: network.id.clone() })
}

fn take_wanted(
    shared: &Shared,
    network: &Network,
    endpoint: &str,
    pools: &[&IpamPool],
    wanted: IpAddr,
) -> Result<Prefix> {
    if !network.doc.user_subnet {
        return Err(NetworkError::invalid(
            "user specified IP address is supported only when connecting to networks with user configured subnets",
        ));
    }
    let mut subnets = pools.iter().filter_map(|p| p.subnet.parse::<Prefix>().ok().map(|s| (s, *p)));
    let Some((subnet, pool)) = subnets.find(|(s, _)| s.contains(wanted)) else {
        return Err(NetworkError::invalid(format!(
            "invalid address {wanted}: It does not belong to any of this network's subnets"
        )));
    };
    let reserved = pool.gateway.parse() == Ok(wanted)
        || wanted == subnet.network().address() && subnet.length() < 31
        || subnet.broadcast().map(IpAddr::from) == Some(wanted);
    if reserved || !shared.database.leases().take(&network.id, &wanted.to_string(), endpoint)? {
        return Err(NetworkError::AddressInUse);
    }
    Ok(subnet.with_address(wanted))
}

/// Host ports that were taken, and what holds them.
#[derive(Debug, Default)]
pub(crate) struct TakenPorts {
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// Takes host ports. Runs on the network thread, whose namespace the sockets are to be in.
///
/// After an error the rows that were written stay with the endpoint and go with it.
pub(crate) fn take_ports(
    database: &sheave_metadata::Database,
    container: &str,
    endpoint: &str,
    requests: &[PortRequest],
) -> Result<TakenPorts> {
    let mut taken = TakenPorts::default();
    for request in requests {
        if request.host_address.is_ipv6() {
            return Err(NetworkError::unsupported(format!(
                "publishing a port at the IPv6 address {}: ports are published at IPv4 addresses",
                request.host_address
            )));
        }
        let (first, last) = match request.host_port {
            HostPort::Range(first, last) => (first, last),
            HostPort::Any => ephemeral_range(),
        };
        let start = match request.host_port {
            HostPort::Any => first + random_below(last - first),
            HostPort::Range(..) => first,
        };
        let who = Who { container, endpoint };
        let mut failure = None;
        for port in (start..=last).chain(first..start) {
            match who.take(database, request, port) {
                Ok(socket) => {
                    taken.sockets.extend(socket);
                    taken.ports.push(PublishedPort {
                        container_port: request.container_port,
                        protocol: request.protocol,
                        host_address: request.host_address,
                        host_port: port,
                    });
                    failure = None;
                    break;
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(taken)
}

fn random_below(limit: u16) -> u16 {
    let mut bytes = [0; 2];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u16::from_ne_bytes(bytes) % limit.max(1),
        Err(_) => 0,
    }
}

struct Who<'a> {
    container: &'a str,
    endpoint: &'a str,
}

impl Who<'_> {
    fn take(&self, database: &sheave_metadata::Database, request: &PortRequest, port: u16) -> Result<Option<OwnedFd>> {
        let (address, protocol) = (request.host_address, protocol_name(request.protocol));
        let allocated = || NetworkError::PortAllocated {
            container: self.container.to_owned(),
            endpoint: self.endpoint.to_owned(),
            address,
            port,
        };
        // A port of every address and one of a single address exclude each other.
        let any = Ipv4Addr::UNSPECIFIED.to_string();
        let ports = database.ports();
        let conflict = if address.is_unspecified() {
            ports.all()?.into_iter().any(|(p, _, n, _)| p == protocol && n == port)
        } else {
            ports.owner(protocol, &any, port)?.is_some()
        };
        if conflict || !ports.take(protocol, &address.to_string(), port, self.endpoint)? {
            return Err(allocated());
        }
        bind(request.protocol, address, port).map_err(|source| {
            // The row of a port that was only tried must not block others.
            if let Err(error) = database.ports().give_back(protocol, &address.to_string(), port) {
                tracing::warn!(%error, port, "a port row was left behind");
            }
            NetworkError::PortBind {
                container: self.container.to_owned(),
                endpoint: self.endpoint.to_owned(),
                address,
                port,
                protocol,
                source,
            }
        })
    }
}
