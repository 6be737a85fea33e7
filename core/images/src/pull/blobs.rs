//! Downloads of blobs: each once, resumed, tried again, from the next place if one fails.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sheave_types::{Digest, Error, Result};
use tokio::sync::watch;

use crate::content::{BlobWriter, ContentStore, Tail};
use crate::error::ContentError;
use crate::flight::{Flights, Joined};
use crate::media::Descriptor;
use crate::registry::{Connections, Places, RegistryError, Source};

/// Bytes after which a connection that breaks off counts as the first to do so.
const HEALTHY: u64 = 1 << 20;

/// How a download goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Downloading(u64),
    Retrying(u64),
    Verifying,
}

/// A download, for those who watch it or read the blob meanwhile.
pub(crate) struct Feed {
    pub(crate) tail: Arc<Tail>,
    file: watch::Sender<Option<Arc<File>>>,
    phase: watch::Sender<Phase>,
}

impl Feed {
    fn new() -> Arc<Self> {
        let (file, phase) = (watch::channel(None).0, watch::channel(Phase::Downloading(0)).0);
        Arc::new(Self { tail: Tail::new(), file, phase })
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// The file that is being filled, as soon as there is one.
    pub(crate) async fn file(&self) -> Option<Arc<File>> {
        let mut receiver = self.file.subscribe();
        receiver.wait_for(Option::is_some).await.ok().and_then(|file| file.clone())
    }
}

/// Where a blob can be had.
pub(crate) struct Origin {
    pub(crate) connections: Arc<Connections>,
    pub(crate) places: Places,
    pub(crate) sources: Vec<Source>,
}

/// All downloads.
pub(crate) struct Blobs {
    pub(crate) content: ContentStore,
    running: Flights<Digest, (), Arc<Feed>>,
}

impl Blobs {
    pub(crate) fn new(content: ContentStore) -> Self {
        Self { content, running: Flights::default() }
    }

    /// Downloads a blob, or joins its download. To be called with a lease on it.
    pub(crate) fn fetch(&self, digest: Digest, blob: &Descriptor, origin: &Arc<Origin>) -> (Joined<()>, Arc<Feed>) {
        self.running.join(digest, || {
            let feed = Feed::new();
            let job = Download {
                content: self.content.clone(),
                digest,
                blob: blob.clone(),
                origin: Arc::clone(origin),
                feed: Arc::clone(&feed),
            };
            (async move { job.run().await.map_err(Arc::new) }.boxed(), feed)
        })
    }
}

struct Download {
    content: ContentStore,
    digest: Digest,
    blob: Descriptor,
    origin: Arc<Origin>,
    feed: Arc<Feed>,
}

/// Whoever reads the blob must learn that no more will come, also when the download is given up.
impl Drop for Download {
    fn drop(&mut self) {
        self.feed.tail.fail();
    }
}

impl Download {
    async fn run(self) -> Result<()> {
        if let Ok(file) = self.content.open_blob(&self.digest) {
            // It came since it was looked for.
            let size = file.metadata().map_or(0, |m| m.len());
            self.feed.file.send_replace(Some(Arc::new(file)));
            self.feed.tail.advance(size);
            self.feed.tail.complete();
            return Ok(());
        }
        let writer = BlobWriter::begin(&self.content, self.digest, self.blob.size, Arc::clone(&self.feed.tail)).await?;
        self.feed.file.send_replace(Some(writer.reader()?));
        let received = self.receive(&writer).await;
        self.feed.phase.send_replace(Phase::Verifying);
        let finished = writer.finish().await;
        match (received, finished) {
            (_, Err(error @ (ContentError::Io { .. } | ContentError::Stopped(_)))) => Err(error.into()),
            (Err(error), _) => Err(error),
            (Ok(()), Err(error @ (ContentError::Digest { .. } | ContentError::Size { .. }))) => {
                let message = format!("filesystem layer verification failed for digest {}", self.digest);
                Err(Error::with_source(sheave_types::ErrorKind::Invalid, message, error))
            }
            (Ok(()), finished) => Ok(finished?),
        }
    }

    /// Hands the bytes to the writer, from one place after the other.
    async fn receive(&self, writer: &BlobWriter) -> Result<()> {
        let mut position = writer.resumed();
        let mut failure = None;
        for source in &self.origin.sources {
            for other in self.origin.places.located(&self.origin.connections, source, &self.blob).await {
                match self.receive_from(&other, writer, &mut position).await {
                    Ok(()) => return Ok(()),
                    Err(error) => tracing::debug!(%error, "a place of a blob failed"),
                }
            }
            match self.receive_from(source, writer, &mut position).await {
                Ok(()) => return Ok(()),
                Err(error) => failure = Some(error),
            }
        }
        let error = failure.unwrap_or_else(|| RegistryError::NoEndpoint(self.blob.digest.clone()));
        Err(error.into())
    }

    /// One place, tried as often as the tuning says.
    async fn receive_from(
        &self,
        source: &Source,
        writer: &BlobWriter,
        position: &mut u64,
    ) -> std::result::Result<(), RegistryError> {
        let tuning = &self.origin.connections.tuning;
        let mut attempt = 1;
        let mut wait = tuning.backoff;
        loop {
            let before = *position;
            let Err(error) = self.once(source, writer, position).await else { return Ok(()) };
            if *position - before >= HEALTHY {
                (attempt, wait) = (1, tuning.backoff);
            }
            if !error.is_passing() || attempt >= tuning.attempts {
                return Err(error);
            }
            let pause = error.retry_after().unwrap_or(wait).min(tuning.longest_wait);
            tracing::debug!(digest = %self.digest, attempt, %error, "a download is tried again");
            self.pause(pause).await;
            self.feed.phase.send_replace(Phase::Downloading(*position));
            attempt += 1;
            wait *= 2;
        }
    }

    async fn pause(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() {
            self.feed.phase.send_replace(Phase::Retrying(left.as_secs().max(1)));
            let step = left.min(Duration::from_secs(1));
            tokio::time::sleep(step).await;
            left -= step;
        }
    }

    async fn once(
        &self,
        source: &Source,
        writer: &BlobWriter,
        position: &mut u64,
    ) -> std::result::Result<(), RegistryError> {
        if *position == self.blob.size {
            return Ok(());
        }
        let mut body = source.blob(&self.digest, *position).await?;
        while let Some(chunk) = body.next().await? {
            *position += chunk.len() as u64;
            if !writer.write(chunk).await {
                // The writer's own error is told when it is finished.
                return Ok(());
            }
            self.feed.phase.send_replace(Phase::Downloading(*position));
        }
        if *position < self.blob.size {
            let url = self.blob.digest.clone();
            let reason = format!("the blob ended after {position} of {} bytes", self.blob.size);
            return Err(RegistryError::Unreachable { method: "GET".into(), url, reason });
        }
        Ok(())
    }
}
