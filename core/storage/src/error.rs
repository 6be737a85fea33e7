//! Errors of storage and volumes.

use std::io;
use std::path::PathBuf;

use sheave_types::{ErrorKind, Kinded};

/// Why a snapshot or a volume could not be made, mounted or removed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A plan holds a path that does not lie below the driver's root.
    #[error("{plugin}: refused path {path:?}: {reason}")]
    Path {
        /// The plugin.
        plugin: String,
        /// The path as the plugin gave it.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A plan holds something else that the engine does not do.
    #[error("{plugin}: refused {what}: {reason}")]
    Refused {
        /// The plugin.
        plugin: String,
        /// The part of the plan.
        what: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A plan mounts a file system that the operator did not grant.
    #[error("not-granted: mount-types {fstype} (for {plugin})")]
    NotGranted {
        /// The plugin.
        plugin: String,
        /// The file system.
        fstype: String,
    },
    /// A file could not be read, made, changed or removed.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file system below the driver's root cannot do what is asked.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// Why it cannot be.
        reason: String,
    },
    /// A driver cannot be used on this host.
    #[error("storage driver {driver} cannot be used here: {reason}")]
    DriverUnavailable {
        /// The driver.
        driver: String,
        /// What failed.
        reason: String,
    },
    /// There is no usable storage driver at all.
    #[error("no storage driver can be used here: {reasons}")]
    NoDriver {
        /// Each driver with what failed.
        reasons: String,
    },
    /// There is no such volume.
    #[error("get {name}: no such volume")]
    NoSuchVolume {
        /// Its name.
        name: String,
    },
    /// A volume of this name has another driver.
    #[error("create {name}: driver '{driver}' already has volume '{name}': volume name must be unique")]
    OtherDriver {
        /// Its name.
        name: String,
        /// The driver that has it.
        driver: String,
    },
    /// A volume that containers use cannot be removed.
    #[error("remove {name}: volume is in use - [{users}]")]
    InUse {
        /// Its name.
        name: String,
        /// The containers.
        users: String,
    },
    /// A filter is not known, or its value is not.
    #[error(transparent)]
    Filters(sheave_types::Error),
    /// Another prune runs.
    #[error("a prune operation is already running")]
    Pruning,
    /// The server of a network file system has no address.
    #[error("volume {volume}: cannot resolve {address:?}: {source}")]
    Resolve {
        /// The volume.
        volume: String,
        /// The host name.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The plugin host.
    #[error(transparent)]
    Host(#[from] sheave_host::HostError),
    /// A driver's answer.
    #[error(transparent)]
    Driver(sheave_types::Error),
    /// The database.
    #[error(transparent)]
    Metadata(#[from] sheave_metadata::MetadataError),
    /// A background thread ended early.
    #[error("storage: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// What this crate's inner functions return.
pub(crate) type Result<T, E = StorageError> = std::result::Result<T, E>;

impl StorageError {
    /// For `map_err`: `what` failed on `path`.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// The same for the error numbers of system calls.
    pub(crate) fn errno(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let path = path.into();
        move |errno| Self::Io { what, path, source: errno.into() }
    }
}

impl Kinded for StorageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Path { .. } | Self::Refused { .. } | Self::Io { .. } | Self::Thread(_) => ErrorKind::Internal,
            Self::NotGranted { .. } => ErrorKind::NotGranted,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::DriverUnavailable { .. } | Self::NoDriver { .. } => ErrorKind::Unavailable,
            Self::NoSuchVolume { .. } => ErrorKind::NotFound,
            Self::OtherDriver { .. } | Self::InUse { .. } | Self::Pruning => ErrorKind::Conflict,
            Self::Resolve { .. } => ErrorKind::Invalid,
            Self::Host(e) => e.kind(),
            Self::Driver(e) | Self::Filters(e) => e.kind(),
            Self::Metadata(e) => e.kind(),
        }
    }
}
