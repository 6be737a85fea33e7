//! From the reference to the manifest and configuration of one platform.

use std::sync::Arc;

use sheave_api::progress::ProgressMessage;
use sheave_types::{Digest, Platform, Result};

use super::{Origin, Pull, digest_of, no_match, wrong_platform};
use crate::config::ConfigFile;
use crate::content::Lease;
use crate::error::ManifestError;
use crate::media::{self, CONFIG_LIMIT, Checked as _, Descriptor, MANIFEST_LIMIT, Manifest, OCI_MANIFEST, Target};
use crate::registry::{Fetched, RegistryError};

/// An image in a registry.
pub(super) struct Resolved {
    pub(super) origin: Arc<Origin>,
    /// What the registry has under the reference: a manifest or an index.
    pub(super) target: Digest,
    /// The image's manifest.
    pub(super) descriptor: Descriptor,
    pub(super) manifest: Manifest,
    /// The digest of the configuration.
    pub(super) id: Digest,
    pub(super) config: ConfigFile,
}

pub(super) fn describe(fetched: &Fetched, fallback: &str) -> Descriptor {
    let stated = serde_json::from_slice::<serde_json::Value>(&fetched.bytes).ok();
    let stated = stated.as_ref().and_then(|v| v.get("mediaType")).and_then(|m| m.as_str());
    let given = Some(fetched.media_type.as_str()).filter(|m| media::ACCEPT.contains(m));
    Descriptor {
        media_type: stated.or(given).unwrap_or(fallback).to_owned(),
        digest: fetched.digest.to_string(),
        size: fetched.bytes.len() as u64,
        ..Descriptor::default()
    }
}

impl Pull {
    /// Resolves, and stores what was read on the way.
    pub(super) async fn resolve(&self, lease: &Lease) -> Result<Resolved> {
        let connections = &self.puller.connections;
        let of_pull = |e: RegistryError| e.of_pull(&self.reference);
        let places = connections.places(&self.reference, self.credentials.clone()).await.map_err(of_pull)?;
        let (fetched, sources) = connections.manifest(&places).await.map_err(of_pull)?;
        let target = Target::parse(&fetched.bytes, &fetched.media_type)?;
        let origin = Arc::new(Origin { connections: Arc::clone(connections), places, sources });
        let name = self.reference.digest().map(|d| d.to_string());
        let name = name.or_else(|| self.reference.tag().map(str::to_owned)).unwrap_or_default();
        let heading = format!("Pulling from {}", self.reference.path());
        self.hub.say(ProgressMessage { id: Some(name), ..ProgressMessage::status(heading) });
        self.keep(lease, &fetched).await?;
        let (descriptor, manifest) = match target {
            Target::Manifest(manifest) => (describe(&fetched, OCI_MANIFEST), *manifest),
            Target::Index(entries) => self.of_index(lease, &origin, &entries, 0).await?,
        };
        let id = digest_of(&manifest.config)?;
        let bytes = self.config_bytes(lease, &origin, &manifest.config).await?;
        let config = ConfigFile::parse(&bytes)?;
        self.check(&config, &manifest)?;
        Ok(Resolved { origin, target: fetched.digest, descriptor, manifest, id, config })
    }

    fn check(&self, config: &ConfigFile, manifest: &Manifest) -> Result<()> {
        let (named, there) = (config.diff_ids().len(), manifest.layers.len());
        if named != there {
            return Err(ManifestError::Layers { named, there }.into());
        }
        match &self.platform {
            Some(wanted) if !wanted.accepts(&config.platform()) => {
                Err(wrong_platform(&self.reference, wanted, &config.platform()))
            }
            _ => Ok(()),
        }
    }

    async fn keep(&self, lease: &Lease, fetched: &Fetched) -> Result<()> {
        lease.add(fetched.digest);
        let (content, digest, bytes) = (self.puller.blobs.content.clone(), fetched.digest, fetched.bytes.clone());
        let written = tokio::task::spawn_blocking(move || content.put(&digest, &bytes)).await;
        Ok(written.map_err(|e| sheave_types::Error::internal(e.to_string()))??)
    }

    /// The manifest of the wanted platform; an index may hold one more index, as some builders nest them.
    async fn of_index(
        &self,
        lease: &Lease,
        origin: &Arc<Origin>,
        entries: &[Descriptor],
        depth: u8,
    ) -> Result<(Descriptor, Manifest)> {
        let wanted = self.platform.clone().unwrap_or_else(Platform::host);
        let is_index = |d: &&Descriptor| d.media_type == media::OCI_INDEX || d.media_type == media::DOCKER_LIST;
        let picked = media::pick(entries, &wanted).or_else(|| entries.iter().find(is_index).filter(|_| depth == 0));
        let Some(picked) = picked else { return Err(no_match(&wanted)) };
        let fetched = self.child(origin, picked).await?;
        self.keep(lease, &fetched).await?;
        match Target::parse(&fetched.bytes, &picked.media_type)? {
            Target::Manifest(manifest) => {
                let descriptor = Descriptor { platform: picked.platform.clone(), ..describe(&fetched, OCI_MANIFEST) };
                Ok((descriptor, *manifest))
            }
            Target::Index(nested) if depth == 0 => Box::pin(self.of_index(lease, origin, &nested, 1)).await,
            Target::Index(_) => Err(no_match(&wanted)),
        }
    }

    async fn child(&self, origin: &Arc<Origin>, picked: &Descriptor) -> Result<Fetched> {
        let digest = digest_of(picked)?;
        if let Ok(bytes) = self.puller.blobs.content.read(&digest, MANIFEST_LIMIT) {
            return Ok(Fetched { bytes, media_type: picked.media_type.clone(), digest });
        }
        let by_digest = self.reference.with_digest(digest);
        let mut failure = None;
        for source in &origin.sources {
            match source.manifest(&by_digest).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => failure = Some(error),
            }
        }
        let error = failure.unwrap_or_else(|| RegistryError::NoEndpoint(self.reference.host().to_owned()));
        Err(error.of_pull(&self.reference))
    }

    async fn config_bytes(&self, lease: &Lease, origin: &Arc<Origin>, config: &Descriptor) -> Result<Vec<u8>> {
        let digest = config.digest()?;
        lease.add(digest);
        if let Ok(bytes) = self.puller.blobs.content.read(&digest, CONFIG_LIMIT) {
            return Ok(bytes);
        }
        let mut failure = None;
        for source in &origin.sources {
            match source.small_blob(&origin.connections.tuning, config, CONFIG_LIMIT).await {
                Ok(bytes) => {
                    let fetched = Fetched { bytes, media_type: config.media_type.clone(), digest };
                    self.keep(lease, &fetched).await?;
                    return Ok(fetched.bytes);
                }
                Err(error) => failure = Some(error),
            }
        }
        let error = failure.unwrap_or_else(|| RegistryError::NoEndpoint(self.reference.host().to_owned()));
        Err(error.of_pull(&self.reference))
    }
}
