//! Programs run in a running container.

use serde::{Deserialize, Serialize};

use super::decode::{null_default, string_or_list};

/// `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecCreateRequest {
    /// `user[:group]`; empty is the container's.
    #[serde(deserialize_with = "null_default")]
    pub user: String,
    /// With all capabilities.
    #[serde(deserialize_with = "null_default")]
    pub privileged: bool,
    /// Its streams are a terminal.
    #[serde(deserialize_with = "null_default")]
    pub tty: bool,
    /// Rows and columns of the terminal at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
    /// Attach to standard input.
    #[serde(deserialize_with = "null_default")]
    pub attach_stdin: bool,
    /// Attach to standard error.
    #[serde(deserialize_with = "null_default")]
    pub attach_stderr: bool,
    /// Attach to standard output.
    #[serde(deserialize_with = "null_default")]
    pub attach_stdout: bool,
    /// Not used here; the start says it.
    #[serde(deserialize_with = "null_default")]
    pub detach: bool,
    /// Keys that leave it.
    #[serde(deserialize_with = "null_default")]
    pub detach_keys: String,
    /// `KEY=value`, beside the container's.
    pub env: Option<Vec<String>>,
    /// Working directory; empty is the container's.
    #[serde(deserialize_with = "null_default")]
    pub working_dir: String,
    /// The program and its arguments.
    #[serde(deserialize_with = "string_or_list")]
    pub cmd: Option<Vec<String>>,
}

/// Answer to an exec's create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecCreateResponse {
    /// Id of the exec.
    pub id: String,
}

/// `POST /exec/{id}/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecStartRequest {
    /// Answer at once; the program runs without a client.
    #[serde(deserialize_with = "null_default")]
    pub detach: bool,
    /// The client's streams are a terminal.
    #[serde(deserialize_with = "null_default")]
    pub tty: bool,
    /// Rows and columns of the terminal at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
}

/// `GET /exec/{id}/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecInspectResponse {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether its process is there.
    pub running: bool,
    /// Code of its end; `null` before that.
    pub exit_code: Option<i64>,
    /// What it runs.
    pub process_config: ExecProcessConfig,
    /// Whether its standard input is open.
    pub open_stdin: bool,
    /// Whether its standard error is open.
    pub open_stderr: bool,
    /// Whether its standard output is open.
    pub open_stdout: bool,
    /// Whether it will be forgotten.
    pub can_remove: bool,
    /// Id of the container.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Keys that leave it, base64 of their bytes.
    pub detach_keys: String,
    /// Its process on the host; 0 when it does not run.
    pub pid: i64,
}

/// What an exec runs; its fields are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecProcessConfig {
    /// Whether its streams are a terminal.
    pub tty: bool,
    /// The program.
    pub entrypoint: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Whether it has all capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// Its user, when it is not the container's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}
