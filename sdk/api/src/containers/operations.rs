//! Wait, top, update, prune, changes, archive.

use serde::{Deserialize, Serialize};

use super::decode::null_default;
use super::host_config::RestartPolicy;
use super::resources::Resources;

/// Answer to a wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerWaitResponse {
    /// The exit code.
    pub status_code: i64,
    /// Why waiting failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
}

/// Why waiting failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitError {
    /// In words.
    pub message: String,
}

/// Processes of a container, as `ps` prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerTopResponse {
    /// One row a process, as many fields as there are titles.
    pub processes: Vec<Vec<String>>,
    /// Titles of the fields.
    pub titles: Vec<String>,
}

/// New limits for a container; zero and `null` leave a limit as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerUpdateRequest {
    /// The limits.
    #[serde(flatten)]
    pub resources: Resources,
    /// The restart policy; an empty name leaves it as it is.
    #[serde(deserialize_with = "null_default")]
    pub restart_policy: RestartPolicy,
}

/// Answer to an update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerUpdateResponse {
    /// What was changed or left out; `null` when nothing was.
    pub warnings: Option<Vec<String>>,
}

/// Answer to a prune.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerPruneResponse {
    /// Ids of the removed containers; `null` when there are none.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes that are free now.
    pub space_reclaimed: u64,
}

/// A path that differs from the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FilesystemChange {
    /// The path.
    pub path: String,
    /// 0 modified, 1 added, 2 deleted.
    pub kind: u8,
}

/// A file of a container, in the header `X-Docker-Container-Path-Stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PathStat {
    /// Last part of its path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Type and mode as Go's `os.FileMode`.
    pub mode: u32,
    /// RFC 3339 with nanoseconds.
    pub mtime: String,
    /// Where a symbolic link points to.
    pub link_target: String,
}
