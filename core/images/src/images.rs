//! The images of an engine: everything the rest of it asks for.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use sheave_api::Filters;
use sheave_api::images::{
    AuthConfig, AuthResponse, DeletedItem, DistributionInspect, HistoryItem, ImageInspect, ImageSummary, ImagesPruned,
};
use sheave_api::progress::ProgressMessage;
use sheave_host::Host;
use sheave_metadata::Database;
use sheave_telemetry::events::EventBus;
use sheave_types::{Digest, Error, Reference, Result};
use tokio::sync::mpsc;

use crate::chains::{Blob, Chains, Layer, OpenBlob, Verified};
use crate::content::ContentStore;
use crate::image::Image;
use crate::layers::LayerStore;
use crate::media::Checked as _;
use crate::pull::{Blobs, PullRequest, Puller};
use crate::records::{ImageUsers, ListOptions, Records};
use crate::registry::{Connections, Tuning};
use crate::unpack::Limits;

/// What images rest on.
pub struct Options {
    /// The content store's directory, `<data-root>/content`.
    pub content: PathBuf,
    /// The engine's database.
    pub database: Database,
    /// The plugin host, for its registries.
    pub host: Host,
    /// The storage drivers.
    pub layers: Arc<dyn LayerStore>,
    /// Where events are told.
    pub events: Arc<EventBus>,
    /// Times and counts of transfers.
    pub tuning: Tuning,
    /// Limits of layers.
    pub limits: Limits,
}

/// The images of an engine.
pub struct Images {
    puller: Arc<Puller>,
    users: OnceLock<Arc<dyn ImageUsers>>,
    pruning: AtomicBool,
}

impl Images {
    /// Opens the content store and removes what a killed engine left half-made; whole blobs that no image needs wait for a pull that wants them.
    ///
    /// # Errors
    /// Those of the file system and the database.
    pub async fn open(options: Options) -> Result<Self> {
        let content = ContentStore::open(&options.content)?;
        let records = Arc::new(Records::new(options.database.clone(), content.clone(), options.events));
        let chains = Chains::new(options.layers, options.database, options.limits);
        chains.recover().await?;
        records.project()?;
        let connections = Arc::new(Connections::new(options.host, options.tuning));
        let puller = Arc::new(Puller::new(connections, Blobs::new(content), chains, records));
        Arc::clone(&puller).clean().await?;
        Ok(Self { puller, users: OnceLock::new(), pruning: AtomicBool::new(false) })
    }

    /// Says who knows which containers use an image. Called once, at wiring; before, no image is in use.
    pub fn set_users(&self, users: Arc<dyn ImageUsers>) {
        // A second call would be a fault of the wiring, and the first one stays right.
        let _ = self.users.set(users);
    }

    fn records(&self) -> &Arc<Records> {
        &self.puller.records
    }

    fn chains(&self) -> &Arc<Chains> {
        &self.puller.chains
    }

    /// The content store.
    pub fn content(&self) -> &ContentStore {
        &self.records().content
    }

    /// Pulls an image; what happens goes to `progress`. However many ask for one image at once, it is one download. When
    /// `progress` is closed, this one has given up, and the pull ends if nobody else waits for it.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized` and others with Docker's texts.
    pub async fn pull(&self, request: PullRequest, progress: mpsc::Sender<ProgressMessage>) -> Result<()> {
        self.puller.pull(request, progress).await
    }

    /// Pulls every tag of a repository, one after the other.
    ///
    /// # Errors
    /// Those of [`Images::pull`]; the first ends it.
    pub async fn pull_all(&self, request: PullRequest, progress: mpsc::Sender<ProgressMessage>) -> Result<()> {
        for tag in self.puller.tags(&request).await? {
            let reference = request.reference.with_tag(&tag)?;
            self.pull(PullRequest { reference, ..request.clone() }, progress.clone()).await?;
        }
        Ok(())
    }

    /// Finds an image by name, digest, id or the beginning of its id.
    ///
    /// # Errors
    /// `NotFound`: `No such image: x`.
    pub fn resolve(&self, name: &str) -> Result<Image> {
        self.records().resolve(name)
    }

    /// Unpacks an image in a storage driver, unless it is; the name of its topmost snapshot. An image without layers has none.
    ///
    /// # Errors
    /// Those of unpacking and of the driver.
    pub async fn ensure_unpacked(&self, image: &Image, driver: &str) -> Result<Option<String>> {
        let chain_ids = image.chain_ids();
        let Some(top) = chain_ids.last() else { return Ok(None) };
        if let Some(chain) = self.chains().find(driver, top)? {
            return Ok(Some(chain.snapshot));
        }
        let lease = self.content().lease();
        let mut layers = Vec::new();
        for (layer, chain) in image.record.layers.iter().zip(&chain_ids) {
            let digest = layer.blob.digest()?;
            lease.add(digest);
            let content = self.content().clone();
            let open: OpenBlob = Arc::new(move |_| {
                let content = content.clone();
                async move { Ok(Box::new(content.open_blob(&digest)?) as Blob) }.boxed()
            });
            let verified: Verified = Arc::new(|| async { Ok(()) }.boxed());
            layers.push(Layer { diff_id: layer.diff_id, chain: *chain, open, verified });
        }
        let chain = self.chains().ensure_all(driver, &layers.into()).await?;
        Ok(chain.map(|c| c.snapshot))
    }

    /// The images that pass the filters.
    ///
    /// # Errors
    /// `Invalid` for filters that are none.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<ImageSummary>> {
        self.records().list(options, self.users.get().map(AsRef::as_ref))
    }

    /// How many images there are.
    ///
    /// # Errors
    /// Those of the database.
    pub fn count(&self) -> Result<usize> {
        Ok(self.records().database.images().all::<serde::de::IgnoredAny>()?.len())
    }

    /// Bytes of all unpacked layers.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layers_size(&self) -> Result<u64> {
        Ok(self.records().database.chains().all()?.iter().map(|c| c.size).sum())
    }

    /// All about an image.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect(&self, name: &str) -> Result<ImageInspect> {
        let image = self.resolve(name)?;
        let driver = self.chains().store().default_driver();
        Ok(self.records().inspect(&image, driver))
    }

    /// How an image was made, the last step first.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        Ok(self.records().history(&self.resolve(name)?))
    }

    /// Gives an image a name, which another image may lose by it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if the name is none or has a digest.
    pub fn tag(&self, name: &str, repository: &str, tag: &str) -> Result<()> {
        let image = self.resolve(name)?;
        let target: Reference = repository.parse()?;
        if target.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let target = if tag.is_empty() { target.or_latest() } else { target.with_tag(tag)? };
        self.records().tag(&image, &target)
    }

    fn users_of(&self, image: &Digest) -> Vec<crate::ContainerUse> {
        self.users.get().map(|u| u.users(image)).unwrap_or_default()
    }

    /// Removes a name, and the image with its last one.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with Docker's text if containers or other names stand against it.
    pub async fn remove(&self, name: &str, force: bool) -> Result<Vec<DeletedItem>> {
        let mut done = self.remove_records(name, force)?;
        if done.iter().any(|d| matches!(d, DeletedItem::Deleted(_))) {
            let (layers, _) = self.collect().await?;
            done.extend(layers);
        }
        Ok(done)
    }

    fn remove_records(&self, name: &str, force: bool) -> Result<Vec<DeletedItem>> {
        let image = self.resolve(name)?;
        let users = self.users_of(&image.id);
        let plan = crate::records::Removal { image: &image, named: name, force, users }.plan()?;
        self.records().remove(&image, &plan)
    }

    /// Removes layers and blobs that nothing needs; the layers that went, and how many bytes that gave back.
    async fn collect(&self) -> Result<(Vec<DeletedItem>, u64)> {
        let before = self.layers_size()?;
        let removed = self.chains().collect(|| self.records().needed_chains()).await?;
        let layers = before.saturating_sub(self.layers_size()?);
        let records = Arc::clone(self.records());
        let blobs = tokio::task::spawn_blocking(move || {
            let (freed, gone) = records.content.collect(|| records.needed_blobs())?;
            for digest in gone {
                records.database.blobs().remove(&digest.to_string())?;
            }
            Ok::<_, Error>(freed)
        });
        let blobs = blobs.await.map_err(|e| Error::internal(e.to_string()))??;
        tracing::debug!(layers, blobs, "collected");
        Ok((removed.iter().map(|d| DeletedItem::Deleted(d.to_string())).collect(), layers))
    }

    /// Removes images that no container uses: those without a tag, or all with the filter `dangling=false`.
    ///
    /// # Errors
    /// `Invalid` for filters that are none; `Conflict` while another prune runs.
    pub async fn prune(&self, filters: &Filters) -> Result<ImagesPruned> {
        let candidates = self.records().prunable(filters)?;
        if self.pruning.swap(true, Ordering::AcqRel) {
            return Err(Error::conflict("a prune operation is already running"));
        }
        let pruned = self.prune_all(candidates).await;
        self.pruning.store(false, Ordering::Release);
        pruned
    }

    async fn prune_all(&self, candidates: Vec<Image>) -> Result<ImagesPruned> {
        let mut deleted = Vec::new();
        for image in candidates.iter().filter(|i| self.users_of(&i.id).is_empty()) {
            let names: HashSet<_> = image.references.iter().cloned().collect();
            let untag = names.iter().filter_map(|n| n.parse().ok()).collect();
            deleted.extend(self.records().remove(image, &crate::records::Plan { untag, delete: true })?);
        }
        if deleted.is_empty() {
            return Ok(ImagesPruned::default());
        }
        let (layers, space_reclaimed) = self.collect().await?;
        deleted.extend(layers);
        self.records().told_prune(space_reclaimed);
        Ok(ImagesPruned { images_deleted: Some(deleted), space_reclaimed })
    }

    /// Checks credentials against their registry.
    ///
    /// # Errors
    /// `Unauthorized` with the registry's reason.
    pub async fn login(&self, auth: AuthConfig) -> Result<AuthResponse> {
        self.puller.login(auth).await
    }

    /// What a registry has under a name.
    ///
    /// # Errors
    /// As for a pull.
    pub async fn distribution(&self, name: &str, auth: AuthConfig) -> Result<DistributionInspect> {
        self.puller.distribution(name.parse::<Reference>()?.or_latest(), auth).await
    }
}
