//! `POST /containers/create`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::ContainerConfig;
use super::decode::null_default;
use super::endpoints::EndpointSettings;
use super::host_config::HostConfig;

/// What a container is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerCreateRequest {
    /// The portable part, at the top of the body.
    #[serde(flatten)]
    pub config: ContainerConfig,
    /// The part that depends on the host.
    #[serde(deserialize_with = "null_default")]
    pub host_config: HostConfig,
    /// The networks to join.
    #[serde(deserialize_with = "null_default")]
    pub networking_config: NetworkingConfig,
}

/// The networks to join, by name or id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkingConfig {
    /// An endpoint a network; `null` is one without wishes.
    #[serde(deserialize_with = "null_default")]
    pub endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
}

/// Answer to a create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerCreateResponse {
    /// Id of the new container.
    pub id: String,
    /// What was changed or left out; an empty list when nothing was.
    pub warnings: Vec<String>,
}
