//! Why the daemon cannot start.

use std::path::PathBuf;

use sheave_types::{ErrorKind, Kinded};

/// Errors of the daemon itself; those of its parts carry their own text.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration cannot be read.
    #[error("configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("configuration {path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// A setting has a value that cannot work.
    #[error("{setting}: {reason}")]
    Setting {
        /// The flag or key.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not root.
    #[error("sheaved must run as root: it makes mounts, namespaces and links")]
    NotRoot,
    /// Another daemon uses this directory.
    #[error("{path}: in use by another sheaved (process {pid}); give this one its own --data-root and --exec-root")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other's process id, as far as it is known.
        pid: String,
    },
    /// The file system refused something.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Logging cannot be set up.
    #[error(transparent)]
    Trace(#[from] sheave_telemetry::TraceError),
    /// A hook of the configuration is not loaded.
    #[error("[[hooks]]: there is no hook {name:?}; loaded: {known}")]
    UnknownHook {
        /// The name in the configuration.
        name: String,
        /// The names there are.
        known: String,
    },
}

impl Kinded for DaemonError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::Setting { .. } | Self::Trace(_) | Self::UnknownHook { .. } => {
                ErrorKind::Invalid
            }
            Self::NotRoot => ErrorKind::Denied,
            Self::Locked { .. } => ErrorKind::Conflict,
            Self::Read { .. } | Self::Io { .. } => ErrorKind::Internal,
        }
    }
}
