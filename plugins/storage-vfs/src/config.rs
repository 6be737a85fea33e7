//! The driver's table in the engine's configuration.

use serde::Deserialize;

/// It has nothing to set; a key here is a mistake and is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}
