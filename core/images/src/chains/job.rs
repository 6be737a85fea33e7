//! Unpacking one chain.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sheave_metadata::Chain;
use sheave_plugin::storage::Whiteouts;
use sheave_types::{Error, Id, Result};

use super::{Chains, Layer};
use crate::error::LayerError;
use crate::flight::again;
use crate::unpack::{self, Removals, Unpacked};

/// Keys of snapshots that are being unpacked begin with this.
pub(super) const PREFIX: &str = "unpack-";

pub(super) struct Job {
    pub(super) chains: Arc<Chains>,
    pub(super) driver: String,
    pub(super) layers: Arc<[Layer]>,
    pub(super) at: usize,
    pub(super) consumed: Arc<AtomicU64>,
}

/// An unpacked layer that is not committed.
struct Made {
    key: String,
    layer: Unpacked,
    /// Whether the parent is named at commit.
    independent: bool,
}

impl Job {
    fn layer(&self) -> &Layer {
        &self.layers[self.at]
    }

    pub(super) async fn run(self) -> Result<Chain> {
        let chain = self.layer().chain;
        let _lease = self.chains.lease([chain]);
        self.chains.gate.pass(&chain).await;
        if let Some(chain) = self.chains.find(&self.driver, &chain)? {
            return Ok(chain);
        }
        let made = self.make().await?;
        let key = made.key.clone();
        match self.finish(&made).await {
            Ok(Some(chain)) => Ok(chain),
            Ok(None) => {
                self.discard(&key).await;
                self.run_over_parent().await
            }
            Err(error) => {
                self.discard(&key).await;
                Err(error)
            }
        }
    }

    async fn run_over_parent(&self) -> Result<Chain> {
        let made = self.over_parent().await?;
        let committed = self.commit(&made, None).await;
        if committed.is_err() {
            self.discard(&made.key).await;
        }
        committed
    }

    async fn make(&self) -> Result<Made> {
        let capabilities = self.chains.store.capabilities(&self.driver).await?;
        let removals = match capabilities.whiteouts {
            // There is nothing below that could be removed.
            _ if self.at == 0 => Removals::Applied,
            Whiteouts::Overlay if capabilities.independent_layers => Removals::Overlay,
            _ => return self.over_parent().await,
        };
        match self.unpack_into(None, removals).await? {
            Ok(made) => Ok(made),
            Err(path) => {
                tracing::debug!(path = %path.display(), "a layer is unpacked over its parent");
                self.over_parent().await
            }
        }
    }

    async fn parent(&self) -> Result<Option<Chain>> {
        let Some(below) = self.at.checked_sub(1) else { return Ok(None) };
        let (joined, _) = self.chains.ensure(&self.driver, &self.layers, below);
        joined.await.map(Some).map_err(|e| again(&e))
    }

    async fn over_parent(&self) -> Result<Made> {
        let parent = self.parent().await?;
        let parent = parent.as_ref().map(|p| p.snapshot.as_str());
        match self.unpack_into(parent, Removals::Applied).await? {
            Ok(made) => Ok(made),
            Err(path) => Err(LayerError::Entry(path, "it is below a symlink that leads nowhere").into()),
        }
    }

    /// Unpacks into a new snapshot. The inner error is the path that can only be told over the parent; nothing is left then.
    async fn unpack_into(&self, parent: Option<&str>, removals: Removals) -> Result<Result<Made, PathBuf>> {
        let layer = self.layer();
        let blob = (layer.open)(Arc::clone(&self.consumed)).await?;
        let key = format!("{PREFIX}{}-{}", layer.chain.hex(), Id::random().short());
        let store = &self.chains.store;
        store.prepare(&self.driver, &key, parent).await?;
        let unpacking = async {
            let _permit = self.chains.permits.acquire().await.map_err(|e| Error::internal(e.to_string()))?;
            let mounted = store.mount(&self.driver, &key, false).await?;
            let limits = self.chains.limits.clone();
            let work = move || {
                let unpacked = unpack::unpack(blob, mounted.path(), removals, &limits);
                // Unmounted here, since that may wait for the disk.
                drop(mounted);
                unpacked
            };
            tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(format!("unpacking stopped: {e}")))
        };
        let outcome: Result<std::result::Result<Unpacked, LayerError>> = unpacking.await;
        if !matches!(outcome, Ok(Ok(_))) {
            self.discard(&key).await;
        }
        match outcome? {
            Ok(layer) => Ok(Ok(Made { key, layer, independent: parent.is_none() })),
            Err(LayerError::NeedsParent(path)) => Ok(Err(path)),
            Err(error) => {
                // A blob that is not what it should be explains more than what unpacking made of it.
                (layer.verified)().await?;
                Err(registering(error))
            }
        }
    }

    async fn discard(&self, key: &str) {
        if let Err(error) = self.chains.store.remove(&self.driver, key).await {
            let driver = &self.driver;
            tracing::warn!(driver, key, %error, "a half-made layer could not be removed; the next start tries again");
        }
    }

    /// None: it has to be unpacked over the parent.
    async fn finish(&self, made: &Made) -> Result<Option<Chain>> {
        let layer = self.layer();
        (layer.verified)().await?;
        if made.layer.diff_id != layer.diff_id {
            return Err(registering(LayerError::DiffId { expected: layer.diff_id, found: made.layer.diff_id }));
        }
        let parent = self.parent().await?;
        let parent = parent.as_ref().map(|p| p.snapshot.as_str()).filter(|_| made.independent);
        if let Some(parent) = parent
            && !made.layer.implicit.is_empty()
            && !self.adopt(made, parent).await?
        {
            return Ok(None);
        }
        // Nobody may want it any more.
        (layer.verified)().await?;
        self.commit(made, parent).await.map(Some)
    }

    /// Whether the directories that the layer does not name could take the parent's attributes.
    async fn adopt(&self, made: &Made, parent: &str) -> Result<bool> {
        let store = &self.chains.store;
        let above = store.mount(&self.driver, parent, true).await?;
        let target = store.mount(&self.driver, &made.key, false).await?;
        let implicit = made.layer.implicit.clone();
        let work = move || unpack::adopt_attributes(target.path(), above.path(), &implicit);
        match tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))? {
            Ok(()) => Ok(true),
            Err(LayerError::NeedsParent(_)) => Ok(false),
            Err(error) => Err(registering(error)),
        }
    }

    async fn commit(&self, made: &Made, parent: Option<&str>) -> Result<Chain> {
        let store = &self.chains.store;
        let name = self.layer().chain.hex();
        store.commit(&self.driver, &made.key, &name, parent).await?;
        let (driver, size) = (self.driver.clone(), made.layer.size);
        let chain = Chain { chain: name.clone(), driver, snapshot: name, size };
        self.chains.database.chains().put(&chain)?;
        Ok(chain)
    }
}

/// As Docker begins the message.
fn registering(error: LayerError) -> Error {
    Error::from(error).context("failed to register layer")
}
