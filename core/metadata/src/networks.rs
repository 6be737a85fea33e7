//! Table `networks`.

use rusqlite::OptionalExtension;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Database, Result, decode, encode};

/// A network's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow<D> {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique.
    pub name: String,
    /// Everything else.
    pub doc: D,
}

/// Table `networks`.
pub struct Networks<'a>(pub(crate) &'a Database);

impl Networks<'_> {
    /// Adds a network. A name in use is a `Conflict`.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn insert<D: Serialize>(&self, row: &NetworkRow<D>) -> Result<()> {
        let doc = encode("networks", &row.id, &row.doc)?;
        self.0
            .durable()
            .execute("INSERT INTO networks (id, name, doc) VALUES (?1, ?2, ?3)", [&row.id, &row.name, &doc])?;
        Ok(())
    }

    /// Replaces a network's document.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn set_doc<D: Serialize>(&self, id: &str, doc: &D) -> Result<()> {
        let doc = encode("networks", id, doc)?;
        self.0.durable().execute("UPDATE networks SET doc = ?2 WHERE id = ?1", [id, &doc])?;
        Ok(())
    }

    /// One network by id.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn get<D: DeserializeOwned>(&self, id: &str) -> Result<Option<NetworkRow<D>>> {
        let row: Option<(String, String)> = self
            .0
            .fast()
            .query_row("SELECT name, doc FROM networks WHERE id = ?1", [id], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        row.map(|(name, doc)| Ok(NetworkRow { id: id.to_owned(), name, doc: decode("networks", id, &doc)? }))
            .transpose()
    }

    /// All networks.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all<D: DeserializeOwned>(&self) -> Result<Vec<NetworkRow<D>>> {
        let rows: Vec<(String, String, String)> = {
            let connection = self.0.fast();
            let mut statement = connection.prepare_cached("SELECT id, name, doc FROM networks ORDER BY name")?;
            let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
            rows.collect::<std::result::Result<_, _>>()?
        };
        rows.into_iter()
            .map(|(id, name, doc)| decode("networks", &id, &doc).map(|doc| NetworkRow { id, name, doc }))
            .collect()
    }

    /// Removes a network; whether it was there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, id: &str) -> Result<bool> {
        Ok(self.0.durable().execute("DELETE FROM networks WHERE id = ?1", [id])? > 0)
    }
}
