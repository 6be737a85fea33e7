//! Volumes: the bodies and queries of `/volumes/…` at API 1.51.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Filters;
use crate::containers::null_default;

/// The label of a volume that was made without a name; pruning takes these alone unless it is told otherwise.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// Body of `POST /volumes/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeCreateRequest {
    /// Its name; empty makes one of 64 hexadecimal digits.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Its driver; empty is `local`.
    #[serde(deserialize_with = "null_default")]
    pub driver: String,
    /// Options of the driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Volumes of a cluster, which an engine outside of a swarm does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_volume_spec: Option<serde_json::Value>,
}

/// A volume, in lists and alone. `Labels` and `Options` are null where there are none, as Docker has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    /// RFC 3339, seconds.
    pub created_at: String,
    /// Its driver.
    pub driver: String,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Where its data is on this host.
    pub mountpoint: String,
    /// Its name.
    pub name: String,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
    /// `local` or `global`.
    pub scope: String,
    /// What the driver tells about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<BTreeMap<String, serde_json::Value>>,
    /// Only in `/system/df`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<VolumeUsage>,
}

/// What a volume takes, in `/system/df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeUsage {
    /// How many containers refer to it.
    pub ref_count: i64,
    /// Bytes; -1 where the driver does not tell.
    pub size: i64,
}

/// Answer of `GET /volumes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeListResponse {
    /// Never null.
    pub volumes: Vec<Volume>,
    /// Null where there are none.
    pub warnings: Option<Vec<String>>,
}

/// Answer of `POST /volumes/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumePruneResponse {
    /// The names of those that are gone.
    pub volumes_deleted: Vec<String>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// Query of `GET /volumes` and `POST /volumes/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeFilterQuery {
    /// Which volumes.
    pub filters: Filters,
}

/// Query of `DELETE /volumes/{name}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeRemoveQuery {
    /// A volume that does not exist is no error.
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send() {
        for (text, name) in [
            (r#"{}"#, ""),
            (r#"{"Name":null,"Driver":null,"DriverOpts":null,"Labels":null}"#, ""),
            (r#"{"Name":"v","Driver":"local","DriverOpts":{},"Labels":{"a":"b"},"Other":1}"#, "v"),
        ] {
            let request: VolumeCreateRequest = serde_json::from_str(text).expect(text);
            assert_eq!(request.name, name, "{text}");
        }
    }

    #[test]
    fn writes_nulls_where_docker_does() {
        let volume = Volume { name: "v".into(), ..Volume::default() };
        let json = serde_json::to_value(&volume).expect("json");
        assert!(json["Labels"].is_null() && json["Options"].is_null());
        assert!(json.get("Labels").is_some() && json.get("Status").is_none() && json.get("UsageData").is_none());
        let list = serde_json::to_string(&VolumeListResponse::default()).expect("json");
        assert_eq!(list, r#"{"Volumes":[],"Warnings":null}"#);
    }
}
