//! What can go wrong in this crate.

use std::io;

use sheave_types::{ErrorKind, Kinded};

/// An error of networks.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No such network.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// The prefix of an id fits several networks.
    #[error("network {0} is ambiguous ({1} matches found based on ID prefix)")]
    Ambiguous(String, usize),
    /// The name is in use.
    #[error("network with name {0} already exists")]
    NameInUse(String),
    /// A name that is reserved.
    #[error("operation is not permitted on predefined {0} network")]
    Predefined(String),
    /// Containers are attached.
    #[error("error while removing network: network {name} has active endpoints ({endpoints})")]
    ActiveEndpoints {
        /// The network's name.
        name: String,
        /// Each endpoint's name and id.
        endpoints: String,
    },
    /// The subnet is in use by a network or a route.
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    PoolOverlaps,
    /// No pool is left.
    #[error("all predefined address pools have been fully subnetted")]
    NoPool,
    /// No address is left.
    #[error("no available IPv4 addresses on this network's address pools: {name} ({id})")]
    NoAddress {
        /// The network's name.
        name: String,
        /// The network's id.
        id: String,
    },
    /// The address is leased.
    #[error("Address already in use")]
    AddressInUse,
    /// The request does not make sense.
    #[error("{0}")]
    Invalid(Refused),
    /// It is forbidden in this state.
    #[error("{0}")]
    Forbidden(Refused),
    /// The driver or this engine cannot do it.
    #[error("{0}")]
    Unsupported(Refused),
    /// A host port is taken by a container.
    #[error(
        "driver failed programming external connectivity on endpoint {container} ({endpoint}): Bind for {address}:{port} failed: port is already allocated"
    )]
    PortAllocated {
        /// The container's name.
        container: String,
        /// The endpoint's id.
        endpoint: String,
        /// The host's address.
        address: std::net::IpAddr,
        /// The host's port.
        port: u16,
    },
    /// A host port cannot be bound.
    #[error(
        "driver failed programming external connectivity on endpoint {container} ({endpoint}): failed to bind host port for {address}:{port}/{protocol}: {source}"
    )]
    PortBind {
        /// The container's name.
        container: String,
        /// The endpoint's id.
        endpoint: String,
        /// The host's address.
        address: std::net::IpAddr,
        /// The host's port.
        port: u16,
        /// `tcp`, `udp` or `sctp`.
        protocol: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A container is not attached.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// The kernel refused something.
    #[error("{what}: {source}")]
    Kernel {
        /// What was being done.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The thread that talks to the kernel has ended.
    #[error("the network thread has ended")]
    Ended,
    /// The database failed.
    #[error(transparent)]
    Metadata(#[from] sheave_metadata::MetadataError),
}

/// The sentence of an error that names what was refused.
#[derive(Debug)]
pub struct Refused(pub String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl NetworkError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(Refused(message.into()))
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden(Refused(message.into()))
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported(Refused(message.into()))
    }

    pub(crate) fn kernel(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Kernel { what: what.into(), source: source.into() }
    }
}

impl Kinded for NetworkError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchNetwork(_) => ErrorKind::NotFound,
            Self::NameInUse(_) => ErrorKind::Conflict,
            Self::Predefined(_) | Self::ActiveEndpoints { .. } | Self::PoolOverlaps | Self::Forbidden(_) => {
                ErrorKind::Denied
            }
            Self::Ambiguous(..) | Self::Invalid(_) | Self::NoPool => ErrorKind::Invalid,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::AddressInUse | Self::NotConnected { .. } => ErrorKind::Denied,
            Self::NoAddress { .. } => ErrorKind::Unavailable,
            Self::PortAllocated { .. } | Self::PortBind { .. } | Self::Kernel { .. } | Self::Ended => {
                ErrorKind::Internal
            }
            Self::Metadata(error) => error.kind(),
        }
    }
}

/// What this crate's functions return among themselves.
pub(crate) type Result<T, E = NetworkError> = std::result::Result<T, E>;
