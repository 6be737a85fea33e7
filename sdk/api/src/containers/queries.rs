//! The parameters of the container endpoints.

use serde::{Deserialize, Serialize};

use crate::Filters;

/// `GET /containers/json`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerListQuery {
    /// Those that do not run too.
    pub all: bool,
    /// At most this many, stopped ones included; zero and less is no limit.
    pub limit: i64,
    /// With the sizes of their layers.
    pub size: bool,
    /// Which ones.
    pub filters: Filters,
}

/// `POST /containers/create`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerCreateQuery {
    /// With or without a slash; one is made up where it is missing.
    pub name: Option<String>,
    /// `os[/architecture[/variant]]` of the image.
    pub platform: Option<String>,
}

/// `GET /containers/{id}/json`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerInspectQuery {
    /// With the sizes of its layers.
    pub size: bool,
}

/// `GET /containers/{id}/logs`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "they are the parameters of the API")]
pub struct ContainerLogsQuery {
    /// Go on until it ends.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Lines begin with their time.
    pub timestamps: bool,
    /// Lines begin with their attributes.
    pub details: bool,
    /// Lines from the end; `all` or nothing is all.
    pub tail: Option<String>,
    /// Seconds since 1970 with a fraction; nothing before.
    pub since: Option<String>,
    /// Nothing after.
    pub until: Option<String>,
}

/// `POST /containers/{id}/attach`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "they are the parameters of the API")]
pub struct ContainerAttachQuery {
    /// What was written before, from the log.
    pub logs: bool,
    /// What comes from now on.
    pub stream: bool,
    /// Input goes to the container.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// The keys to leave with, `ctrl-p,ctrl-q` where it is missing.
    pub detach_keys: Option<String>,
}

/// `POST /containers/{id}/stop` and `/restart`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStopQuery {
    /// Instead of the container's own.
    pub signal: Option<String>,
    /// Seconds until it is killed; negative is never.
    pub t: Option<i64>,
}

/// `POST /containers/{id}/kill`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerKillQuery {
    /// `SIGKILL` where it is missing.
    pub signal: Option<String>,
}

/// `POST /containers/{id}/wait`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerWaitQuery {
    /// `not-running`, `next-exit`, `removed`.
    pub condition: Option<String>,
}

/// `DELETE /containers/{id}`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRemoveQuery {
    /// Its anonymous volumes too.
    pub v: bool,
    /// Also if it runs: it is killed.
    pub force: bool,
    /// The link of this name instead of the container.
    pub link: bool,
}

/// `POST /containers/{id}/rename`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRenameQuery {
    /// The new name.
    pub name: Option<String>,
}

/// `POST /containers/{id}/resize` and `POST /exec/{id}/resize`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResizeQuery {
    /// Rows.
    pub h: Option<u32>,
    /// Columns.
    pub w: Option<u32>,
}

/// `GET /containers/{id}/top`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerTopQuery {
    /// Arguments of `ps`; `-ef` where it is missing.
    pub ps_args: Option<String>,
}

/// `POST /containers/prune`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerPruneQuery {
    /// Which ones.
    pub filters: Filters,
}
