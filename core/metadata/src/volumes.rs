//! Tables `volumes` and `volume_users`. Volumes are durable.

use rusqlite::OptionalExtension;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Database, Result, decode, encode};

/// A volume's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow<D> {
    /// Unique.
    pub name: String,
    /// The volume driver.
    pub driver: String,
    /// Everything else.
    pub doc: D,
}

/// Table `volumes`.
pub struct Volumes<'a>(pub(crate) &'a Database);

impl Volumes<'_> {
    /// Adds a volume. A name in use is a `Conflict`.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn insert<D: Serialize>(&self, row: &VolumeRow<D>) -> Result<()> {
        let doc = encode("volumes", &row.name, &row.doc)?;
        self.0
            .durable()
            .execute("INSERT INTO volumes (name, driver, doc) VALUES (?1, ?2, ?3)", [&row.name, &row.driver, &doc])?;
        Ok(())
    }

    /// One volume.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn get<D: DeserializeOwned>(&self, name: &str) -> Result<Option<VolumeRow<D>>> {
        let row: Option<(String, String)> = self
            .0
            .fast()
            .query_row("SELECT driver, doc FROM volumes WHERE name = ?1", [name], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        row.map(|(driver, doc)| Ok(VolumeRow { name: name.to_owned(), driver, doc: decode("volumes", name, &doc)? }))
            .transpose()
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all<D: DeserializeOwned>(&self) -> Result<Vec<VolumeRow<D>>> {
        let rows: Vec<(String, String, String)> = {
            let connection = self.0.fast();
            let mut statement = connection.prepare_cached("SELECT name, driver, doc FROM volumes ORDER BY name")?;
            let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
            rows.collect::<std::result::Result<_, _>>()?
        };
        rows.into_iter()
            .map(|(name, driver, doc)| decode("volumes", &name, &doc).map(|doc| VolumeRow { name, driver, doc }))
            .collect()
    }

    /// Removes a volume with its users; whether it was there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let mut connection = self.0.durable();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM volume_users WHERE volume = ?1", [name])?;
        let removed = transaction.execute("DELETE FROM volumes WHERE name = ?1", [name])? > 0;
        transaction.commit()?;
        Ok(removed)
    }
}

/// Table `volume_users`: which containers refer to a volume, and which of them have it mounted now.
pub struct VolumeUsers<'a>(pub(crate) &'a Database);

impl VolumeUsers<'_> {
    /// Records that a container refers to a volume.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn add(&self, volume: &str, container: &str) -> Result<()> {
        self.0
            .fast()
            .prepare_cached("INSERT OR IGNORE INTO volume_users (volume, container, mounted) VALUES (?1, ?2, 0)")?
            .execute([volume, container])?;
        Ok(())
    }

    /// Records whether a container has a volume mounted; it refers to the volume from then on.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn set_mounted(&self, volume: &str, container: &str, mounted: bool) -> Result<()> {
        self.0
            .fast()
            .prepare_cached("INSERT OR REPLACE INTO volume_users (volume, container, mounted) VALUES (?1, ?2, ?3)")?
            .execute(rusqlite::params![volume, container, mounted])?;
        Ok(())
    }

    /// Forgets that a container refers to a volume.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, volume: &str, container: &str) -> Result<()> {
        self.0.fast().execute("DELETE FROM volume_users WHERE volume = ?1 AND container = ?2", [volume, container])?;
        Ok(())
    }

    /// The containers that refer to a volume, and whether each has it mounted.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn of_volume(&self, volume: &str) -> Result<Vec<(String, bool)>> {
        self.query("SELECT container, mounted FROM volume_users WHERE volume = ?1", volume)
    }

    /// The volumes that a container refers to, and whether it has each mounted.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn of_container(&self, container: &str) -> Result<Vec<(String, bool)>> {
        self.query("SELECT volume, mounted FROM volume_users WHERE container = ?1", container)
    }

    fn query(&self, sql: &str, key: &str) -> Result<Vec<(String, bool)>> {
        let connection = self.0.fast();
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([key], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_and_go() {
        let dir = tempfile::tempdir().expect("tempdir");
        let db = Database::open(&dir.path().join("db")).expect("open");
        let row = VolumeRow { name: "v".into(), driver: "local".into(), doc: 1 };
        db.volumes().insert(&row).expect("insert");
        assert_eq!(db.volumes().get("v").expect("get"), Some(row));
        db.volume_users().add("v", "c").expect("add");
        db.volume_users().set_mounted("v", "c", true).expect("mounted");
        db.volume_users().add("v", "c").expect("add again changes nothing");
        assert_eq!(db.volume_users().of_volume("v").expect("users"), [("c".to_owned(), true)]);
        db.volumes().remove("v").expect("remove");
        assert!(db.volume_users().of_container("c").expect("users").is_empty());
    }
}
