//! What goes wrong between here and a registry, and how Docker words it.

use std::time::Duration;

use sheave_types::{Digest, ErrorKind, Kinded, Reference};

use crate::error::ManifestError;

/// Why something could not be read from a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry plugin's own.
    #[error("{0}")]
    Plugin(#[source] sheave_types::Error),
    /// The plugin names no place.
    #[error("no endpoint is known for the registry {0}")]
    NoEndpoint(String),
    /// The plugin names an endpoint that is none.
    #[error("the registry plugin names the unusable endpoint {0:?}")]
    Endpoint(String),
    /// No HTTP client for an endpoint, for example because of a broken certificate authority.
    #[error("{base}: {source}")]
    Client {
        /// The endpoint.
        base: String,
        /// Why.
        source: reqwest::Error,
    },
    /// No connection, or it broke.
    #[error("{} {url:?}: {reason}", verb(method))]
    Unreachable {
        /// The request.
        method: String,
        /// Its URL.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{} {url:?}: the registry sent nothing for {} seconds", verb(method), .after.as_secs_f32())]
    Stalled {
        /// The request.
        method: String,
        /// Its URL.
        url: String,
        /// How long.
        after: Duration,
    },
    /// The registry answered with an error of the distribution specification, or with a status that says no.
    #[error("{}", refusal(*status, code, message, url))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's code, for example `MANIFEST_UNKNOWN`; empty if the registry gave none.
        code: String,
        /// Its message.
        message: String,
        /// What was asked.
        url: String,
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// Over the limit of redirects.
    #[error("{0:?} redirects too often")]
    Redirects(String),
    /// An answer that does not follow the protocol.
    #[error("{url:?}: {reason}")]
    Protocol {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// More than such a thing may have.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// In bytes.
        limit: u64,
    },
    /// A document is another one than was asked for.
    #[error("manifest verification failed for digest {expected}: got {found}")]
    ManifestDigest {
        /// Asked for.
        expected: Digest,
        /// Got.
        found: Digest,
    },
    /// A document cannot be used.
    #[error("{0}")]
    Manifest(#[source] ManifestError),
    /// A layout directory cannot be read.
    #[error("{path}: {source}")]
    Layout {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// `GET` as clients of Docker know it: `Get`.
fn verb(method: &str) -> String {
    let (first, rest) = method.split_at(method.len().min(1));
    format!("{first}{}", rest.to_ascii_lowercase())
}

fn refusal(status: u16, code: &str, message: &str, url: &str) -> String {
    if code.is_empty() {
        return format!(
            "{url:?}: the registry answered {status}{}{message}",
            if message.is_empty() { "" } else { ": " }
        );
    }
    format!("{}: {message}", code.to_ascii_lowercase().replace('_', " "))
}

impl RegistryError {
    /// Whether the server speaks the protocol and said no, so that asking it in another way is of no use.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Refused { code, status, .. } => !code.is_empty() || matches!(status, 401 | 403 | 404 | 429),
            Self::Plugin(_) | Self::ManifestDigest { .. } | Self::Manifest(_) | Self::TooLarge { .. } => true,
            _ => false,
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            Self::Unreachable { .. } | Self::Stalled { .. } => true,
            Self::Plugin(e) => matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Deadline),
            _ => false,
        }
    }

    /// How long the registry asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The error as Docker words it for a pull of `reference`.
    pub(crate) fn of_pull(self, reference: &Reference) -> sheave_types::Error {
        let not_found = |message: String| sheave_types::Error::not_found(message);
        match &self {
            Self::Refused { code, .. } if code == "DENIED" || code == "UNAUTHORIZED" => not_found(format!(
                "pull access denied for {}, repository does not exist or may require 'docker login': {self}",
                reference.familiar_name()
            )),
            Self::Refused { code, status: 404, .. } if code == "MANIFEST_UNKNOWN" || code.is_empty() => {
                let said =
                    if code.is_empty() { "manifest unknown: manifest unknown".to_owned() } else { self.to_string() };
                not_found(format!("manifest for {} not found: {said}", reference.familiar()))
            }
            Self::Refused { code, .. } if code == "MANIFEST_UNKNOWN" => {
                not_found(format!("manifest for {} not found: {self}", reference.familiar()))
            }
            Self::Refused { code, .. } if code == "NAME_UNKNOWN" => {
                not_found(format!("repository {} not found: {self}", reference.familiar_name()))
            }
            // A 401 of the engine's own makes the docker command ask for a password of Docker Hub.
            _ if self.kind() == ErrorKind::Unauthorized => sheave_types::Error::internal(self.to_string()),
            _ => self.into(),
        }
    }
}

impl Kinded for RegistryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Plugin(e) => e.kind(),
            Self::Refused { status: 401, .. } => ErrorKind::Unauthorized,
            Self::Refused { status: 403, .. } => ErrorKind::Denied,
            Self::Refused { status: 404, .. } => ErrorKind::NotFound,
            Self::Refused { status: 429 | 503, .. } => ErrorKind::Unavailable,
            Self::NoEndpoint(_) => ErrorKind::NotFound,
            Self::Stalled { .. } => ErrorKind::Deadline,
            Self::Manifest(e) => e.kind(),
            Self::ManifestDigest { .. } | Self::TooLarge { .. } => ErrorKind::Invalid,
            Self::Refused { .. }
            | Self::Endpoint(_)
            | Self::Client { .. }
            | Self::Unreachable { .. }
            | Self::Redirects(_)
            | Self::Protocol { .. }
            | Self::Layout { .. } => ErrorKind::Internal,
        }
    }
}
