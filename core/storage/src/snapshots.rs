//! Snapshots over all storage drivers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sheave_host::{Host, Planned, StoragePlugin};
use sheave_metadata::Database;
use sheave_plugin::storage::{Capabilities, Snapshot};
use sheave_plugin::{Action, Finding, Kind, Label};
use sheave_types::ErrorKind;
use tokio::task::spawn_blocking;

use crate::claims::{Claim, Claims};
use crate::error::{Result, StorageError};
use crate::mounts::{MountGuard, ResolvedMount, mount_in_new_dir};
use crate::path::Relative;
use crate::perform::Performed;
use crate::plan::Site;
use crate::probe;
use crate::sweeper::Sweeper;
use crate::tree::{Root, disk_usage};

/// What [`Snapshots::open`] needs besides the plugins and the database.
#[derive(Debug, Clone)]
pub struct Options {
    /// The engine's runtime directory; the daemon's own mounts lie in `mnt` below it.
    pub exec_root: PathBuf,
    /// The driver that the operator chose; none chooses the best that works here.
    pub driver: Option<String>,
}

/// A driver that works on this host.
pub(crate) struct Ready {
    pub(crate) plugin: Arc<StoragePlugin>,
    pub(crate) root: Arc<Root>,
    pub(crate) capabilities: Capabilities,
}

impl Ready {
    pub(crate) fn site(&self) -> Site<'_> {
        Site { plugin: self.plugin.name(), root: &self.root, grants: self.plugin.grants() }
    }
}

/// The snapshots of an engine; a cheap handle.
///
/// A snapshot is named by its driver and its key. Committed ones have the chain id of their layers (64 hexadecimal digits),
/// the writable one of a container the container's id, one that is being unpacked `unpack-<chain>-<random>`.
#[derive(Clone)]
pub struct Snapshots(Arc<Inner>);

pub(crate) struct Inner {
    host: Host,
    database: Database,
    mounts: PathBuf,
    default: String,
    ready: Mutex<BTreeMap<String, Arc<Ready>>>,
    claims: Claims,
    sweeper: Sweeper,
    counter: AtomicU64,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").field("default", &self.0.default).finish_non_exhaustive()
    }
}

impl Snapshots {
    /// Chooses the default driver: the operator's, or the first that works here of those that unpack layers in parallel, then
    /// of the others. Why one does not work is logged. Call [`Snapshots::recover`] next.
    ///
    /// # Errors
    /// `Unavailable` where the chosen driver, or every driver, does not work here; `NotFound` for an unknown driver.
    pub async fn open(host: Host, database: Database, options: Options) -> sheave_types::Result<Self> {
        let mounts = options.exec_root.join("mnt");
        std::fs::create_dir_all(&mounts).map_err(StorageError::io("make directory", &mounts))?;
        let mut inner = Inner {
            host,
            database,
            mounts,
            default: String::new(),
            ready: Mutex::default(),
            claims: Claims::default(),
            sweeper: Sweeper::start()?,
            counter: AtomicU64::new(0),
        };
        inner.default = inner.choose(options.driver.as_deref()).await?;
        Ok(Self(Arc::new(inner)))
    }

    /// The driver for new images and containers, by its short name (`overlay`).
    pub fn default_driver(&self) -> &str {
        &self.0.default
    }

    /// What a driver can do.
    ///
    /// # Errors
    /// Those of finding and probing the driver, as for each method.
    pub async fn capabilities(&self, driver: &str) -> sheave_types::Result<Capabilities> {
        Ok(self.0.ready(driver).await?.capabilities.clone())
    }

    /// The directory of a driver.
    ///
    /// # Errors
    /// `NotFound` for an unknown driver.
    pub fn root(&self, driver: &str) -> sheave_types::Result<PathBuf> {
        Ok(self.0.host.storage(driver)?.root().to_owned())
    }

    /// Begins the active snapshot `key` over the committed `parent`. A label `size` limits its bytes.
    ///
    /// # Errors
    /// `Conflict` where `key` exists, `NotFound` where `parent` does not, `Unsupported` for a size limit that the file system
    /// cannot keep. Nothing of `key` exists then.
    pub async fn prepare(
        &self,
        driver: &str,
        key: &str,
        parent: Option<&str>,
        labels: &[(&str, &str)],
    ) -> sheave_types::Result<()> {
        let ready = self.0.ready(driver).await?;
        let parents: Vec<&str> = parent.into_iter().collect();
        let claim = self.0.claim(&ready, &[key], &parents).await;
        let labels = labels.iter().map(|(k, v)| Label { key: (*k).to_owned(), value: (*v).to_owned() }).collect();
        let planned = ready.plugin.prepare(key.to_owned(), parent.map(str::to_owned), labels).await?;
        Ok(self.0.perform(ready, claim, planned, false).await?)
    }

    /// The mounts that make up a snapshot. A committed one is read-only in any case.
    ///
    /// # Errors
    /// `NotFound`; `NotGranted` and `Internal` where the driver wants mounts that it may not have.
    pub async fn mounts(&self, driver: &str, key: &str, read_only: bool) -> sheave_types::Result<Vec<ResolvedMount>> {
        let ready = self.0.ready(driver).await?;
        let mounts = ready.plugin.mounts(key.to_owned(), read_only).await?;
        Ok(ready.site().resolve(&mounts)?)
    }

    /// Mounts a snapshot for the daemon alone (unpacking, copy-up, archives) for as long as the guard lives. A writable
    /// snapshot that is one directory is given as that directory.
    ///
    /// # Errors
    /// Those of [`Snapshots::mounts`] and of the mounts.
    pub async fn mount_private(&self, driver: &str, key: &str, read_only: bool) -> sheave_types::Result<MountGuard> {
        let mounts = self.mounts(driver, key, read_only).await?;
        if let [ResolvedMount::Bind { target, source, read_only: false }] = mounts.as_slice()
            && target.as_os_str().is_empty()
            && !read_only
        {
            return Ok(MountGuard::plain(source.clone()));
        }
        let place = self.0.new_place(key);
        let mounting = spawn_blocking(move || mount_in_new_dir(&mounts, &place));
        Ok(mounting.await.map_err(StorageError::from)??)
    }

    /// Turns the active snapshot `key` into the committed `name`, on disk when this returns. `parent` is for drivers with
    /// `independent-layers`.
    ///
    /// # Errors
    /// `Conflict` where `name` exists, `NotFound`, `Unsupported`; `key` is active as before then.
    pub async fn commit(&self, driver: &str, key: &str, name: &str, parent: Option<&str>) -> sheave_types::Result<()> {
        let ready = self.0.ready(driver).await?;
        let parents: Vec<&str> = parent.into_iter().collect();
        let claim = self.0.claim(&ready, &[key, name], &parents).await;
        let planned = ready.plugin.commit(key.to_owned(), name.to_owned(), parent.map(str::to_owned)).await?;
        Ok(self.0.perform(ready, claim, planned, true).await?)
    }

    /// Removes a snapshot without children. It is out of the way when this returns, and its space is freed soon after.
    /// One that does not exist is removed already.
    ///
    /// # Errors
    /// `Conflict` where it has children.
    pub async fn remove(&self, driver: &str, key: &str) -> sheave_types::Result<()> {
        let ready = self.0.ready(driver).await?;
        Ok(self.0.remove(ready, key).await?)
    }

    /// All snapshots of a driver.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn list(&self, driver: &str) -> sheave_types::Result<Vec<Snapshot>> {
        self.0.ready(driver).await?.plugin.list().await
    }

    /// Bytes on disk that a snapshot adds to its parent.
    ///
    /// # Errors
    /// `NotFound`, and those of reading its directories.
    pub async fn usage(&self, driver: &str, key: &str) -> sheave_types::Result<u64> {
        let ready = self.0.ready(driver).await?;
        let paths = ready.plugin.usage(key.to_owned()).await?;
        let counting = spawn_blocking(move || usage_of(&ready.site(), &paths));
        Ok(counting.await.map_err(StorageError::from)??)
    }

    /// Compares a driver's records with its directory.
    ///
    /// # Errors
    /// Those of the driver and of reading the directory.
    pub async fn check(&self, driver: &str) -> sheave_types::Result<Vec<Finding>> {
        let ready = self.0.ready(driver).await?;
        Ok(self.0.findings(&ready).await?)
    }

    /// Waits until everything removed so far has left the disk.
    pub async fn settle(&self) {
        self.0.sweeper.settle().await;
    }

    /// Removes what a crash left: mounts of the daemon, half-made and half-removed directories, snapshots that were being
    /// unpacked. Call it once at start, before anything else uses the snapshots.
    ///
    /// # Errors
    /// Those of the database and of drivers; what could be removed is gone then.
    pub async fn recover(&self) -> sheave_types::Result<crate::Recovery> {
        Ok(crate::recovery::run(&self.0).await?)
    }
}

/// The bytes on disk below a driver's paths.
pub(crate) fn usage_of(site: &Site<'_>, paths: &[String]) -> Result<u64> {
    let mut total = 0;
    for text in paths {
        let path = Relative::parse(text).map_err(|reason| StorageError::Path {
            plugin: site.plugin.to_owned(),
            path: text.clone(),
            reason: reason.to_owned(),
        })?;
        let failed = StorageError::errno("count", site.root.absolute(&path));
        total += disk_usage(site.root.fd(), path.as_path()).map_err(failed)?;
    }
    Ok(total)
}

/// Performs a plan over `root` and commits the plugin's state, in this order; a failure undoes what was done.
///
/// # Errors
/// The first action that is refused or fails, or the database's.
pub(crate) fn perform_and_commit(
    site: &Site<'_>,
    planned: Planned<Vec<Action>>,
    before_commit: impl FnOnce() -> Result<()>,
) -> Result<Vec<std::ffi::OsString>> {
    let steps = site.check(&planned)?;
    let performed = Performed::new(site.root).all(&steps)?;
    before_commit()?;
    planned.commit()?;
    Ok(performed.keep())
}

impl Inner {
    /// All drivers that work here, with why the others do not.
    pub(crate) async fn usable(&self) -> (Vec<Arc<Ready>>, Vec<String>) {
        let (mut usable, mut reasons) = (Vec::new(), Vec::new());
        for name in self.host.drivers(Kind::Storage) {
            match self.ready(&name).await {
                Ok(ready) => usable.push(ready),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        (usable, reasons)
    }

    async fn choose(&self, wanted: Option<&str>) -> Result<String> {
        if let Some(wanted) = wanted {
            return Ok(self.ready(wanted).await?.plugin.driver().to_owned());
        }
        let (mut usable, reasons) = self.usable().await;
        usable.sort_by_key(|r| !r.capabilities.independent_layers);
        for reason in &reasons {
            tracing::warn!(reason, "a storage driver is left out");
        }
        let best = usable.first().ok_or_else(|| StorageError::NoDriver { reasons: reasons.join("; ") })?;
        tracing::info!(driver = best.plugin.driver(), "storage driver chosen");
        Ok(best.plugin.driver().to_owned())
    }

    /// A driver that has passed its probes; they run at its first use.
    pub(crate) async fn ready(&self, driver: &str) -> Result<Arc<Ready>> {
        let plugin = self.host.storage(driver)?;
        if let Some(ready) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).get(plugin.name()) {
            return Ok(ready.clone());
        }
        let unavailable =
            |reason: String| StorageError::DriverUnavailable { driver: plugin.driver().to_owned(), reason };
        let _claim = self.claims.take(&[format!("{} probe", plugin.name())], &[]).await;
        let capabilities = plugin.capabilities().await.map_err(|e| unavailable(e.to_string()))?;
        let root = Arc::new(Root::open(plugin.root())?);
        let ready = Arc::new(Ready { plugin: plugin.clone(), root, capabilities });
        let (probed, place) = (ready.clone(), self.new_place("probe"));
        let probing = spawn_blocking(move || probe::run(&probed.site(), &probed.capabilities.probes, &place));
        probing.await?.map_err(|e| unavailable(e.to_string()))?;
        let mut known = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(plugin.name().to_owned()).or_insert(ready).clone())
    }

    /// A path for a mount of the daemon's own that nothing has.
    fn new_place(&self, what: &str) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.mounts.join(format!("{}-{number}", what.get(..16).unwrap_or(what)))
    }

    /// The directory of the daemon's own mounts.
    pub(crate) fn mounts(&self) -> &Path {
        &self.mounts
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The short name of a driver, however it was named.
    pub(crate) fn host_name(&self, driver: &str) -> Option<String> {
        self.host.storage(driver).ok().map(|plugin| plugin.driver().to_owned())
    }

    pub(crate) fn sweeper(&self) -> &Sweeper {
        &self.sweeper
    }

    pub(crate) async fn claim(&self, ready: &Ready, exclusive: &[&str], shared: &[&str]) -> Claim {
        let named = |keys: &[&str]| -> Vec<String> {
            keys.iter().map(|key| format!("{} {key}", ready.plugin.name())).collect()
        };
        self.claims.take(&named(exclusive), &named(shared)).await
    }

    /// Performs a plan to its end, even where the caller goes away meanwhile.
    async fn perform(
        &self,
        ready: Arc<Ready>,
        claim: Claim,
        planned: Planned<Vec<Action>>,
        durable: bool,
    ) -> Result<()> {
        let (database, sweeper) = (self.database.clone(), self.sweeper.clone());
        let performing = spawn_blocking(move || {
            let _claim = claim;
            let sync = || match durable {
                true => nix::unistd::syncfs(ready.root.fd()).map_err(StorageError::errno("sync", ready.root.path())),
                false => Ok(()),
            };
            let trash = perform_and_commit(&ready.site(), planned, sync)?;
            if durable {
                database.plugin_state().sync()?;
            }
            sweeper.remove(&ready.root, trash);
            Ok(())
        });
        performing.await?
    }

    pub(crate) async fn remove(&self, ready: Arc<Ready>, key: &str) -> Result<()> {
        let claim = self.claim(&ready, &[key], &[]).await;
        let planned = match ready.plugin.remove(key.to_owned()).await {
            Ok(planned) => planned,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StorageError::Driver(error)),
        };
        self.perform(ready, claim, planned, false).await
    }

    /// The driver's own comparison of its records with what is found.
    pub(crate) async fn findings(&self, ready: &Arc<Ready>) -> Result<Vec<Finding>> {
        let root = ready.root.clone();
        let found = spawn_blocking(move || crate::recovery::two_levels(&root)).await??;
        ready.plugin.check(found).await.map_err(StorageError::Driver)
    }
}
