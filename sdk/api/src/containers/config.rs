//! What of a container does not depend on its host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decode::{Empty, null_default, string_or_list};
use super::host_config::PortSet;
use crate::images::{self, ImageConfig};

/// The portable configuration of a container, also that of an image.
///
/// `None` in a list or map is Go's `nil`: it is sent as `null` and inherits the image's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// Host name in the container; empty means the first 12 digits of its id. At most 64 bytes.
    #[serde(deserialize_with = "null_default")]
    pub hostname: String,
    /// NIS domain name.
    #[serde(deserialize_with = "null_default")]
    pub domainname: String,
    /// `user[:group]`, by name or number; empty inherits the image's, then 0.
    #[serde(deserialize_with = "null_default")]
    pub user: String,
    /// Whether the client means to attach to standard input.
    #[serde(deserialize_with = "null_default")]
    pub attach_stdin: bool,
    /// Whether the client means to attach to standard output.
    #[serde(deserialize_with = "null_default")]
    pub attach_stdout: bool,
    /// Whether the client means to attach to standard error.
    #[serde(deserialize_with = "null_default")]
    pub attach_stderr: bool,
    /// Ports the container listens on: `{"80/tcp": {}}`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: PortSet,
    /// Standard streams are a terminal.
    #[serde(deserialize_with = "null_default")]
    pub tty: bool,
    /// Standard input is a pipe that stays open; otherwise it is `/dev/null`.
    #[serde(deserialize_with = "null_default")]
    pub open_stdin: bool,
    /// Standard input closes when the first client that attached leaves.
    #[serde(deserialize_with = "null_default")]
    pub stdin_once: bool,
    /// `KEY=value`; a `KEY` alone removes an inherited one.
    pub env: Option<Vec<String>>,
    /// Arguments, or the command when there is no entrypoint.
    #[serde(deserialize_with = "string_or_list")]
    pub cmd: Option<Vec<String>>,
    /// How to find out whether it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Windows only; stored.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// The image as the client named it.
    #[serde(deserialize_with = "null_default")]
    pub image: String,
    /// Paths that get an anonymous volume: `{"/data": {}}`.
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Working directory; made when missing.
    #[serde(deserialize_with = "null_default")]
    pub working_dir: String,
    /// The command that `cmd` are the arguments of.
    #[serde(deserialize_with = "string_or_list")]
    pub entrypoint: Option<Vec<String>>,
    /// No network is set up; the container has a namespace with `lo` alone.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub network_disabled: bool,
    /// MAC address of the first endpoint, as versions before 1.44 gave it.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Instructions for a build that starts from this image.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal `stop` sends; `SIGTERM` when empty.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds `stop` waits before it kills; 10 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of `CMD-SHELL` health checks and of shell-form instructions.
    #[serde(deserialize_with = "string_or_list", skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// A health check; zero and empty mean "inherit from the image".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Nanoseconds between checks.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Nanoseconds until a check counts as hung.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Nanoseconds in which failures do not count.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Nanoseconds between checks during the start period.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

impl From<&ImageConfig> for ContainerConfig {
    /// What a container inherits from an image.
    fn from(image: &ImageConfig) -> Self {
        let keys = |map: &Option<BTreeMap<String, _>>| -> BTreeMap<String, Empty> {
            map.iter().flatten().map(|(key, _)| (key.clone(), Empty {})).collect()
        };
        Self {
            user: image.user.clone(),
            exposed_ports: keys(&image.exposed_ports),
            env: image.env.clone(),
            cmd: image.cmd.clone(),
            healthcheck: image.healthcheck.as_ref().map(HealthConfig::from),
            args_escaped: image.args_escaped.unwrap_or_default(),
            volumes: image.volumes.is_some().then(|| keys(&image.volumes)),
            working_dir: image.working_dir.clone(),
            entrypoint: image.entrypoint.clone(),
            on_build: image.on_build.clone(),
            labels: image.labels.clone(),
            stop_signal: image.stop_signal.clone().unwrap_or_default(),
            shell: image.shell.clone(),
            ..Self::default()
        }
    }
}

impl From<&images::HealthConfig> for HealthConfig {
    fn from(check: &images::HealthConfig) -> Self {
        Self {
            test: check.test.clone().unwrap_or_default(),
            interval: check.interval.unwrap_or_default(),
            timeout: check.timeout.unwrap_or_default(),
            start_period: check.start_period.unwrap_or_default(),
            start_interval: check.start_interval.unwrap_or_default(),
            retries: check.retries.unwrap_or_default(),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
pub(super) fn is_zero(value: &i64) -> bool {
    *value == 0
}
