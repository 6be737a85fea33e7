//! The database: schema, migrations, one file a table. The only crate that knows which engine it is (SQLite, WAL).
//!
//! Every call is synchronous and short (around 0.1 ms, or a few where it waits for the disk), so it may be made from an async
//! task. Rows of images and volumes are on disk when the call returns (`synchronous=FULL`); others reach the disk with the
//! next checkpoint, because what they describe does not outlive a power cut.

mod containers;
mod endpoints;
mod error;
mod images;
mod journal;
mod networks;
mod plugin_state;
mod schema;
mod volumes;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use containers::{ContainerRow, Containers};
pub use endpoints::{Endpoint, Endpoints, Leases, Ports};
pub use error::MetadataError;
pub use images::{Blob, Blobs, Chain, Chains, ImageReference, Images, References};
pub use journal::{Journal, JournalEntry};
pub use networks::{NetworkRow, Networks};
pub use plugin_state::{PluginState, StateWrite};
pub use volumes::{VolumeRow, VolumeUsers, Volumes};

/// What the queries of this crate return.
pub type Result<T> = std::result::Result<T, MetadataError>;

/// The database of one engine; a cheap handle.
#[derive(Clone)]
pub struct Database {
    fast: Arc<Mutex<Connection>>,
    durable: Arc<Mutex<Connection>>,
}

fn connect(path: &Path, synchronous: &str) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", -512)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

impl Database {
    /// Opens the database, makes it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// Those of the file system and the engine; [`MetadataError::Newer`] if a newer Sheave wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let mut durable = connect(path, "FULL")?;
        schema::migrate(&mut durable)?;
        let fast = connect(path, "NORMAL")?;
        Ok(Self { fast: Arc::new(Mutex::new(fast)), durable: Arc::new(Mutex::new(durable)) })
    }

    /// The engine's id, made when the database was: it names everything the engine leaves in the kernel.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn engine_id(&self) -> Result<String> {
        let connection = self.durable();
        let fresh = sheave_types::Id::random().to_string();
        connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('engine-id', ?1)", [fresh])?;
        Ok(connection.query_row("SELECT value FROM meta WHERE key = 'engine-id'", [], |r| r.get(0))?)
    }

    /// The images.
    pub fn images(&self) -> Images<'_> {
        Images(self)
    }

    /// The references (tags and digests) of images.
    pub fn references(&self) -> References<'_> {
        References(self)
    }

    /// The blobs of the content store.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs(self)
    }

    /// Which layer chains are unpacked, by storage driver.
    pub fn chains(&self) -> Chains<'_> {
        Chains(self)
    }

    /// The containers.
    pub fn containers(&self) -> Containers<'_> {
        Containers(self)
    }

    /// The networks.
    pub fn networks(&self) -> Networks<'_> {
        Networks(self)
    }

    /// The endpoints of networks.
    pub fn endpoints(&self) -> Endpoints<'_> {
        Endpoints(self)
    }

    /// The addresses in use.
    pub fn leases(&self) -> Leases<'_> {
        Leases(self)
    }

    /// The host ports in use.
    pub fn ports(&self) -> Ports<'_> {
        Ports(self)
    }

    /// The volumes.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes(self)
    }

    /// Which containers use which volumes.
    pub fn volume_users(&self) -> VolumeUsers<'_> {
        VolumeUsers(self)
    }

    /// The durable state of plugins.
    pub fn plugin_state(&self) -> PluginState<'_> {
        PluginState(self)
    }

    /// The journal of effects that cannot carry a name.
    pub fn journal(&self) -> Journal<'_> {
        Journal(self)
    }

    fn fast(&self) -> MutexGuard<'_, Connection> {
        self.fast.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> MutexGuard<'_, Connection> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}

fn encode<T: Serialize>(table: &'static str, key: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| MetadataError::Document { table, key: key.to_owned(), source })
}

fn decode<T: DeserializeOwned>(table: &'static str, key: &str, doc: &str) -> Result<T> {
    serde_json::from_str(doc).map_err(|source| MetadataError::Document { table, key: key.to_owned(), source })
}
