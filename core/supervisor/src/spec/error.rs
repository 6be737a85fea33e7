//! Why a container cannot be made as it was asked for.

use std::path::PathBuf;

use sheave_types::{ErrorKind, Kinded};

/// Why a container's configuration is refused, or could not be turned into a runtime specification.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A field has a value that cannot be; the text is Docker's, which clients match.
    #[error("{text}")]
    Refused {
        /// The field, as in `HostConfig.Memory`.
        field: &'static str,
        /// What the client is told.
        text: String,
    },
    /// A field is known and does nothing in this engine yet, so it is not accepted.
    #[error("{field} is not supported by this engine (asked for: {value})")]
    Unsupported {
        /// The field, as in `HostConfig.Init`.
        field: &'static str,
        /// What was asked for.
        value: String,
    },
    /// A mount in its long form is wrong.
    #[error("invalid mount config for type \"{kind}\": {reason}")]
    Mount {
        /// The mount's type.
        kind: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A user or group is not in the container's files.
    #[error("unable to find {what} {name}: no matching entries in {file} file")]
    NoSuchUser {
        /// `user` or `group`.
        what: &'static str,
        /// The name as given.
        name: String,
        /// `passwd` or `group`.
        file: &'static str,
    },
    /// A user or group id is out of range.
    #[error("uids and gids must be in range 0-2147483647")]
    IdRange,
    /// A seccomp profile cannot be read.
    #[error("Decoding seccomp profile failed: {reason}")]
    Profile {
        /// What is wrong with it.
        reason: String,
    },
    /// A seccomp filter could not be made of a profile.
    #[error("compiling the seccomp profile: {step}")]
    Seccomp {
        /// What was being done.
        step: &'static str,
        /// What libseccomp says.
        source: libseccomp::error::SeccompError,
    },
    /// A file of the host or of the container could not be read.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A host device was asked for and is none.
    #[error("error gathering device information while adding custom device {path:?}: {reason}")]
    Device {
        /// Its path on the host.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A part of the runtime specification could not be put together.
    #[error("building the runtime specification: {0}")]
    Build(#[from] oci_spec::OciSpecError),
}

impl SpecError {
    /// A refusal of a field's value.
    pub(crate) fn refused(field: &'static str, text: impl Into<String>) -> Self {
        Self::Refused { field, text: text.into() }
    }
}

impl Kinded for SpecError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. }
            | Self::Mount { .. }
            | Self::NoSuchUser { .. }
            | Self::IdRange
            | Self::Profile { .. }
            | Self::Device { .. } => ErrorKind::Invalid,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Seccomp { .. } | Self::Io { .. } | Self::Build(_) => ErrorKind::Internal,
        }
    }
}

/// The result of this module.
pub type Result<T, E = SpecError> = std::result::Result<T, E>;
