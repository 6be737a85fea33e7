//! What is stored of networks and endpoints, and what the supervisor gives and gets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sheave_api::containers::PortBinding;
use sheave_api::networks::Ipam;
use sheave_plugin::network::{Plan, PortMap, Protocol};
use sheave_types::Id;

use crate::error::{NetworkError, Result};
use crate::ipam::Prefix;

/// How the engine's networks are set up.
#[derive(Debug, Clone)]
pub struct NetworksConfig {
    /// Containers' namespaces are bound below its `netns/`.
    pub exec_root: PathBuf,
    /// The bridge of the network `bridge` (`--bridge`); at most 15 bytes.
    pub bridge: String,
    /// That bridge's address with prefix length (`--bip`); none takes the first free default pool.
    pub bip: Option<Prefix>,
    /// The host's resolver configuration.
    pub resolv_conf: PathBuf,
}

impl NetworksConfig {
    /// The defaults below this runtime directory.
    pub fn new(exec_root: PathBuf) -> Self {
        Self { exec_root, bridge: "sheave0".to_owned(), bip: None, resolv_conf: PathBuf::from("/etc/resolv.conf") }
    }
}

/// Everything of a network but its id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkDoc {
    pub(crate) created: String,
    /// As Docker calls it: `null` for `none`.
    pub(crate) driver: String,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    pub(crate) internal: bool,
    pub(crate) attachable: bool,
    pub(crate) config_only: bool,
    pub(crate) config_from: String,
    pub(crate) predefined: bool,
    /// The subnets were given by the user, so that containers may choose their addresses.
    pub(crate) user_subnet: bool,
    pub(crate) ipam: Ipam,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A network that is there.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) doc: NetworkDoc,
    pub(crate) plan: Plan,
}

/// Everything of an endpoint but its id, network and container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EndpointDoc {
    pub(crate) state: EndpointState,
    pub(crate) container_name: String,
    pub(crate) default_route: bool,
    /// What was made; none before.
    pub(crate) plan: Option<Plan>,
    pub(crate) ports: Vec<PublishedPort>,
}

/// Which network namespace a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// One of its own, with the endpoints of the request.
    Networks,
    /// The host's.
    Host,
    /// One of its own with loopback alone.
    None,
    /// That of another container.
    Container(Id),
}

/// What a container asks for in one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointRequest {
    /// The network's name or id; `default` is `bridge`.
    pub network: String,
    /// Names for it in this network besides its own.
    pub aliases: Vec<String>,
    /// A fixed IPv4 address.
    pub ipv4: Option<IpAddr>,
    /// A fixed IPv6 address.
    pub ipv6: Option<IpAddr>,
    /// A fixed MAC address, `02:42:ac:11:00:02`.
    pub mac: Option<String>,
    /// The highest one gives the default route.
    pub gw_priority: i64,
    /// Options for the driver.
    pub options: BTreeMap<String, String>,
}

/// Where on the host a port is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPort {
    /// Any free port.
    Any,
    /// The first free port from the first to the second.
    Range(u16, u16),
}

/// A port to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRequest {
    /// The container's port.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address; unspecified is every one.
    pub host_address: IpAddr,
    /// The host's port.
    pub host_port: HostPort,
}

fn parse_protocol(text: &str) -> Option<Protocol> {
    match text {
        "" | "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

impl PortRequest {
    /// Reads one entry of `PortBindings`: the key (`80/tcp`) and a binding.
    ///
    /// # Errors
    /// `invalid` with what is wrong.
    pub fn parse(port: &str, binding: &PortBinding) -> sheave_types::Result<Self> {
        Ok(Self::read(port, binding)?)
    }

    fn read(port: &str, binding: &PortBinding) -> Result<Self> {
        let bad = |what: &str, text: &str| NetworkError::invalid(format!("invalid {what}: {text:?}"));
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let number_of = |text: &str| text.parse::<u16>().map_err(|_| bad("port", text));
        let host_address = match binding.host_ip.as_str() {
            "" => Ipv4Addr::UNSPECIFIED.into(),
            text => text.parse().map_err(|_| bad("host IP", text))?,
        };
        let host_port = match binding.host_port.as_str() {
            "" | "0" => HostPort::Any,
            text => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                let (first, last) = (number_of(first)?, number_of(last)?);
                if first == 0 || first > last {
                    return Err(bad("port range", text));
                }
                HostPort::Range(first, last)
            }
        };
        let protocol = parse_protocol(protocol).ok_or_else(|| bad("protocol", protocol))?;
        Ok(Self { container_port: number_of(number)?, protocol, host_address, host_port })
    }
}

/// A port that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The container's port.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address; unspecified is every one of IPv4.
    pub host_address: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

impl PublishedPort {
    /// The key in Docker's maps, `80/tcp`, and the binding.
    pub fn binding(&self) -> (String, PortBinding) {
        let protocol = crate::kernel::ports::protocol_name(self.protocol);
        let binding = PortBinding { host_ip: self.host_address.to_string(), host_port: self.host_port.to_string() };
        (format!("{}/{protocol}", self.container_port), binding)
    }

    pub(crate) fn planned(&self) -> PortMap {
        PortMap {
            protocol: self.protocol,
            host_address: self.host_address.to_string(),
            host_port: self.host_port,
            container_port: self.container_port,
            count: 1,
        }
    }
}

/// What a container's network set-up needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRequest {
    /// The container.
    pub container: Id,
    /// Its name, without a slash.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// Whose namespace.
    pub mode: Mode,
    /// Its networks.
    pub endpoints: Vec<EndpointRequest>,
    /// Its ports.
    pub ports: Vec<PortRequest>,
    /// Resolvers of its own (`--dns`), asked from within its namespace; empty for the host's.
    pub dns: Vec<IpAddr>,
}

/// A container's end of a network, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointState {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The network's id.
    pub network_id: String,
    /// The network's name.
    pub network: String,
    /// `eth0`; empty in the networks `host` and `none`.
    pub interface: String,
    /// `02:42:ac:11:00:02`.
    pub mac: String,
    /// IPv4 address with prefix length.
    pub ipv4: Option<Prefix>,
    /// IPv6 address with prefix length.
    pub ipv6: Option<Prefix>,
    /// The network's IPv4 gateway.
    pub gateway: Option<IpAddr>,
    /// The network's IPv6 gateway.
    pub gateway6: Option<IpAddr>,
    /// The names under which the others of a user-defined network find it.
    pub names: Vec<String>,
    /// Whether its network has a name server at 127.0.0.11.
    pub dns: bool,
}

/// A container's network, set up.
#[derive(Debug)]
pub struct Sandbox {
    /// Its namespace; none is the host's.
    pub netns: Option<OwnedFd>,
    /// Where the namespace is bound.
    pub key: Option<PathBuf>,
    /// Its endpoints, that of the default route first.
    pub endpoints: Vec<EndpointState>,
    /// Its ports.
    pub ports: Vec<PublishedPort>,
    /// The sockets of its name server, for the shim to keep and to give to [`crate::Networks::adopt`].
    pub dns_sockets: Vec<OwnedFd>,
    /// Whether its resolv.conf is to say `nameserver 127.0.0.11`.
    pub own_dns: bool,
    /// What was not as asked for, in words.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_port_bindings() {
        let any = IpAddr::from([0, 0, 0, 0]);
        for (port, ip, host, expected) in [
            ("80/tcp", "", "", Some((80, any, HostPort::Any))),
            ("80", "127.0.0.1", "0", Some((80, [127, 0, 0, 1].into(), HostPort::Any))),
            ("53/udp", "", "5353", Some((53, any, HostPort::Range(5353, 5353)))),
            ("80/tcp", "", "8000-8010", Some((80, any, HostPort::Range(8000, 8010)))),
            ("80/tcp", "", "8010-8000", None),
            ("80/icmp", "", "", None),
            ("x/tcp", "", "", None),
            ("80/tcp", "here", "", None),
            ("80/tcp", "", "70000", None),
        ] {
            let binding = PortBinding { host_ip: ip.into(), host_port: host.into() };
            let got = PortRequest::parse(port, &binding).ok();
            assert_eq!(got.map(|p| (p.container_port, p.host_address, p.host_port)), expected, "{port} {ip} {host}");
        }
    }
}
