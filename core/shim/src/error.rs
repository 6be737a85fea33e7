//! What can go wrong between the daemon and a shim.

use sheave_types::{ErrorKind, Kinded};

/// An error of this crate's library.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A frame or message that the protocol does not allow.
    #[error("the shim's protocol was broken by {0}")]
    Protocol(&'static str),
    /// A message that is no JSON of its type.
    #[error("a message of the shim's protocol cannot be read: {0}")]
    Json(#[source] serde_json::Error),
    /// The socket failed.
    #[error("the shim cannot be reached: {0}")]
    Socket(#[source] nix::Error),
    /// The other side closed the connection.
    #[error("the shim closed the connection")]
    Closed,
    /// The shim could not be run.
    #[error("the shim cannot be started: {0}")]
    Spawn(#[source] std::io::Error),
    /// The shim refused a request.
    #[error("{message}")]
    Refused {
        /// Why.
        kind: ErrorKind,
        /// In words.
        message: String,
    },
}

/// The result of what can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<nix::Error> for Error {
    fn from(error: nix::Error) -> Self {
        Self::Socket(error)
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Protocol(_) | Self::Json(_) | Self::Spawn(_) => ErrorKind::Internal,
            Self::Socket(_) | Self::Closed => ErrorKind::Unavailable,
            Self::Refused { kind, .. } => *kind,
        }
    }
}
