//! Manifests, indexes and configurations: Docker's schema 2 and OCI, read with the same types.

use serde::Deserialize;
pub use sheave_api::images::{Descriptor, OciPlatform};
use sheave_types::{Digest, Platform};

use crate::error::ManifestError;

/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What registries are asked for.
pub const ACCEPT: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];
/// Largest manifest or index, in bytes.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// Largest image configuration, in bytes.
pub const CONFIG_LIMIT: u64 = 8 << 20;
/// Most layers of an image: what overlayfs can mount.
const LAYERS: usize = 500;

/// What a reference points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One image.
    Manifest(Box<Manifest>),
    /// Images by platform.
    Index(Vec<Descriptor>),
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Target {
    /// Reads a manifest or an index. `media_type` is what the registry said it is; the document's own word counts more.
    ///
    /// # Errors
    /// [`ManifestError`]: schema 1, another kind of document, digests that are none.
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self, ManifestError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(ManifestError::Syntax)?;
        if raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err(ManifestError::SchemaOne);
        }
        let media_type = raw.media_type.as_deref().unwrap_or(media_type);
        // A document that could be read both ways is refused: two tools would run two different images.
        match (raw.manifests, raw.config, raw.layers) {
            (Some(manifests), None, None) if is_index(media_type) || !ACCEPT.contains(&media_type) => {
                manifests.iter().try_for_each(check)?;
                Ok(Self::Index(manifests))
            }
            (None, Some(config), layers) if !is_index(media_type) => {
                let layers = layers.unwrap_or_default();
                if layers.len() > LAYERS {
                    return Err(ManifestError::TooManyLayers(layers.len()));
                }
                [&config].into_iter().chain(&layers).try_for_each(check)?;
                Ok(Self::Manifest(Box::new(Manifest { config, layers })))
            }
            _ => Err(ManifestError::Unknown(media_type.to_owned())),
        }
    }
}

fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_LIST
}

fn check(descriptor: &Descriptor) -> Result<(), ManifestError> {
    descriptor.digest().map(|_| ())
}

/// The parts of a descriptor that come from outside as text.
pub trait Checked {
    /// Its digest.
    ///
    /// # Errors
    /// [`ManifestError::Digest`] if it is none.
    fn digest(&self) -> Result<Digest, ManifestError>;
}

impl Checked for Descriptor {
    fn digest(&self) -> Result<Digest, ManifestError> {
        self.digest.parse().map_err(|_| ManifestError::Digest(self.digest.clone()))
    }
}

/// The first image of an index for a platform; attestations are none.
pub fn pick<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let of = |d: &&Descriptor| {
        let attestation = d.annotations.contains_key("vnd.docker.reference.type");
        let platform = d.platform.as_ref().map(|p| Platform::new(&p.os, &p.architecture, &p.variant));
        !attestation && platform.is_some_and(|p| wanted.accepts(&p))
    };
    // An exact variant before one that merely runs.
    let exact = manifests.iter().find(|d| {
        of(d) && d.platform.as_ref().is_some_and(|p| Platform::new(&p.os, &p.architecture, &p.variant) == *wanted)
    });
    exact.or_else(|| manifests.iter().find(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, media_type: &str) -> Result<&'static str, String> {
        match Target::parse(json.as_bytes(), media_type) {
            Ok(Target::Manifest(_)) => Ok("manifest"),
            Ok(Target::Index(_)) => Ok("index"),
            Err(e) => Err(e.to_string()),
        }
    }

    #[test]
    fn tells_manifests_from_indexes() {
        let d = format!(r#"{{"digest":"{}","size":1}}"#, Digest::of(b""));
        let manifest = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{d}]}}"#);
        assert_eq!(parse(&manifest, OCI_MANIFEST).as_deref(), Ok("manifest"));
        assert_eq!(parse(&manifest, "application/json").as_deref(), Ok("manifest"));
        assert_eq!(parse(&index, OCI_INDEX).as_deref(), Ok("index"));
        assert_eq!(parse(&index, "").as_deref(), Ok("index"));
        let both = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[],"manifests":[{d}]}}"#);
        let lying = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","config":{d},"layers":[]}}"#);
        let bad_digest = r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x"},"layers":[]}"#;
        for bad in ["", "[]", "{}", r#"{"schemaVersion":1,"fsLayers":[]}"#, &both, &lying, bad_digest] {
            assert!(parse(bad, OCI_MANIFEST).is_err(), "{bad}");
        }
    }

    #[test]
    fn picks_by_platform() {
        let entry = |arch: &str, variant: &str, attestation: bool| Descriptor {
            digest: format!("{arch}/{variant}"),
            platform: Some(OciPlatform {
                os: "linux".into(),
                architecture: arch.into(),
                variant: variant.into(),
                ..OciPlatform::default()
            }),
            annotations: attestation
                .then(|| ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()))
                .into_iter()
                .collect(),
            ..Descriptor::default()
        };
        let index = [
            entry("amd64", "", true),
            entry("arm", "v6", false),
            entry("arm64", "v8", false),
            entry("amd64", "", false),
            entry("amd64", "v3", false),
        ];
        for (wanted, found) in [
            ("linux/amd64", Some("amd64/")),
            ("linux/arm64", Some("arm64/v8")),
            ("linux/amd64/v3", Some("amd64/v3")),
            ("linux/arm/v6", Some("arm/v6")),
            ("linux/s390x", None),
        ] {
            let wanted: Platform = wanted.parse().expect("platform");
            assert_eq!(pick(&index, &wanted).map(|d| d.digest.as_str()), found);
        }
        assert!(!pick(&index, &"linux/amd64".parse().expect("platform")).expect("found").annotations.contains_key("x"));
    }
}
