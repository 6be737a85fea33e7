//! The driver's configuration: its table in the engine's configuration.

use serde::Deserialize;

/// All keys may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The MTU of networks that do not choose one; 0 leaves it to the kernel.
    pub mtu: u32,
    /// Whether a container reaches its own published port by the host's address through the bridge's port. On by default.
    pub hairpin: Option<bool>,
}
