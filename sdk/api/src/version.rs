//! API versions, and the only place that knows how older ones differ.
//!
//! A request of an older version is rewritten to the newest before it is decoded ([`upgrade`]), a reply to an older
//! client is rewritten from the newest when it is sent ([`downgrade`]). Handlers know one version.

mod replies;
mod requests;

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
    match action {
        Action::ContainerCreate | Action::NetworkConnect => version < Version(1, 48),
        Action::ExecCreate | Action::ExecStart => version < Version(1, 42),
        _ => false,
    }
}

/// Rewrites a request of an older version to the newest one.
///
/// # Errors
/// `invalid` for what that version does not allow.
pub fn upgrade(action: Action, version: Version, query: &mut Params, body: &mut Value) -> Result<()> {
    if version == Version::MAX { Ok(()) } else { requests::upgrade(action, version, query, body) }
}

/// Whether [`downgrade`] can change such a reply.
pub fn downgrades(action: Action, version: Version) -> bool {
    match action {
        Action::SystemDf => version < Version(1, 51),
        Action::SystemInfo => version < Version(1, 50),
        Action::ContainerInspect | Action::ContainerList => version < Version(1, 48),
        _ => crate::images::downgrade::downgrades(action, version),
    }
}

/// Rewrites a reply of the newest version for an older client.
pub fn downgrade(action: Action, version: Version, reply: &mut Value) {
    if downgrades(action, version) {
        replies::downgrade(action, version, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_compares() {
        for (text, version) in
            [("1.43", Version(1, 43)), ("1", Version(1, 0)), ("1.24.9", Version(1, 24)), ("..", Version(0, 0))]
        {
            assert_eq!(Version::parse(text), version, "{text}");
        }
        assert!(Version(1, 9) < Version(1, 24));
        assert_eq!(Version::MAX.to_string(), "1.51");
    }
}
