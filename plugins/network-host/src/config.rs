//! The driver's configuration: it has no keys.

use serde::Deserialize;

/// Empty; a key in it is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}
