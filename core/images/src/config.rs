//! Image configurations.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/config.md>

use serde::Deserialize;
use sheave_api::images::ImageConfig;
use sheave_types::{Digest, Platform};

use crate::error::ManifestError;

/// What is read of a configuration blob.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    /// RFC 3339.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// `amd64`
    pub architecture: Option<String>,
    /// `v7`
    pub variant: Option<String>,
    /// `linux`
    pub os: Option<String>,
    /// Of Windows.
    #[serde(rename = "os.version")]
    pub os_version: Option<String>,
    /// The engine that built it.
    pub docker_version: Option<String>,
    /// Of the commit that made it.
    pub comment: Option<String>,
    /// What it says about its containers.
    pub config: Option<ImageConfig>,
    /// Its layers.
    pub rootfs: RootFs,
    /// How it was made, the first step first.
    pub history: Option<Vec<History>>,
}

/// The layers that a configuration names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// The digests of the uncompressed layers, the lowest first.
    pub diff_ids: Option<Vec<Digest>>,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339.
    pub created: Option<String>,
    /// The instruction.
    pub created_by: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// Of the commit.
    pub comment: Option<String>,
    /// Whether it made no layer.
    pub empty_layer: Option<bool>,
}

impl ConfigFile {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ManifestError::Config`], and [`ManifestError::OperatingSystem`] if it is not for Linux.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let this: Self = serde_json::from_slice(bytes).map_err(ManifestError::Config)?;
        match this.os.as_deref() {
            None | Some("" | "linux") => Ok(this),
            Some(other) => Err(ManifestError::OperatingSystem(other.to_owned())),
        }
    }

    /// The digests of its uncompressed layers.
    pub fn diff_ids(&self) -> &[Digest] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    /// What it is for. An image that does not say is for this machine.
    pub fn platform(&self) -> Platform {
        let host = Platform::host();
        let architecture = self.architecture.as_deref().filter(|a| !a.is_empty());
        let (architecture, variant) = match architecture {
            Some(architecture) => (architecture, self.variant.as_deref().unwrap_or_default()),
            None => (host.architecture.as_str(), host.variant.as_str()),
        };
        Platform::new("linux", architecture, variant)
    }
}
