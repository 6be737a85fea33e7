//! Volumes over all volume drivers.

mod copy_up;
mod filters;
mod mounting;
mod prune;
mod recovery;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sheave_api::Filters;
use sheave_api::volumes::{ANONYMOUS, Volume, VolumeCreateRequest, VolumePruneResponse, VolumeUsage};
use sheave_host::{Host, Planned, VolumePlugin};
use sheave_metadata::{Database, VolumeRow};
use sheave_plugin::volume::{Scope, Spec};
use sheave_plugin::{Action, Label};
use sheave_telemetry::events::{Event, EventBus, EventKind};
use sheave_types::{ErrorKind, Id};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::spawn_blocking;

use crate::claims::{Claim, Claims};
use crate::error::{Result, StorageError};
use crate::path::Relative;
use crate::plan::Site;
use crate::snapshots::{perform_and_commit, usage_of};
use crate::sweeper::Sweeper;
use crate::tree::Root;

/// The driver of volumes that name none.
const DEFAULT_DRIVER: &str = "local";

/// What the database keeps of a volume beside its name and driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Doc {
    created: String,
    /// Relative to the driver's root.
    mountpoint: String,
    scope: String,
    options: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

type Row = VolumeRow<Doc>;

/// A driver with its root opened.
struct Opened {
    plugin: Arc<VolumePlugin>,
    root: Arc<Root>,
}

impl Opened {
    fn site(&self) -> Site<'_> {
        Site { plugin: self.plugin.name(), root: &self.root, grants: self.plugin.grants() }
    }
}

/// The volumes of an engine; a cheap handle.
#[derive(Clone)]
pub struct Volumes(Arc<Inner>);

struct Inner {
    host: Host,
    database: Database,
    events: Arc<EventBus>,
    claims: Claims,
    sweeper: Sweeper,
}

impl std::fmt::Debug for Volumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Volumes")
    }
}

impl Volumes {
    /// Call [`Volumes::recover`] next.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn open(host: Host, database: Database, events: Arc<EventBus>) -> sheave_types::Result<Self> {
        let inner = Inner { host, database, events, claims: Claims::default(), sweeper: Sweeper::start()? };
        Ok(Self(Arc::new(inner)))
    }

    /// Makes a volume, or returns the one that has the name already.
    ///
    /// # Errors
    /// `Conflict` where the existing one has another driver; `Invalid` for a name or options that the driver refuses;
    /// `NotFound` for a driver that this engine does not have.
    pub async fn create(&self, request: VolumeCreateRequest) -> sheave_types::Result<Volume> {
        Ok(self.0.create(request, None).await?)
    }

    /// [`Volumes::create`], and notes that a container needs the volume: it cannot be removed until [`Volumes::release`].
    ///
    /// # Errors
    /// As [`Volumes::create`].
    pub async fn claim(&self, request: VolumeCreateRequest, container: &Id) -> sheave_types::Result<Volume> {
        Ok(self.0.create(request, Some(container)).await?)
    }

    /// A container does not need a volume any more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn release(&self, name: &str, container: &Id) -> sheave_types::Result<()> {
        let _claim = self.0.claim(name).await;
        self.0.database.volume_users().remove(name, &container.to_string()).map_err(StorageError::from)?;
        Ok(())
    }

    /// The containers that need a volume, by id.
    ///
    /// # Errors
    /// Those of the database.
    pub fn references(&self, name: &str) -> sheave_types::Result<Vec<String>> {
        Ok(self.0.users(name)?)
    }

    /// One volume, with what its driver tells about it.
    ///
    /// # Errors
    /// `NotFound` with the text `get v: no such volume`.
    pub async fn get(&self, name: &str) -> sheave_types::Result<Volume> {
        Ok(self.0.volume(&self.0.row(name)?)?)
    }

    /// The volumes that pass the filters `name`, `driver`, `label`, `dangling`, by name.
    ///
    /// # Errors
    /// `Invalid` for another filter.
    pub fn list(&self, filters: &Filters) -> sheave_types::Result<Vec<Volume>> {
        filters::check(filters, &["name", "driver", "label", "label!", "dangling"])?;
        let rows = self.0.database.volumes().all::<Doc>().map_err(StorageError::from)?;
        let mut volumes = Vec::new();
        for row in rows {
            let used = || self.0.users(&row.name).map(|users| !users.is_empty());
            if filters::passes(filters, &row, used)? {
                volumes.push(self.0.volume(&row)?);
            }
        }
        Ok(volumes)
    }

    /// All volumes with what they take, for `/system/df`. A volume that cannot be counted has the size -1.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn with_usage(&self) -> sheave_types::Result<Vec<Volume>> {
        let rows = self.0.database.volumes().all::<Doc>().map_err(StorageError::from)?;
        let mut volumes = Vec::with_capacity(rows.len());
        for row in rows {
            let size = match self.0.size(&row).await {
                Ok(size) => size,
                Err(error) => {
                    tracing::warn!(volume = row.name, %error, "cannot be counted");
                    None
                }
            };
            let size = size.and_then(|s| i64::try_from(s).ok()).unwrap_or(-1);
            let ref_count = i64::try_from(self.0.users(&row.name)?.len()).unwrap_or(i64::MAX);
            let usage_data = Some(VolumeUsage { ref_count, size });
            volumes.push(Volume { usage_data, ..self.0.volume(&row)? });
        }
        Ok(volumes)
    }

    /// Removes a volume with its data. With `force` a volume that does not exist is no error.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where containers need it (`remove v: volume is in use - [ids]`).
    pub async fn remove(&self, name: &str, force: bool) -> sheave_types::Result<()> {
        match self.0.remove(name).await {
            Err(StorageError::NoSuchVolume { .. }) if force => Ok(()),
            result => Ok(result?),
        }
    }

    /// Removes unused volumes: anonymous ones, or all with the filter `all`.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter, `Conflict` while another prune runs.
    pub async fn prune(&self, filters: &Filters) -> sheave_types::Result<VolumePruneResponse> {
        Ok(prune::run(&self.0, filters).await?)
    }

    /// Makes a volume's data available to a container and returns its path on this host. The container counts as one user,
    /// however often it is called.
    ///
    /// # Errors
    /// `NotFound`; those of the driver and of the mount.
    pub async fn mount(&self, name: &str, container: &Id) -> sheave_types::Result<PathBuf> {
        Ok(mounting::mount(&self.0, name, &container.to_string()).await?)
    }

    /// A container's run is over; the last user unmounts. A user that is not known is fine.
    ///
    /// # Errors
    /// Those of the driver and of unmounting.
    pub async fn unmount(&self, name: &str, container: &Id) -> sheave_types::Result<()> {
        Ok(mounting::unmount(&self.0, name, &container.to_string()).await?)
    }

    /// Fills a volume that is mounted at `volume`, if it is empty, with the directory `path` of an image whose tree is mounted
    /// at `root`: its content, owner and mode. Links in the path are followed within `root` only. Nothing happens where the
    /// image has no such directory.
    ///
    /// # Errors
    /// Those of the file system; the volume is empty then.
    pub async fn copy_up(&self, volume: &Path, root: &Path, path: &Path) -> sheave_types::Result<()> {
        let (volume, root, path) = (volume.to_owned(), root.to_owned(), path.to_owned());
        let copying = spawn_blocking(move || copy_up::run(&volume, &root, &path));
        Ok(copying.await.map_err(StorageError::from)??)
    }

    /// Brings the database and the drivers together after a crash, and unmounts what no container uses. Call it once at
    /// start; what an ended container still has mounted goes with its [`Volumes::unmount`].
    ///
    /// # Errors
    /// Those of the database and the drivers.
    pub async fn recover(&self) -> sheave_types::Result<()> {
        Ok(recovery::run(&self.0).await?)
    }

    /// Waits until everything removed so far has left the disk.
    pub async fn settle(&self) {
        self.0.sweeper.settle().await;
    }
}

fn rfc3339_now() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}

impl Inner {
    async fn claim(&self, name: &str) -> Claim {
        self.claims.take(&[format!("volume {name}")], &[]).await
    }

    fn users(&self, name: &str) -> Result<Vec<String>> {
        Ok(self.database.volume_users().of_volume(name)?.into_iter().map(|(id, _)| id).collect())
    }

    fn row(&self, name: &str) -> Result<Row> {
        let row = self.database.volumes().get::<Doc>(name)?;
        row.ok_or_else(|| StorageError::NoSuchVolume { name: name.to_owned() })
    }

    fn driver(&self, name: &str) -> Result<Opened> {
        let plugin = self.host.volume(name)?;
        let root = Arc::new(Root::open(plugin.root())?);
        Ok(Opened { plugin, root })
    }

    fn publish(&self, action: &str, row: &Row, container: Option<&str>) {
        let mut attributes = BTreeMap::from([("driver".to_owned(), row.driver.clone())]);
        if let Some(container) = container {
            attributes.insert("container".to_owned(), container.to_owned());
        }
        self.events.publish(Event::now(EventKind::Volume, action, &row.name, attributes));
    }

    fn volume(&self, row: &Row) -> Result<Volume> {
        let root = self.host.volume(&row.driver).map(|plugin| plugin.root().to_owned()).unwrap_or_default();
        Ok(Volume {
            created_at: row.doc.created.clone(),
            driver: row.driver.clone(),
            labels: row.doc.labels.clone(),
            mountpoint: root.join(&row.doc.mountpoint).to_string_lossy().into_owned(),
            name: row.name.clone(),
            options: row.doc.options.clone(),
            scope: row.doc.scope.clone(),
            status: None,
            usage_data: None,
        })
    }

    async fn create(&self, mut request: VolumeCreateRequest, container: Option<&Id>) -> Result<Volume> {
        if request.cluster_volume_spec.is_some() {
            let reason = "this engine is not part of a swarm".to_owned();
            return Err(StorageError::Unsupported { what: "ClusterVolumeSpec", reason });
        }
        if request.name.is_empty() {
            request.name = Id::random().to_string();
            request.labels.get_or_insert_default().insert(ANONYMOUS.to_owned(), String::new());
        }
        let _claim = self.claim(&request.name).await;
        let row = match self.database.volumes().get::<Doc>(&request.name)? {
            Some(row) if request.driver.is_empty() || self.same_driver(&request.driver, &row.driver) => row,
            Some(row) => return Err(StorageError::OtherDriver { name: row.name, driver: row.driver }),
            None => self.create_new(request).await?,
        };
        if let Some(container) = container {
            self.database.volume_users().add(&row.name, &container.to_string())?;
        }
        self.volume(&row)
    }

    /// Whether two names (`local`, `volume-local`) are of one driver.
    fn same_driver(&self, one: &str, other: &str) -> bool {
        one == other || self.host.volume(one).is_ok_and(|plugin| plugin.driver() == other)
    }

    async fn create_new(&self, request: VolumeCreateRequest) -> Result<Row> {
        let wanted = if request.driver.is_empty() { DEFAULT_DRIVER } else { &request.driver };
        let driver = self.driver(wanted)?;
        let list = |map: &Option<BTreeMap<String, String>>| -> Vec<Label> {
            map.iter().flatten().map(|(key, value)| Label { key: key.clone(), value: value.clone() }).collect()
        };
        let spec = Spec {
            name: request.name.clone(),
            options: list(&request.driver_opts),
            labels: list(&request.labels),
            size_bytes: None,
        };
        let planned = driver.plugin.create(spec).await.map_err(StorageError::Driver)?;
        let name = driver.plugin.driver().to_owned();
        let scope = match driver.plugin.scope().await.map_err(StorageError::Driver)? {
            Scope::Local => "local",
            Scope::Global => "global",
        };
        let plugin = driver.plugin.clone();
        self.perform(driver, planned).await?;
        let info = plugin.get(request.name.clone()).await.map_err(StorageError::Driver)?;
        Relative::parse(&info.mountpoint).map_err(|reason| StorageError::Path {
            plugin: plugin.name().to_owned(),
            path: info.mountpoint.clone(),
            reason: reason.to_owned(),
        })?;
        let doc = Doc {
            created: rfc3339_now(),
            mountpoint: info.mountpoint,
            scope: scope.to_owned(),
            options: request.driver_opts.filter(|o| !o.is_empty()),
            labels: request.labels.filter(|l| !l.is_empty()),
        };
        let row = Row { name: request.name, driver: name, doc };
        self.database.volumes().insert(&row)?;
        self.publish("create", &row, None);
        Ok(row)
    }

    /// Performs a driver's plan to its end, even where the caller goes away meanwhile.
    async fn perform(&self, driver: Opened, planned: Planned<Vec<Action>>) -> Result<()> {
        let sweeper = self.sweeper.clone();
        let performing = spawn_blocking(move || {
            let sync = || {
                // The names made in the root; a volume's row is only written when they are on disk.
                nix::unistd::fsync(driver.root.fd()).map_err(StorageError::errno("sync", driver.root.path()))
            };
            let trash = perform_and_commit(&driver.site(), planned, sync)?;
            sweeper.remove(&driver.root, trash);
            Ok(())
        });
        performing.await?
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let _claim = self.claim(name).await;
        let row = self.row(name)?;
        let users = self.users(name)?;
        if !users.is_empty() {
            return Err(StorageError::InUse { name: row.name, users: users.join(", ") });
        }
        let driver = self.driver(&row.driver)?;
        mounting::unmount_point(&driver, &row)?;
        match driver.plugin.remove(row.name.clone()).await {
            Ok(planned) => self.perform(driver, planned).await?,
            // An earlier removal was interrupted after the driver's part.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::Driver(error)),
        }
        self.database.volumes().remove(name)?;
        self.publish("destroy", &row, None);
        Ok(())
    }

    /// Bytes on disk; none where the driver does not tell.
    async fn size(&self, row: &Row) -> Result<Option<u64>> {
        let driver = self.driver(&row.driver)?;
        let paths = driver.plugin.usage(row.name.clone()).await.map_err(StorageError::Driver)?;
        if paths.is_empty() {
            return Ok(None);
        }
        spawn_blocking(move || usage_of(&driver.site(), &paths)).await?.map(Some)
    }
}

/// Opens a directory by an absolute path of the engine's own.
fn open_own(path: &Path) -> Result<OwnedFd> {
    use nix::fcntl::{OFlag, open};
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, nix::sys::stat::Mode::empty()).map_err(StorageError::errno("open directory", path))
}
