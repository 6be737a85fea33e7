//! Images, their references, blobs, and unpacked layer chains. All durable.

use rusqlite::OptionalExtension;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Database, Result, decode, encode};

/// Table `images`: a document by image id.
pub struct Images<'a>(pub(crate) &'a Database);

impl Images<'_> {
    /// Adds or replaces an image.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn put<T: Serialize>(&self, id: &str, doc: &T) -> Result<()> {
        let doc = encode("images", id, doc)?;
        self.0.durable().execute("INSERT OR REPLACE INTO images (id, doc) VALUES (?1, ?2)", [id, &doc])?;
        Ok(())
    }

    /// One image.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn get<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>> {
        let doc: Option<String> =
            self.0.fast().query_row("SELECT doc FROM images WHERE id = ?1", [id], |r| r.get(0)).optional()?;
        doc.map(|d| decode("images", id, &d)).transpose()
    }

    /// All images with their ids.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        let rows: Vec<(String, String)> = {
            let connection = self.0.fast();
            let mut statement = connection.prepare_cached("SELECT id, doc FROM images ORDER BY id")?;
            let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
            rows.collect::<std::result::Result<_, _>>()?
        };
        rows.into_iter().map(|(id, doc)| decode("images", &id, &doc).map(|d| (id, d))).collect()
    }

    /// Removes an image with its references; whether it was there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, id: &str) -> Result<bool> {
        let mut connection = self.0.durable();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM image_references WHERE image = ?1", [id])?;
        let removed = transaction.execute("DELETE FROM images WHERE id = ?1", [id])? > 0;
        transaction.commit()?;
        Ok(removed)
    }
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// The full reference: `docker.io/library/alpine:3` or `…@sha256:…`.
    pub name: String,
    /// The image's id.
    pub image: String,
    /// The digest of the manifest or index that the registry gave for it; empty if it came from no registry.
    pub target: String,
}

/// Table `image_references`.
pub struct References<'a>(pub(crate) &'a Database);

impl References<'_> {
    /// Points a name at an image; the image it pointed at before, if any.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn put(&self, row: &ImageReference) -> Result<Option<String>> {
        let mut connection = self.0.durable();
        let transaction = connection.transaction()?;
        let before = transaction
            .query_row("SELECT image FROM image_references WHERE name = ?1", [&row.name], |r| r.get(0))
            .optional()?;
        transaction.execute(
            "INSERT OR REPLACE INTO image_references (name, image, target) VALUES (?1, ?2, ?3)",
            [&row.name, &row.image, &row.target],
        )?;
        transaction.commit()?;
        Ok(before)
    }

    /// What a name points at.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn get(&self, name: &str) -> Result<Option<ImageReference>> {
        let connection = self.0.fast();
        let mut statement =
            connection.prepare_cached("SELECT name, image, target FROM image_references WHERE name = ?1")?;
        Ok(statement.query_row([name], reference).optional()?)
    }

    /// All names, sorted.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all(&self) -> Result<Vec<ImageReference>> {
        let connection = self.0.fast();
        let mut statement =
            connection.prepare_cached("SELECT name, image, target FROM image_references ORDER BY name")?;
        let rows = statement.query_map([], reference)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Removes a name; whether it was there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, name: &str) -> Result<bool> {
        Ok(self.0.durable().execute("DELETE FROM image_references WHERE name = ?1", [name])? > 0)
    }
}

fn reference(row: &rusqlite::Row<'_>) -> rusqlite::Result<ImageReference> {
    Ok(ImageReference { name: row.get(0)?, image: row.get(1)?, target: row.get(2)? })
}

/// A blob of the content store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// Seconds since 1970.
    pub created: i64,
}

/// Table `blobs`.
pub struct Blobs<'a>(pub(crate) &'a Database);

impl Blobs<'_> {
    /// Records a blob that is complete on disk.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn put(&self, blob: &Blob) -> Result<()> {
        self.0.durable().execute(
            "INSERT OR IGNORE INTO blobs (digest, size, media_type, created) VALUES (?1, ?2, ?3, ?4)",
            rusqlite::params![blob.digest, i64::try_from(blob.size).unwrap_or(i64::MAX), blob.media_type, blob.created],
        )?;
        Ok(())
    }

    /// One blob.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn get(&self, digest: &str) -> Result<Option<Blob>> {
        let connection = self.0.fast();
        let mut statement =
            connection.prepare_cached("SELECT digest, size, media_type, created FROM blobs WHERE digest = ?1")?;
        Ok(statement.query_row([digest], blob).optional()?)
    }

    /// All blobs.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all(&self) -> Result<Vec<Blob>> {
        let connection = self.0.fast();
        let mut statement = connection.prepare_cached("SELECT digest, size, media_type, created FROM blobs")?;
        let rows = statement.query_map([], blob)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Forgets a blob; whether it was there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, digest: &str) -> Result<bool> {
        Ok(self.0.durable().execute("DELETE FROM blobs WHERE digest = ?1", [digest])? > 0)
    }
}

fn blob(row: &rusqlite::Row<'_>) -> rusqlite::Result<Blob> {
    let size: i64 = row.get(1)?;
    Ok(Blob {
        digest: row.get(0)?,
        size: u64::try_from(size).unwrap_or(0),
        media_type: row.get(2)?,
        created: row.get(3)?,
    })
}

/// A layer chain that is unpacked in a storage driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The chain id, 64 hexadecimal digits.
    pub chain: String,
    /// The storage driver.
    pub driver: String,
    /// The committed snapshot's name.
    pub snapshot: String,
    /// What its top layer takes on disk, in bytes.
    pub size: u64,
}

/// Table `chains`.
pub struct Chains<'a>(pub(crate) &'a Database);

impl Chains<'_> {
    /// Records an unpacked chain.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn put(&self, chain: &Chain) -> Result<()> {
        self.0.durable().execute(
            "INSERT OR REPLACE INTO chains (chain, driver, snapshot, size) VALUES (?1, ?2, ?3, ?4)",
            rusqlite::params![chain.chain, chain.driver, chain.snapshot, i64::try_from(chain.size).unwrap_or(i64::MAX)],
        )?;
        Ok(())
    }

    /// The chain in this driver, if it is unpacked there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn get(&self, chain: &str, driver: &str) -> Result<Option<Chain>> {
        let connection = self.0.fast();
        let mut statement = connection
            .prepare_cached("SELECT chain, driver, snapshot, size FROM chains WHERE chain = ?1 AND driver = ?2")?;
        Ok(statement.query_row([chain, driver], chain_row).optional()?)
    }

    /// All unpacked chains.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all(&self) -> Result<Vec<Chain>> {
        let connection = self.0.fast();
        let mut statement = connection.prepare_cached("SELECT chain, driver, snapshot, size FROM chains")?;
        let rows = statement.query_map([], chain_row)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Forgets a chain; whether it was there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, chain: &str, driver: &str) -> Result<bool> {
        Ok(self.0.durable().execute("DELETE FROM chains WHERE chain = ?1 AND driver = ?2", [chain, driver])? > 0)
    }
}

fn chain_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Chain> {
    let size: i64 = row.get(3)?;
    Ok(Chain { chain: row.get(0)?, driver: row.get(1)?, snapshot: row.get(2)?, size: u64::try_from(size).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_an_image_removes_its_names() {
        let dir = tempfile::tempdir().expect("tempdir");
        let db = Database::open(&dir.path().join("db")).expect("open");
        db.images().put("i1", &"doc").expect("put");
        let row = ImageReference { name: "a:1".into(), image: "i1".into(), target: "sha256:1".into() };
        assert_eq!(db.references().put(&row).expect("put"), None);
        let moved = ImageReference { image: "i2".into(), ..row.clone() };
        assert_eq!(db.references().put(&moved).expect("put"), Some("i1".into()));
        assert_eq!(db.references().put(&row).expect("put"), Some("i2".into()));
        assert!(db.images().remove("i1").expect("remove"));
        assert!(!db.images().remove("i1").expect("remove"));
        assert_eq!(db.references().all().expect("all"), []);
        assert_eq!(db.images().get::<String>("i1").expect("get"), None);
    }

    #[test]
    fn the_engine_keeps_its_id() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("db");
        let id = Database::open(&path).expect("open").engine_id().expect("id");
        assert_eq!(id.len(), 64);
        assert_eq!(Database::open(&path).expect("open").engine_id().expect("id"), id);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("db");
        drop(Database::open(&path).expect("open"));
        let connection = rusqlite::Connection::open(&path).expect("open");
        connection.pragma_update(None, "user_version", 9999).expect("pragma");
        drop(connection);
        let error = Database::open(&path).expect_err("newer").to_string();
        assert!(error.contains("9999"), "{error}");
    }
}
