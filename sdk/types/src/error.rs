//! The closed set of error kinds, and the error that crosses crate boundaries.

use serde::{Deserialize, Serialize};

/// Why an operation failed; the same list as `error-kind` of the plugin interface.
///
/// `core/http` maps a kind to an HTTP status in one function, the CLI to an exit code in one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request is wrong (400).
    Invalid,
    /// A named thing does not exist (404).
    NotFound,
    /// It exists already, or its state forbids the operation (409).
    Conflict,
    /// It is so already; nothing was done (304).
    NotModified,
    /// A policy forbids it (403).
    Denied,
    /// A plugin used what the operator did not grant (500).
    NotGranted,
    /// Credentials are missing or wrong (401).
    Unauthorized,
    /// Known, but not offered by this engine or driver (501).
    Unsupported,
    /// Something needed is away for now (503).
    Unavailable,
    /// It took too long (504).
    Deadline,
    /// A fault of the engine or of a plugin (500).
    Internal,
}

/// An error with its kind and a message for the client; the source is kept for the log.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of what can fail across crates.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A crate's own error that knows its kind. `Error::from` keeps it as the source.
pub trait Kinded: std::error::Error + Send + Sync + 'static {
    /// Which kind this error is; total over all variants.
    fn kind(&self) -> ErrorKind;
}

impl<E: Kinded> From<E> for Error {
    fn from(error: E) -> Self {
        Self { kind: error.kind(), message: error.to_string(), source: Some(Box::new(error)) }
    }
}

impl Error {
    /// An error of this kind with this message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same with the error that caused it.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// `Invalid` with this message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// `NotFound` with this message.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// `Conflict` with this message.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// `Denied` with this message.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, message)
    }

    /// `Internal` with this message.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error with `prefix: ` before its message.
    #[must_use]
    pub fn context(self, prefix: impl std::fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{prefix}: {}", self.message), source: self.source }
    }
}
