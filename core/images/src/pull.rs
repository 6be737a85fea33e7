//! Pulling: from a reference to an image that is here, unpacked and recorded.

mod blobs;
mod layer;
mod progress;
mod remote;
mod resolve;

use std::sync::Arc;

use futures_util::FutureExt as _;
use sheave_api::images::AuthConfig;
use sheave_api::progress::ProgressMessage;
use sheave_plugin::registry::Credentials;
use sheave_types::{Digest, Error, Platform, Reference, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

pub(crate) use blobs::{Blobs, Origin};
use progress::Hub;
use resolve::Resolved;

use crate::chains::{Chains, chain_ids};
use crate::content::Lease;
use crate::flight::{Flights, again};
use crate::image::{ImageRecord, LayerRecord};
use crate::media::Checked as _;
use crate::records::{Records, now_nanos};
use crate::registry::Connections;

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Which image; `latest` if it has neither tag nor digest.
    pub reference: Reference,
    /// For which platform; the engine's own if none.
    pub platform: Option<Platform>,
    /// Credentials for the registry.
    pub auth: AuthConfig,
}

/// Pulls with the same key are one: the same image with the same credentials.
type Key = (String, Option<Platform>, [String; 4]);

/// All pulls.
pub(crate) struct Puller {
    pub(crate) connections: Arc<Connections>,
    pub(crate) blobs: Blobs,
    pub(crate) chains: Arc<Chains>,
    pub(crate) records: Arc<Records>,
    running: Flights<Key, (), Arc<Hub>>,
}

/// One pull that runs.
struct Pull {
    puller: Arc<Puller>,
    reference: Reference,
    platform: Option<Platform>,
    credentials: Option<Credentials>,
    hub: Arc<Hub>,
}

pub(crate) fn credentials(auth: &AuthConfig) -> Option<Credentials> {
    (!auth.is_empty()).then(|| Credentials {
        username: auth.username.clone(),
        password: auth.password.clone(),
        identity_token: auth.identitytoken.clone(),
        registry_token: auth.registrytoken.clone(),
    })
}

impl Puller {
    /// Takes blobs and layers that no image needs out of their stores.
    pub(crate) async fn clean(self: Arc<Self>) -> Result<()> {
        self.chains.collect(|| self.records.needed_chains()).await?;
        let work = move || self.records.content.retire(|| self.records.needed_blobs());
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
    }

    pub(crate) fn new(connections: Arc<Connections>, blobs: Blobs, chains: Arc<Chains>, records: Arc<Records>) -> Self {
        Self { connections, blobs, chains, records, running: Flights::default() }
    }

    /// Pulls, or joins the pull that runs; what happens goes to `progress`, whose end gives the pull up unless others wait.
    pub(crate) async fn pull(
        self: &Arc<Self>,
        request: PullRequest,
        progress: mpsc::Sender<ProgressMessage>,
    ) -> Result<()> {
        let reference = request.reference.or_latest();
        let auth = request.auth.normalized();
        let who =
            [auth.username.clone(), auth.password.clone(), auth.identitytoken.clone(), auth.registrytoken.clone()];
        let key = (reference.to_string(), request.platform.clone(), who);
        let (joined, hub) = self.running.join(key, || {
            let hub = Arc::new(Hub::default());
            let pull = Pull {
                puller: Arc::clone(self),
                reference,
                platform: request.platform,
                credentials: credentials(&auth),
                hub: Arc::clone(&hub),
            };
            (async move { pull.run().await.map_err(Arc::new) }.boxed(), hub)
        });
        let mut joined = joined;
        let mut said = hub.watch();
        let mut seen = 0;
        loop {
            let outcome = tokio::select! {
                outcome = &mut joined => Some(outcome),
                _ = said.changed() => None,
                () = progress.closed() => return Ok(()),
            };
            let (messages, last) = hub.since(seen);
            seen = last;
            for message in messages {
                if progress.send(message).await.is_err() {
                    return Ok(());
                }
            }
            if let Some(outcome) = outcome {
                return outcome.map_err(|e| again(&e));
            }
        }
    }
}

/// Removes what a pull made, unless it was recorded.
struct Unfinished {
    puller: Arc<Puller>,
    armed: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.armed
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let puller = Arc::clone(&self.puller);
            // What a failure here leaves, the next start finds.
            drop(runtime.spawn(async move { puller.clean().await }));
        }
    }
}

impl Pull {
    async fn run(self) -> Result<()> {
        // Dropped after the lease, whatever ends the pull.
        let mut unfinished = Unfinished { puller: Arc::clone(&self.puller), armed: true };
        let lease = self.puller.blobs.content.lease();
        let resolved = self.resolve(&lease).await?;
        let known = self.puller.records.find(&resolved.id)?;
        let record = match known {
            Some(record) if self.is_complete(&resolved)? => record,
            known => self.fetch(&resolved, &lease, known).await?,
        };
        let updated = self.refer(&resolved, record).await?;
        unfinished.armed = false;
        drop(lease);
        self.hub.say(ProgressMessage::status(format!("Digest: {}", resolved.target)));
        let shown = self.reference.familiar();
        let status = if updated { "Downloaded newer image for" } else { "Image is up to date for" };
        self.hub.say(ProgressMessage::status(format!("Status: {status} {shown}")));
        Ok(())
    }

    /// Whether all of a known image is here.
    fn is_complete(&self, resolved: &Resolved) -> Result<bool> {
        let content = &self.puller.blobs.content;
        let driver = self.puller.chains.store().default_driver();
        let digests = resolved.manifest.layers.iter().map(|l| l.digest().ok());
        let blobs = digests.into_iter().all(|d| d.is_some_and(|d| content.size(&d).is_some()));
        let top = chain_ids(resolved.config.diff_ids()).last().copied();
        let unpacked = top.map_or(Ok(true), |top| self.puller.chains.find(driver, &top).map(|c| c.is_some()))?;
        Ok(blobs && unpacked && content.size(&resolved.id).is_some())
    }

    /// Fetches and unpacks all layers.
    async fn fetch(&self, resolved: &Resolved, lease: &Lease, known: Option<ImageRecord>) -> Result<ImageRecord> {
        let driver = self.puller.chains.store().default_driver();
        let diff_ids = resolved.config.diff_ids();
        let chains = chain_ids(diff_ids);
        let _chain_lease = self.puller.chains.lease(chains.iter().copied());
        let permits = Arc::new(Semaphore::new(self.puller.connections.tuning.parallel.max(1)));
        let jobs = layer::jobs(self, resolved, driver, lease)?;
        let mut tasks = JoinSet::new();
        for job in jobs {
            tasks.spawn(job.run(Arc::clone(&permits)));
        }
        let mut sizes = vec![0; diff_ids.len()];
        while let Some(ended) = tasks.join_next().await {
            match ended.map_err(|e| Error::internal(format!("a download stopped: {e}"))).flatten() {
                Ok((at, size)) => sizes[at] = size,
                Err(error) => {
                    // The first failure ends the others.
                    tasks.shutdown().await;
                    return Err(error);
                }
            }
        }
        let layers = resolved.manifest.layers.iter().zip(diff_ids).zip(sizes);
        Ok(ImageRecord {
            manifest: resolved.descriptor.clone(),
            config: resolved.manifest.config.clone(),
            layers: layers
                .map(|((blob, diff_id), size)| LayerRecord { blob: blob.clone(), diff_id: *diff_id, size })
                .collect(),
            tagged: known.as_ref().and_then(|k| k.tagged),
            added: known.map_or_else(now_nanos, |k| k.added),
        })
    }

    /// Records the image under its names; whether that changed what the reference means.
    async fn refer(&self, resolved: &Resolved, record: ImageRecord) -> Result<bool> {
        let records = Arc::clone(&self.puller.records);
        let (id, target, reference) = (resolved.id, resolved.target, self.reference.clone());
        let labels = resolved.config.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default();
        // Several durable writes: milliseconds that belong on no async thread.
        let work = move || records.record_pull(&id, record, &reference, &target, labels);
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
    }
}

/// The text for a platform that an index does not have.
fn no_match(wanted: &Platform) -> Error {
    Error::not_found(format!("no matching manifest for {wanted} in the manifest list entries"))
}

/// The text for an image that is for another platform than was asked for.
fn wrong_platform(reference: &Reference, wanted: &Platform, found: &Platform) -> Error {
    Error::not_found(format!(
        "image with reference {} was found but does not match the specified platform: wanted {wanted}, actual: {found}",
        reference.familiar()
    ))
}

/// A digest of a descriptor that was checked when it was read.
fn digest_of(descriptor: &crate::media::Descriptor) -> Result<Digest> {
    Ok(descriptor.digest()?)
}
