//! An image as others use it, and as the database keeps it.

use serde::{Deserialize, Serialize};
use sheave_api::images::ImageConfig;
use sheave_types::{Digest, Platform};

use crate::chains::chain_ids;
use crate::config::ConfigFile;
use crate::media::Descriptor;

/// An image that is here.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// What it says about its containers.
    pub config: ImageConfig,
    /// Its whole configuration.
    pub file: ConfigFile,
    /// Its manifest, configuration and layers, and what this engine knows about it.
    pub record: ImageRecord,
    /// Its names, the full form: `docker.io/library/alpine:3`, `…@sha256:…`.
    pub references: Vec<String>,
}

/// The document of table `images`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The image's manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerRecord>,
    /// When a name was last given to it here; nanoseconds since 1970.
    #[serde(default)]
    pub tagged: Option<i64>,
    /// When it came; nanoseconds since 1970.
    pub added: i64,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The blob as the registry has it.
    pub blob: Descriptor,
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Bytes of the files in it.
    pub size: u64,
}

impl Image {
    /// The digests of its uncompressed layers, the lowest first.
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.record.layers.iter().map(|l| l.diff_id).collect()
    }

    /// The chain ids of its layers, the lowest first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        chain_ids(&self.diff_ids())
    }

    /// Bytes of the files in all its layers.
    pub fn size(&self) -> u64 {
        self.record.layers.iter().map(|l| l.size).sum()
    }

    /// What it is for.
    pub fn platform(&self) -> Platform {
        self.file.platform()
    }

    /// When it was made, RFC 3339.
    pub fn created(&self) -> Option<&str> {
        self.file.created.as_deref().filter(|c| !c.is_empty())
    }
}

impl ImageRecord {
    /// Every blob it needs.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Digest> {
        let all = [&self.manifest, &self.config].into_iter().chain(self.layers.iter().map(|l| &l.blob));
        all.filter_map(|d| d.digest.parse().ok())
    }
}
