//! Errors of the plugin host.

use sheave_plugin::ManifestError;
use sheave_types::{ErrorKind, Kinded};

/// Why a plugin could not be loaded or a call into it failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its manifest is refused.
    #[error("plugin {plugin}: {source}")]
    Manifest {
        /// The plugin, as far as it is known.
        plugin: String,
        /// What is wrong.
        source: ManifestError,
    },
    /// The manifest names a kind that the artifact does not have.
    #[error("plugin {plugin}: the manifest names the kind {kind}, but the plugin does not export it")]
    Missing {
        /// The plugin.
        plugin: String,
        /// The kind.
        kind: String,
    },
    /// Two plugins have one name.
    #[error("plugin {plugin}: the name is taken by another plugin")]
    Duplicate {
        /// The name.
        plugin: String,
    },
    /// No plugin of this kind has this name.
    #[error("{kind} driver {driver:?} not found: this engine has {known}")]
    Unknown {
        /// The kind.
        kind: &'static str,
        /// What was asked for.
        driver: String,
        /// What there is.
        known: String,
    },
    /// The plugin answered with an error.
    #[error("{message}")]
    Answered {
        /// The plugin.
        plugin: String,
        /// Its kind of error.
        kind: ErrorKind,
        /// What it said.
        message: String,
    },
    /// It did not answer in time.
    #[error("plugin {plugin}: {method} did not answer within {millis} ms")]
    Deadline {
        /// The plugin.
        plugin: String,
        /// The method.
        method: &'static str,
        /// The deadline.
        millis: u128,
    },
    /// It panicked.
    #[error("plugin {plugin}: {method} panicked: {message}")]
    Panicked {
        /// The plugin.
        plugin: String,
        /// The method.
        method: &'static str,
        /// The panic's message.
        message: String,
    },
    /// Each of its threads is stuck in a call.
    #[error("plugin {plugin}: all of its {threads} threads are busy or stuck")]
    Stuck {
        /// The plugin.
        plugin: String,
        /// How many threads it has.
        threads: usize,
    },
    /// It failed too often and rests.
    #[error("plugin {plugin} is quarantined after repeated faults, the last: {reason}")]
    Quarantined {
        /// The plugin.
        plugin: String,
        /// The last fault.
        reason: String,
    },
    /// Its state could not be written.
    #[error("plugin {plugin}: state: {source}")]
    State {
        /// The plugin.
        plugin: String,
        /// The database's error.
        source: sheave_metadata::MetadataError,
    },
    /// Its directory could not be made.
    #[error("plugin {plugin}: {path}: {source}")]
    Root {
        /// The plugin.
        plugin: String,
        /// The directory.
        path: std::path::PathBuf,
        /// The file system's error.
        source: std::io::Error,
    },
    /// The client for outgoing requests could not be made.
    #[error("plugin {plugin}: outgoing requests: {source}")]
    Client {
        /// The plugin.
        plugin: String,
        /// The HTTP library's error.
        source: reqwest::Error,
    },
}

impl Kinded for HostError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Manifest { .. } | Self::Missing { .. } => ErrorKind::Invalid,
            Self::Duplicate { .. } => ErrorKind::Conflict,
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::Answered { kind, .. } => *kind,
            Self::Deadline { .. } => ErrorKind::Deadline,
            Self::Stuck { .. } | Self::Quarantined { .. } => ErrorKind::Unavailable,
            Self::State { source, .. } => source.kind(),
            Self::Panicked { .. } | Self::Root { .. } | Self::Client { .. } => ErrorKind::Internal,
        }
    }
}

/// The engine's kind for a plugin's.
pub(crate) fn kind_of(kind: sheave_plugin::ErrorKind) -> ErrorKind {
    use sheave_plugin::ErrorKind as Theirs;
    match kind {
        Theirs::Invalid => ErrorKind::Invalid,
        Theirs::NotFound => ErrorKind::NotFound,
        Theirs::Conflict => ErrorKind::Conflict,
        Theirs::Denied => ErrorKind::Denied,
        Theirs::NotGranted => ErrorKind::NotGranted,
        Theirs::Unauthorized => ErrorKind::Unauthorized,
        Theirs::Unsupported => ErrorKind::Unsupported,
        Theirs::Unavailable => ErrorKind::Unavailable,
        Theirs::Deadline => ErrorKind::Deadline,
        Theirs::Internal => ErrorKind::Internal,
    }
}
