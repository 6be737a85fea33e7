//! A container's places in its networks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decode::null_default;
use super::host_config::PortMap;

/// A container's place in one network: what was asked for, and what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointSettings {
    /// Addresses asked for.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<EndpointIpamConfig>,
    /// Links, `container:alias`.
    pub links: Option<Vec<String>>,
    /// Names for it in this network.
    pub aliases: Option<Vec<String>>,
    /// MAC address; empty before it runs unless it was asked for.
    #[serde(deserialize_with = "null_default")]
    pub mac_address: String,
    /// Options for the network driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// The highest one gives the default route.
    #[serde(deserialize_with = "null_default")]
    pub gw_priority: i64,
    /// Id of the network.
    #[serde(rename = "NetworkID", deserialize_with = "null_default")]
    pub network_id: String,
    /// Id of this endpoint.
    #[serde(rename = "EndpointID", deserialize_with = "null_default")]
    pub endpoint_id: String,
    /// IPv4 gateway.
    #[serde(deserialize_with = "null_default")]
    pub gateway: String,
    /// IPv4 address.
    #[serde(rename = "IPAddress", deserialize_with = "null_default")]
    pub ip_address: String,
    /// Length of the IPv4 prefix.
    #[serde(rename = "IPPrefixLen", deserialize_with = "null_default")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway", deserialize_with = "null_default")]
    pub ipv6_gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "null_default")]
    pub global_ipv6_address: String,
    /// Length of the IPv6 prefix.
    #[serde(rename = "GlobalIPv6PrefixLen", deserialize_with = "null_default")]
    pub global_ipv6_prefix_len: u8,
    /// Names that resolve to it in this network.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// Addresses asked for in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointIpamConfig {
    /// IPv4 address.
    #[serde(rename = "IPv4Address", deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// IPv6 address.
    #[serde(rename = "IPv6Address", deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
    /// Link-local addresses.
    #[serde(rename = "LinkLocalIPs", deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<String>,
}

/// An address with its prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAddress {
    /// The address.
    #[serde(rename = "Addr")]
    pub addr: String,
    /// Length of its prefix.
    #[serde(rename = "PrefixLen")]
    pub prefix_len: u8,
}

/// The networks of a container, with the fields of its place in the default bridge repeated at the top for old clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Name of the default bridge when the engine was started with another one.
    pub bridge: String,
    /// Id of the network namespace.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// Path of the network namespace.
    pub sandbox_key: String,
    /// Ports: exposed ones (`null`) and published ones.
    pub ports: PortMap,
    /// Never set.
    pub hairpin_mode: bool,
    /// Never set.
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    /// Never set.
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: u8,
    /// Never set.
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<NetworkAddress>>,
    /// Never set.
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<NetworkAddress>>,
    /// Of the endpoint in `bridge`.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Of the endpoint in `bridge`.
    pub gateway: String,
    /// Of the endpoint in `bridge`.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Of the endpoint in `bridge`.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// Of the endpoint in `bridge`.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Of the endpoint in `bridge`.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// Of the endpoint in `bridge`.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// Of the endpoint in `bridge`.
    pub mac_address: String,
    /// Its endpoints by the name of their network.
    pub networks: BTreeMap<String, EndpointSettings>,
}

impl NetworkSettings {
    /// Repeats the fields of the endpoint in `bridge` at the top, as versions up to 1.51 have them.
    pub fn repeat_default_bridge(&mut self) {
        let bridge = self.networks.get("bridge").cloned().unwrap_or_default();
        self.endpoint_id = bridge.endpoint_id;
        self.gateway = bridge.gateway;
        self.global_ipv6_address = bridge.global_ipv6_address;
        self.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len;
        self.ip_address = bridge.ip_address;
        self.ip_prefix_len = bridge.ip_prefix_len;
        self.ipv6_gateway = bridge.ipv6_gateway;
        self.mac_address = bridge.mac_address;
    }
}
