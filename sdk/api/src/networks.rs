//! Networks: `/networks`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Filters;
use crate::containers::EndpointSettings;

fn null_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// One address pool of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamPool {
    /// The subnet, with prefix length.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// The part of the subnet from which addresses are given out.
    #[serde(rename = "IPRange", deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub ip_range: String,
    /// The gateway's address.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses that are not given out, by name.
    #[serde(
        rename = "AuxiliaryAddresses",
        alias = "AuxAddress",
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// How a network's addresses are given out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`.
    #[serde(deserialize_with = "null_default")]
    pub driver: String,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
    /// The pools.
    pub config: Option<Vec<IpamPool>>,
}

/// A network from which a configuration is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigReference {
    /// Its name.
    #[serde(deserialize_with = "null_default")]
    pub network: String,
}

/// Body of `POST /networks/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreateRequest {
    /// The name, unique.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// The driver; empty is `bridge`.
    #[serde(deserialize_with = "null_default")]
    pub driver: String,
    /// `local`; others need a cluster.
    #[serde(deserialize_with = "null_default")]
    pub scope: String,
    /// Whether containers get IPv4 addresses; on unless said otherwise.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: Option<bool>,
    /// Whether containers get IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: Option<bool>,
    /// The pools.
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    /// No way out.
    #[serde(deserialize_with = "null_default")]
    pub internal: bool,
    /// Whether single containers may join; matters in clusters alone.
    #[serde(deserialize_with = "null_default")]
    pub attachable: bool,
    /// Of clusters.
    #[serde(deserialize_with = "null_default")]
    pub ingress: bool,
    /// A configuration for other networks.
    #[serde(deserialize_with = "null_default")]
    pub config_only: bool,
    /// The network whose configuration is used.
    pub config_from: Option<ConfigReference>,
    /// Options of the driver.
    #[serde(deserialize_with = "null_default")]
    pub options: BTreeMap<String, String>,
    /// Labels.
    #[serde(deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
}

/// Answer of `POST /networks/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreateResponse {
    /// The network's id.
    pub id: String,
    /// What was not as asked for.
    pub warning: String,
}

/// A container in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkContainer {
    /// The container's name.
    pub name: String,
    /// Id of its endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// MAC address.
    pub mac_address: String,
    /// IPv4 address with prefix length.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// IPv6 address with prefix length.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// A network, as lists and inspections show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// `local`.
    pub scope: String,
    /// Its driver.
    pub driver: String,
    /// Whether containers get IPv4 addresses.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// Whether containers get IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its pools.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// No way out.
    pub internal: bool,
    /// Whether single containers may join.
    pub attachable: bool,
    /// Of clusters; false.
    pub ingress: bool,
    /// The network whose configuration it uses.
    pub config_from: ConfigReference,
    /// A configuration for other networks.
    pub config_only: bool,
    /// Its containers by id; empty in lists.
    pub containers: BTreeMap<String, NetworkContainer>,
    /// Options of its driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Parameters of `GET /networks` and `POST /networks/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkFilterQuery {
    /// The filters.
    pub filters: Filters,
}

/// Parameters of `GET /networks/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkInspectQuery {
    /// Details of clusters; accepted.
    pub verbose: bool,
    /// Only networks of this scope.
    pub scope: String,
}

/// Body of `POST /networks/{id}/connect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkConnectRequest {
    /// The container's id or name.
    #[serde(deserialize_with = "null_default")]
    pub container: String,
    /// What it asks for.
    pub endpoint_config: Option<EndpointSettings>,
}

/// Body of `POST /networks/{id}/disconnect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkDisconnectRequest {
    /// The container's id or name.
    #[serde(deserialize_with = "null_default")]
    pub container: String,
    /// Also if the container is gone.
    #[serde(deserialize_with = "null_default")]
    pub force: bool,
}

/// Answer of `POST /networks/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkPruneResponse {
    /// The names of the removed networks.
    pub networks_deleted: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send() {
        let compose = r#"{"CheckDuplicate":true,"Name":"app_default","Driver":"bridge","EnableIPv6":null,"IPAM":null,
            "Internal":false,"Attachable":false,"ConfigFrom":null,"Options":null,"Labels":{"com.docker.compose.network":"default"}}"#;
        let request: NetworkCreateRequest = serde_json::from_str(compose).expect("compose");
        assert_eq!((request.name.as_str(), request.options.len(), request.labels.len()), ("app_default", 0, 1));
        let cli = r#"{"Name":"n","IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.1.0.0/16","AuxAddress":{"a":"10.1.0.9"}}]}}"#;
        let request: NetworkCreateRequest = serde_json::from_str(cli).expect("cli");
        let pool = &request.ipam.expect("ipam").config.expect("config")[0];
        assert_eq!(pool.auxiliary_addresses["a"], "10.1.0.9");
    }

    #[test]
    fn what_docker_answers() {
        let value = serde_json::to_value(Network::default()).expect("json");
        for key in [
            "Name",
            "Id",
            "Created",
            "Scope",
            "Driver",
            "EnableIPv4",
            "EnableIPv6",
            "IPAM",
            "Internal",
            "Attachable",
            "Ingress",
            "ConfigFrom",
            "ConfigOnly",
            "Containers",
            "Options",
            "Labels",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!(value["IPAM"], serde_json::json!({"Driver": "", "Options": null, "Config": null}));
        assert_eq!(
            serde_json::to_value(IpamPool { subnet: "10.0.0.0/8".into(), ..IpamPool::default() }).expect("json"),
            serde_json::json!({"Subnet": "10.0.0.0/8"})
        );
    }
}
