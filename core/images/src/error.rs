//! Errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use sheave_types::{Digest, ErrorKind, Kinded};

/// What is wrong with a layer, or with the place it is unpacked to.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A path leads out of the layer.
    #[error("{} leads out of the layer", .0.display())]
    Escapes(PathBuf),
    /// An entry cannot be used.
    #[error("{}: {}", .0.display(), .1)]
    Entry(PathBuf, &'static str),
    /// Only with the parent can be told what is meant.
    #[error("{} can only be unpacked over the parent", .0.display())]
    NeedsParent(PathBuf),
    /// Compressed in a way that layers are not.
    #[error("{0} compression is not one of layers: use gzip or zstd")]
    Compression(&'static str),
    /// Not a tar.
    #[error("the archive is broken: {0}")]
    Archive(#[source] io::Error),
    /// The blob cannot be read or decompressed.
    #[error("the layer cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The target cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The path in the layer.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system is full, or would be.
    #[error("no space left on device: {free} bytes are free")]
    NoSpace {
        /// Bytes free for anyone.
        free: u64,
    },
    /// Over the limit.
    #[error("it has more than {0} entries")]
    TooManyEntries(u64),
    /// Over the limit.
    #[error("its files with holes are larger than {0} bytes")]
    TooSparse(u64),
    /// The uncompressed tar is another one than the image's configuration names.
    #[error("the uncompressed layer is {found}, but the image names {expected}")]
    DiffId {
        /// What the configuration names.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
}

impl LayerError {
    pub(crate) fn write(path: &Path, errno: Errno) -> Self {
        Self::Write { path: path.to_owned(), source: errno.into() }
    }
}

impl Kinded for LayerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { .. } | Self::NeedsParent(_) | Self::Read(_) => ErrorKind::Internal,
            Self::NoSpace { .. } => ErrorKind::Unavailable,
            Self::Escapes(_)
            | Self::Entry(..)
            | Self::Compression(_)
            | Self::Archive(_)
            | Self::TooManyEntries(_)
            | Self::TooSparse(_)
            | Self::DiffId { .. } => ErrorKind::Invalid,
        }
    }
}
