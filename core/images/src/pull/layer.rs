//! One layer of a pull: downloaded, and unpacked while it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sheave_api::progress::ProgressMessage;
use sheave_metadata::Chain;
use sheave_types::{Digest, Error, Result};
use tokio::sync::{Semaphore, watch};

use super::blobs::{Feed, Origin, Phase};
use super::progress::Hub;
use super::resolve::Resolved;
use super::{Pull, Puller, digest_of};
use crate::chains::{Blob, Layer, OpenBlob, Verified, chain_ids};
use crate::content::{ContentStore, Lease, TailReader};
use crate::flight::{Joined, Watched, again};
use crate::media::Descriptor;

/// Between two messages with numbers.
const STEP: Duration = Duration::from_millis(100);

/// A layer's download, once it has begun.
#[derive(Clone)]
enum Begun {
    /// The blob was here.
    Here,
    /// The download ends with the pulls that want it, not with who unpacks what it brings.
    Running(Watched<()>, Arc<Feed>),
}

/// Begins anew as often as this when another pull, whose work this one had joined, was given up.
const ANEW: usize = 5;
/// The error of a layer whose pull is gone.
const GIVEN_UP: &str = "the pull was given up";

fn given_up() -> Error {
    Error::internal(GIVEN_UP)
}

/// One layer's part of a pull.
pub(super) struct LayerJob {
    puller: Arc<Puller>,
    hub: Arc<Hub>,
    origin: Arc<Origin>,
    driver: String,
    layers: Arc<[Layer]>,
    at: usize,
    digest: Digest,
    blob: Descriptor,
    begun: watch::Sender<Option<Begun>>,
    downloaded: OnceLock<Joined<()>>,
}

async fn begun(mut receiver: watch::Receiver<Option<Begun>>) -> Result<Begun> {
    let begun = receiver.wait_for(Option::is_some).await.ok().and_then(|b| b.clone());
    // The sender lives as long as the pull.
    begun.filter(|_| receiver.has_changed().is_ok()).ok_or_else(given_up)
}

async fn open(
    receiver: watch::Receiver<Option<Begun>>,
    content: ContentStore,
    digest: Digest,
    consumed: Arc<AtomicU64>,
) -> Result<Blob> {
    match begun(receiver).await? {
        Begun::Here => Ok(Box::new(content.open_blob(&digest)?)),
        Begun::Running(watched, feed) => {
            let joined = watched.upgrade().ok_or_else(given_up)?;
            let tail = Arc::clone(&feed.tail);
            tokio::select! {
                Some(file) = feed.file() => Ok(Box::new(TailReader::new(file, tail, consumed))),
                // A download that fails before it has a file.
                outcome = joined => {
                    outcome.map_err(|e| again(&e))?;
                    Ok(Box::new(content.open_blob(&digest)?))
                }
            }
        }
    }
}

async fn verified(receiver: watch::Receiver<Option<Begun>>) -> Result<()> {
    match begun(receiver).await? {
        Begun::Here => Ok(()),
        Begun::Running(watched, _) => match watched.upgrade() {
            Some(joined) => joined.await.map_err(|e| again(&e)),
            None => Err(given_up()),
        },
    }
}

/// The jobs of all layers. Each blob is leased from here on.
pub(super) fn jobs(pull: &Pull, resolved: &Resolved, driver: &str, lease: &Lease) -> Result<Vec<LayerJob>> {
    let diff_ids = resolved.config.diff_ids();
    let chains = chain_ids(diff_ids);
    let content = &pull.puller.blobs.content;
    let (mut layers, mut senders) = (Vec::new(), Vec::new());
    for ((blob, diff_id), chain) in resolved.manifest.layers.iter().zip(diff_ids).zip(chains) {
        let digest = digest_of(blob)?;
        lease.add(digest);
        let (sender, receiver) = watch::channel(None);
        let (waiting, content) = (receiver.clone(), content.clone());
        let open: OpenBlob = Arc::new(move |consumed| -> BoxFuture<'static, Result<Blob>> {
            open(waiting.clone(), content.clone(), digest, consumed).boxed()
        });
        let verified: Verified = Arc::new(move || verified(receiver.clone()).boxed());
        layers.push(Layer { diff_id: *diff_id, chain, open, verified });
        senders.push((sender, digest, blob.clone()));
    }
    let layers: Arc<[Layer]> = layers.into();
    let jobs = senders.into_iter().enumerate().map(|(at, (begun, digest, blob))| LayerJob {
        puller: Arc::clone(&pull.puller),
        hub: Arc::clone(&pull.hub),
        origin: Arc::clone(&resolved.origin),
        driver: driver.to_owned(),
        layers: Arc::clone(&layers),
        at,
        digest,
        blob,
        begun,
        downloaded: OnceLock::new(),
    });
    Ok(jobs.collect())
}

impl LayerJob {
    fn say(&self, status: &str) {
        self.hub.say(ProgressMessage::of(self.digest.short(), status));
    }

    /// The layer's position and the size of its files.
    pub(super) async fn run(self, permits: Arc<Semaphore>) -> Result<(usize, u64)> {
        let known = self.puller.chains.find(&self.driver, &self.layers[self.at].chain)?;
        let here = self.puller.blobs.content.size(&self.digest).is_some();
        if let (true, Some(chain)) = (here, &known) {
            self.begun.send_replace(Some(Begun::Here));
            self.say("Already exists");
            return Ok((self.at, chain.size));
        }
        self.say("Pulling fs layer");
        if here {
            self.begun.send_replace(Some(Begun::Here));
        } else {
            self.download(&permits, known.is_some()).await?;
        }
        let chain = match known {
            Some(chain) => chain,
            None => self.unpack().await?,
        };
        self.say("Pull complete");
        Ok((self.at, chain.size))
    }

    async fn download(&self, permits: &Arc<Semaphore>, unpacked: bool) -> Result<()> {
        let permit = match permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.say("Waiting");
                permits.acquire().await.map_err(|e| Error::internal(e.to_string()))?
            }
        };
        let (joined, feed) = self.puller.blobs.fetch(self.digest, &self.blob, &self.origin);
        let begun = match joined.downgrade() {
            Some(watched) => Begun::Running(watched, Arc::clone(&feed)),
            None => Begun::Here,
        };
        self.begun.send_replace(Some(begun));
        if !unpacked {
            // Begins to unpack what comes; it goes on by itself and is waited for later.
            drop(self.puller.chains.ensure(&self.driver, &self.layers, self.at));
        }
        let mut running = joined.clone();
        let mut phase = feed.phase();
        loop {
            tokio::select! {
                outcome = &mut running => {
                    drop(permit);
                    outcome.map_err(|e| again(&e))?;
                    // Kept, so that who unpacks finds its outcome.
                    self.downloaded.set(joined).ok();
                    self.say("Verifying Checksum");
                    self.say("Download complete");
                    return Ok(());
                }
                () = tokio::time::sleep(STEP) => self.show(*phase.borrow_and_update()),
            }
        }
    }

    fn show(&self, phase: Phase) {
        let id = self.digest.short();
        match phase {
            Phase::Downloading(0) => {}
            Phase::Downloading(n) => self.hub.say(ProgressMessage::at(id, "Downloading", n, self.blob.size)),
            Phase::Retrying(seconds) => {
                let plural = if seconds == 1 { "" } else { "s" };
                self.say(&format!("Retrying in {seconds} second{plural}"));
            }
            Phase::Verifying => {}
        }
    }

    async fn unpack(&self) -> Result<Chain> {
        for _ in 1..ANEW {
            match self.unpack_once().await {
                Err(error) if error.message() == GIVEN_UP => {}
                other => return other,
            }
        }
        self.unpack_once().await
    }

    async fn unpack_once(&self) -> Result<Chain> {
        let (mut joined, consumed) = self.puller.chains.ensure(&self.driver, &self.layers, self.at);
        let id = self.digest.short();
        let mut shown = 0;
        loop {
            tokio::select! {
                outcome = &mut joined => {
                    self.hub.say(ProgressMessage::at(id, "Extracting", self.blob.size, self.blob.size));
                    return outcome.map_err(|e| again(&e));
                }
                () = tokio::time::sleep(STEP) => {
                    let now = consumed.load(Ordering::Relaxed);
                    if now > shown {
                        shown = now;
                        self.hub.say(ProgressMessage::at(id.clone(), "Extracting", now, self.blob.size));
                    }
                }
            }
        }
    }
}
