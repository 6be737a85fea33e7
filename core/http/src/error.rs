//! What the server itself refuses, and how an error becomes an answer.

use std::path::PathBuf;

use http::StatusCode;
use sheave_api::Version;
use sheave_types::{ErrorKind, Kinded};

/// The HTTP status of an error kind; the only place that knows.
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::NotGranted | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Errors of the server, the texts of Docker where it has one.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No such path, or not with this method.
    #[error("page not found")]
    UnknownPath,
    /// The version in the path is below the oldest.
    #[error(
        "client version {0} is too old. Minimum supported API version is {min}, please upgrade your client to a newer version",
        min = Version::MIN
    )]
    TooOld(Version),
    /// The version in the path is above the newest.
    #[error("client version {0} is too new. Maximum supported API version is {max}", max = Version::MAX)]
    TooNew(Version),
    /// A body that does not say that it is JSON.
    #[error("unsupported Content-Type header ({0}): must be 'application/json'")]
    ContentType(String),
    /// A body that is not JSON, or not of the right shape.
    #[error("invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// No body where there must be one.
    #[error("invalid JSON: got EOF while reading request body")]
    NoBody,
    /// More after the JSON value.
    #[error("unexpected content after JSON")]
    Trailing,
    /// A body over the limit.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body could not be read to its end.
    #[error("reading the request body: {0}")]
    Body(#[source] hyper::Error),
    /// A parameter of the query.
    #[error("invalid value for the parameter {name}: {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An operation that this engine does not have.
    #[error("{0} is not implemented by this engine")]
    Missing(&'static str),
    /// Swarm endpoints, as an engine outside of a swarm answers them.
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
    )]
    NoSwarm,
    /// A request that a web page of another site made.
    #[error("requests of web pages of other sites are refused: {0}")]
    CrossSite(String),
    /// The handler panicked; the log has the details.
    #[error("internal error: the operation {0} failed unexpectedly; the engine's log has the details")]
    Panicked(&'static str),
}

impl Kinded for HttpError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownPath => ErrorKind::NotFound,
            Self::TooOld(_)
            | Self::TooNew(_)
            | Self::ContentType(_)
            | Self::Json(_)
            | Self::NoBody
            | Self::Trailing
            | Self::TooLarge(_)
            | Self::Body(_)
            | Self::Parameter { .. } => ErrorKind::Invalid,
            Self::Missing(_) => ErrorKind::Unsupported,
            Self::NoSwarm => ErrorKind::Unavailable,
            Self::CrossSite(_) => ErrorKind::Denied,
            Self::Panicked(_) => ErrorKind::Internal,
        }
    }
}

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not an address of a known form.
    #[error("{0:?}: use unix:///path/to/socket or tcp://127.0.0.1:PORT")]
    Address(String),
    /// A TCP address that others can reach.
    #[error(
        "{0:?}: plain TCP gives root on this host to everyone who can reach it, so only loopback addresses are accepted, \
         and TLS is not offered; use the unix socket, for example over ssh (DOCKER_HOST=ssh://host)"
    )]
    NotLoopback(String),
    /// Another process serves this socket.
    #[error("{0}: another process listens here; give this engine another -H/--host or stop the other one")]
    InUse(PathBuf),
    /// Something that is not a socket is in the way.
    #[error("{0}: exists and is not a socket; it is left alone")]
    NotSocket(PathBuf),
    /// The group that was asked for does not exist.
    #[error("group {0:?} does not exist")]
    Group(String),
    /// A system call failed.
    #[error("{address}: {source}")]
    Io {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Kinded for ListenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Address(_) | Self::NotLoopback(_) | Self::Group(_) => ErrorKind::Invalid,
            Self::InUse(_) | Self::NotSocket(_) => ErrorKind::Conflict,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }
}
