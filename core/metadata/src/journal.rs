//! Table `journal`: effects that cannot carry a name, written before they happen, so that recovery can undo them. Durable.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Database, Result, decode, encode};

/// An effect to undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry<D> {
    /// Rises with time: undo from the highest to the lowest.
    pub id: i64,
    /// Whose effect it is.
    pub owner: String,
    /// How to undo it.
    pub doc: D,
}

/// Table `journal`.
pub struct Journal<'a>(pub(crate) &'a Database);

impl Journal<'_> {
    /// Records an effect that is about to happen.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn add<D: Serialize>(&self, owner: &str, doc: &D) -> Result<i64> {
        let doc = encode("journal", owner, doc)?;
        let connection = self.0.durable();
        connection.execute("INSERT INTO journal (owner, doc) VALUES (?1, ?2)", [owner, &doc])?;
        Ok(connection.last_insert_rowid())
    }

    /// The entries of an owner, the newest first.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn of<D: DeserializeOwned>(&self, owner: &str) -> Result<Vec<JournalEntry<D>>> {
        let rows: Vec<(i64, String)> = {
            let connection = self.0.fast();
            let mut statement =
                connection.prepare_cached("SELECT id, doc FROM journal WHERE owner = ?1 ORDER BY id DESC")?;
            let rows = statement.query_map([owner], |r| Ok((r.get(0)?, r.get(1)?)))?;
            rows.collect::<std::result::Result<_, _>>()?
        };
        rows.into_iter()
            .map(|(id, doc)| {
                decode("journal", owner, &doc).map(|doc| JournalEntry { id, owner: owner.to_owned(), doc })
            })
            .collect()
    }

    /// Forgets an entry that has been undone.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, id: i64) -> Result<()> {
        self.0.fast().execute("DELETE FROM journal WHERE id = ?1", [id])?;
        Ok(())
    }
}
