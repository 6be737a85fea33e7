//! An OCI image layout directory as a registry.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use sheave_types::{Digest, Reference};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Body, Fetched, RegistryError};
use crate::error::ManifestError;
use crate::media::{Checked as _, Descriptor, MANIFEST_LIMIT};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One such directory.
pub(crate) struct Layout {
    directory: PathBuf,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// The entry that a reference means: named by the whole reference, by repository and tag, or by the tag alone.
fn find<'a>(manifests: &'a [Descriptor], reference: &Reference) -> Option<&'a Descriptor> {
    let tag = reference.tag().unwrap_or("latest");
    let names = [
        format!("{}:{tag}", reference.name()),
        format!("{}:{tag}", reference.familiar_name()),
        format!("{}:{tag}", reference.path()),
        tag.to_owned(),
    ];
    names.iter().find_map(|name| manifests.iter().rev().find(|m| m.annotations.get(REF_NAME) == Some(name)))
}

impl Layout {
    pub(super) fn new(path: &str) -> Self {
        Self { directory: PathBuf::from(path) }
    }

    pub(super) fn path(&self) -> String {
        self.directory.to_string_lossy().into_owned()
    }

    async fn read(&self, path: PathBuf, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let shown = path.to_string_lossy().into_owned();
        let at = |source: io::Error| RegistryError::Layout { path: shown.clone(), source };
        let file = tokio::fs::File::open(&path).await.map_err(at)?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).await.map_err(at)?;
        if bytes.len() as u64 > limit {
            return Err(RegistryError::TooLarge { what: shown, limit });
        }
        Ok(bytes)
    }

    async fn index(&self) -> Result<Vec<Descriptor>, RegistryError> {
        let bytes = self.read(self.directory.join("index.json"), MANIFEST_LIMIT).await?;
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|e| RegistryError::Manifest(ManifestError::Syntax(e)))?;
        Ok(index.manifests)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    fn unknown(&self, code: &str) -> RegistryError {
        RegistryError::Refused {
            status: 404,
            code: code.to_owned(),
            message: code.to_ascii_lowercase().replace('_', " "),
            url: self.path(),
            retry_after: None,
        }
    }

    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        let index = self.index().await?;
        let (digest, media_type) = match reference.digest() {
            Some(digest) => {
                let entry = index.iter().find(|m| m.digest == digest.to_string());
                (digest, entry.map_or(String::new(), |e| e.media_type.clone()))
            }
            None => {
                let entry = find(&index, reference).ok_or_else(|| self.unknown("MANIFEST_UNKNOWN"))?;
                (entry.digest().map_err(RegistryError::Manifest)?, entry.media_type.clone())
            }
        };
        let bytes = match self.read(self.blob_path(&digest), MANIFEST_LIMIT).await {
            Err(RegistryError::Layout { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(self.unknown("MANIFEST_UNKNOWN"));
            }
            other => other?,
        };
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(RegistryError::ManifestDigest { expected: digest, found });
        }
        Ok(Fetched { bytes, media_type, digest })
    }

    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Body, RegistryError> {
        let path = self.blob_path(digest);
        let shown = path.to_string_lossy().into_owned();
        let at = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => self.unknown("BLOB_UNKNOWN"),
            _ => RegistryError::Layout { path: shown.clone(), source },
        };
        let mut file = tokio::fs::File::open(&path).await.map_err(at)?;
        file.seek(io::SeekFrom::Start(offset)).await.map_err(at)?;
        Ok(Body::File { file, path: shown })
    }

    pub(super) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let names = self.index().await?.into_iter().filter_map(|m| m.annotations.get(REF_NAME).cloned());
        Ok(names.map(|name| name.rsplit(':').next().unwrap_or_default().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_of_every_form() {
        let entry = |name: &str| Descriptor {
            digest: name.to_owned(),
            annotations: [(REF_NAME.to_owned(), name.to_owned())].into(),
            ..Descriptor::default()
        };
        let index =
            [entry("web:1"), entry("1"), entry("demo.local/db:2"), entry("docker.io/library/x:3"), entry("latest")];
        for (reference, found) in [
            ("demo.local/web:1", Some("web:1")),
            ("demo.local/other:1", Some("1")),
            ("demo.local/db:2", Some("demo.local/db:2")),
            ("x:3", Some("docker.io/library/x:3")),
            ("demo.local/any", Some("latest")),
            ("demo.local/any:9", None),
        ] {
            let reference: Reference = reference.parse().expect("reference");
            assert_eq!(find(&index, &reference).map(|d| d.digest.as_str()), found, "{reference}");
        }
    }
}
