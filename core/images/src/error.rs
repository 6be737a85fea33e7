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

/// What can go wrong in the content store.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The file system's own error.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A blob is not here.
    #[error("blob {0} is not in the content store")]
    Missing(Digest),
    /// The content is another blob than it was said to be.
    #[error("failed to verify digest: expected {expected}, got {found}")]
    Digest {
        /// What it was said to be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The content has another size than it was said to have.
    #[error("blob {digest} has {found} bytes, expected {expected}")]
    Size {
        /// The blob.
        digest: Digest,
        /// What it was said to have.
        expected: u64,
        /// What it has, or had when it was given up.
        found: u64,
    },
    /// A blob that is read whole is larger than such blobs are.
    #[error("blob {digest} is larger than {limit} bytes")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// In bytes.
        limit: u64,
    },
    /// The writing thread ended without an answer.
    #[error("writing blob {0} was stopped")]
    Stopped(Digest),
    /// `index.json` cannot be written.
    #[error("index.json: {0}")]
    Index(#[source] serde_json::Error),
}

impl Kinded for ContentError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Unavailable,
            Self::Io { .. } | Self::Stopped(_) | Self::Index(_) | Self::Missing(_) => ErrorKind::Internal,
            Self::Digest { .. } | Self::Size { .. } | Self::TooLarge { .. } => ErrorKind::Invalid,
        }
    }
}

/// Why a manifest, an index or a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON of this shape.
    #[error("the manifest cannot be read: {0}")]
    Syntax(#[source] serde_json::Error),
    /// The format of 2014, which carries no digests of layers' content.
    #[error("Docker image manifest version 2, schema 1 is no longer supported: have the image's owner push it anew")]
    SchemaOne,
    /// Neither a manifest nor an index.
    #[error("mediaType in manifest should be one of an image manifest or index, not {0:?}")]
    Unknown(String),
    /// A digest that is none, or by another algorithm than SHA-256.
    #[error("invalid digest {0:?} in the manifest")]
    Digest(String),
    /// More layers than can be mounted.
    #[error("the image has {0} layers, more than can be mounted")]
    TooManyLayers(usize),
    /// The configuration does not fit the manifest.
    #[error("the image's configuration names {named} layers, its manifest {there}")]
    Layers {
        /// In the configuration.
        named: usize,
        /// In the manifest.
        there: usize,
    },
    /// The configuration cannot be read.
    #[error("the image's configuration cannot be read: {0}")]
    Config(#[source] serde_json::Error),
    /// Not for Linux.
    #[error("image operating system {0:?} cannot be used on this platform: operating system is not supported")]
    OperatingSystem(String),
}

impl Kinded for ManifestError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
