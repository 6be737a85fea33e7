//! What is kept of a container.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sheave_api::containers::{
    ContainerConfig, EndpointSettings, Health, HostConfig, Mount, MountPoint, NetworkSettings, RestartPolicy,
};
use sheave_types::Id;

use crate::state::{Policy, State};
use crate::summary::Summary;
use crate::time::Timestamp;

/// What was asked for; it changes by `update` and `rename` only. Stored as the row's document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// When it was made.
    pub created: Timestamp,
    /// Id of its image, `sha256:…`.
    pub image: String,
    /// Descriptor of the image's manifest.
    pub manifest: serde_json::Value,
    /// `linux`, with the architecture where it is not the host's.
    pub platform: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The portable configuration, merged with the image's.
    pub config: ContainerConfig,
    /// The configuration for this host, with the defaults filled in.
    pub host_config: HostConfig,
    /// The networks it joins when it starts, and what it asks for in each.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// The storage driver of its writable layer.
    pub driver: String,
    /// Its mounts, in the order in which they are made.
    pub mounts: Vec<Mounted>,
}

/// A mount and what clients are not shown of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// As inspect shows it.
    pub point: MountPoint,
    /// As it was asked for.
    pub spec: Mount,
    /// A directory of the host that is missing is made.
    pub create_source: bool,
    /// A volume that is removed with the container.
    pub anonymous: bool,
}

/// What changes while it lives. Stored as the row's state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Live {
    /// Where it is in its life.
    pub state: State,
    /// Its networks as they are now.
    pub network: NetworkSettings,
}

/// Everything about a container at one moment, for readers.
#[derive(Debug, Clone)]
pub struct View {
    /// Its id.
    pub id: Id,
    /// Its name, without a slash.
    pub name: String,
    /// What was asked for.
    pub record: Arc<Record>,
    /// Where it is in its life.
    pub state: State,
    /// Its networks as they are now.
    pub network: Arc<NetworkSettings>,
    /// How its health check stands.
    pub health: Option<Arc<Health>>,
    /// How many runs, and failed starts, have ended.
    pub ends: u64,
    /// Its line of the list.
    pub summary: Arc<Summary>,
}

impl Record {
    /// Its restart policy.
    pub fn policy(&self) -> Policy {
        policy(&self.host_config.restart_policy)
    }

    /// What events of it carry: its labels, image and name.
    pub fn attributes(&self, name: &str) -> BTreeMap<String, String> {
        let mut attributes = self.config.labels.clone().unwrap_or_default();
        attributes.insert("image".into(), self.config.image.clone());
        attributes.insert("name".into(), name.to_owned());
        attributes
    }
}

fn policy(policy: &RestartPolicy) -> Policy {
    match policy.name.as_str() {
        "always" => Policy::Always,
        "unless-stopped" => Policy::UnlessStopped,
        "on-failure" => Policy::OnFailure(u32::try_from(policy.maximum_retry_count).unwrap_or(0)),
        _ => Policy::No,
    }
}

impl View {
    /// A container as it is stored.
    pub fn new(id: Id, name: String, record: Record, live: Live) -> Self {
        let mut view = Self {
            id,
            name,
            record: Arc::new(record),
            state: live.state,
            network: Arc::new(live.network),
            health: None,
            ends: 0,
            summary: Arc::default(),
        };
        view.refresh();
        view
    }

    /// Makes its line of the list anew, after a change.
    pub fn refresh(&mut self) {
        self.summary = Arc::new(Summary::of(self));
    }

    /// What of it is stored as its state.
    pub fn live(&self) -> Live {
        Live { state: self.state.clone(), network: (*self.network).clone() }
    }
}
