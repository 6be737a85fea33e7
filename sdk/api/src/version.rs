//! API versions, and the only place that knows how older ones differ.
//!
//! A request of an older version is rewritten to the newest before it is decoded ([`upgrade`]), a reply to an older
//! client is rewritten from the newest when it is sent ([`downgrade`]). Handlers know one version.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use sheave_types::{Action, Result};

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16, pub u16);

impl Version {
    /// The newest, which is also the form that handlers and hooks see.
    pub const MAX: Self = Self(1, 51);
    /// The oldest that is served.
    pub const MIN: Self = Self(1, 24);

    /// Reads `1.43`. Parts that are missing count as 0, further parts do not count, as in Docker.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
        Self(parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The decoded parameters of a query, before they have types.
pub type Params = BTreeMap<String, Vec<String>>;

/// Whether [`upgrade`] can change the body of such a request.
pub fn upgrades_body(action: Action, version: Version) -> bool {
    let _ = (action, version);
    false
}

/// Rewrites a request of an older version to the newest one.
///
/// # Errors
/// `invalid` for what that version does not allow.
pub fn upgrade(action: Action, version: Version, query: &mut Params, body: &mut Value) -> Result<()> {
    let _ = (action, version, query, body);
    Ok(())
}

/// Whether [`downgrade`] can change such a reply.
pub fn downgrades(action: Action, version: Version) -> bool {
    crate::images::downgrade::downgrades(action, version)
}

/// Rewrites a reply of the newest version for an older client.
pub fn downgrade(action: Action, version: Version, reply: &mut Value) {
    crate::images::downgrade::downgrade(action, version, reply);
}
