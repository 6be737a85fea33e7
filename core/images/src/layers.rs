//! What unpacking needs of the storage drivers.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sheave_plugin::storage::{Capabilities, Snapshot};
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
    async fn default_driver(&self) -> String;
    /// The drivers there are.
    fn drivers(&self) -> Vec<String>;
    /// Begins an active snapshot.
    async fn prepare(&self, driver: &str, key: &str, parent: Option<&str>) -> Result<()>;
    /// Makes a snapshot reachable.
    async fn mount(&self, driver: &str, key: &str, read_only: bool) -> Result<Box<dyn MountedLayer>>;
    /// Turns an active snapshot into a committed one.
    async fn commit(&self, driver: &str, key: &str, name: &str, parent: Option<&str>) -> Result<()>;
    /// Removes a snapshot; one that is not there is no error.
    async fn remove(&self, driver: &str, key: &str) -> Result<()>;
    /// All snapshots of a driver.
    async fn list(&self, driver: &str) -> Result<Vec<Snapshot>>;
}

/// A snapshot that is a directory as it is.
pub struct PlainLayer(pub PathBuf);

impl MountedLayer for PlainLayer {
    fn path(&self) -> &Path {
        &self.0
    }
}
