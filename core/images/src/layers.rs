//! What unpacking needs of the storage drivers.

use std::path::Path;

use async_trait::async_trait;
use sheave_host::Host;
use sheave_plugin::Kind;
use sheave_plugin::storage::{Capabilities, Snapshot};
use sheave_storage::{MountGuard, Snapshots};
use sheave_types::Result;

/// A snapshot that is reachable at a path, until this is dropped.
pub trait MountedLayer: Send {
    /// Where.
    fn path(&self) -> &Path;
}

/// The snapshots of all storage drivers. Keys and names are those of the storage interface.
#[async_trait]
pub trait LayerStore: Send + Sync {
    /// What the driver can do.
    async fn capabilities(&self, driver: &str) -> Result<Capabilities>;
    /// The driver for images that are pulled.
    fn default_driver(&self) -> &str;
    /// The drivers there are.
    fn drivers(&self) -> Vec<String>;
    /// Begins an active snapshot.
    async fn prepare(&self, driver: &str, key: &str, parent: Option<&str>) -> Result<()>;
    /// Makes a snapshot reachable.
    async fn mount(&self, driver: &str, key: &str, read_only: bool) -> Result<Box<dyn MountedLayer>>;
    /// Turns an active snapshot into a committed one, on disk when this returns.
    async fn commit(&self, driver: &str, key: &str, name: &str, parent: Option<&str>) -> Result<()>;
    /// Removes a snapshot; one that is not there is no error.
    async fn remove(&self, driver: &str, key: &str) -> Result<()>;
    /// All snapshots of a driver.
    async fn list(&self, driver: &str) -> Result<Vec<Snapshot>>;
}

impl MountedLayer for MountGuard {
    fn path(&self) -> &Path {
        Self::path(self)
    }
}

/// The engine's own storage drivers.
pub struct StorageLayers {
    host: Host,
    snapshots: Snapshots,
}

impl StorageLayers {
    /// All drivers of the host.
    pub fn new(host: Host, snapshots: Snapshots) -> Self {
        Self { host, snapshots }
    }
}

#[async_trait]
impl LayerStore for StorageLayers {
    async fn capabilities(&self, driver: &str) -> Result<Capabilities> {
        self.snapshots.capabilities(driver).await
    }
    fn default_driver(&self) -> &str {
        self.snapshots.default_driver()
    }
    fn drivers(&self) -> Vec<String> {
        self.host.drivers(Kind::Storage)
    }
    async fn prepare(&self, driver: &str, key: &str, parent: Option<&str>) -> Result<()> {
        self.snapshots.prepare(driver, key, parent, &[]).await
    }
    async fn mount(&self, driver: &str, key: &str, read_only: bool) -> Result<Box<dyn MountedLayer>> {
        Ok(Box::new(self.snapshots.mount_private(driver, key, read_only).await?))
    }
    async fn commit(&self, driver: &str, key: &str, name: &str, parent: Option<&str>) -> Result<()> {
        self.snapshots.commit(driver, key, name, parent).await
    }
    async fn remove(&self, driver: &str, key: &str) -> Result<()> {
        self.snapshots.remove(driver, key).await
    }
    async fn list(&self, driver: &str) -> Result<Vec<Snapshot>> {
        self.snapshots.list(driver).await
    }
}
