//! Modes of namespaces: private, the host's, another container's.

use super::error::{Result, SpecError};

/// Reads `container:<id>`; `Some("")` when the container is not named.
fn container(text: &str) -> Option<&str> {
    text.strip_prefix("container:")
}

/// Which network a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    /// The default bridge, or a network by name or id.
    Network(String),
    /// The host's.
    Host,
    /// None but `lo`.
    None,
    /// That of another container, by name or id.
    Container(String),
}

impl NetworkMode {
    /// Reads `HostConfig.NetworkMode`; empty and `default` are `bridge`.
    ///
    /// # Errors
    /// `container:` without a container.
    pub fn read(text: &str) -> Result<Self> {
        match (text, container(text)) {
            (_, Some("")) => Err(SpecError::refused(
                "HostConfig.NetworkMode",
                "Invalid network mode: invalid container format container:<name|id>",
            )),
            (_, Some(id)) => Ok(Self::Container(id.to_owned())),
            ("host", _) => Ok(Self::Host),
            ("none", _) => Ok(Self::None),
            ("" | "default", _) => Ok(Self::Network("bridge".to_owned())),
            (network, _) => Ok(Self::Network(network.to_owned())),
        }
    }

    /// Whether a namespace is made for the container.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Network(_) | Self::None)
    }
}

/// Which System V IPC objects and shared memory a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpcMode {
    /// Its own without `/dev/shm`.
    None,
    /// Its own.
    Private,
    /// Its own, and others may join it.
    Shareable,
    /// The host's.
    Host,
    /// That of another container.
    Container(String),
}

impl IpcMode {
    /// Reads `HostConfig.IpcMode`; empty is private.
    ///
    /// # Errors
    /// `invalid IPC mode: x`.
    pub fn read(text: &str) -> Result<Self> {
        match (text, container(text)) {
            (_, Some(id)) if !id.is_empty() => Ok(Self::Container(id.to_owned())),
            ("" | "private", _) => Ok(Self::Private),
            ("none", _) => Ok(Self::None),
            ("shareable", _) => Ok(Self::Shareable),
            ("host", _) => Ok(Self::Host),
            _ => Err(SpecError::refused("HostConfig.IpcMode", format!("invalid IPC mode: {text}"))),
        }
    }
}

/// Which processes a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PidMode {
    /// Its own.
    Private,
    /// The host's.
    Host,
    /// Those of another container.
    Container(String),
}

impl PidMode {
    /// Reads `HostConfig.PidMode`.
    ///
    /// # Errors
    /// `invalid PID mode: x`.
    pub fn read(text: &str) -> Result<Self> {
        match (text, container(text)) {
            (_, Some(id)) if !id.is_empty() => Ok(Self::Container(id.to_owned())),
            ("", _) => Ok(Self::Private),
            ("host", _) => Ok(Self::Host),
            _ => Err(SpecError::refused("HostConfig.PidMode", format!("invalid PID mode: {text}"))),
        }
    }
}

/// Whether a container sees the whole tree of cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupnsMode {
    /// Its own cgroup is its root.
    Private,
    /// The host's.
    Host,
}

impl CgroupnsMode {
    /// Reads `HostConfig.CgroupnsMode`; empty is `None`, the host's default.
    ///
    /// # Errors
    /// `invalid cgroup namespace mode: x`.
    pub fn read(text: &str) -> Result<Option<Self>> {
        match text {
            "" => Ok(None),
            "private" => Ok(Some(Self::Private)),
            "host" => Ok(Some(Self::Host)),
            _ => Err(SpecError::refused("HostConfig.CgroupnsMode", format!("invalid cgroup namespace mode: {text}"))),
        }
    }
}
