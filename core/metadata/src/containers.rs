//! Table `containers`: what was asked for, and the state, of each container.

use rusqlite::OptionalExtension;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Database, Result, decode, encode};

/// A container's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow<D, S> {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique, without a slash.
    pub name: String,
    /// What does not change while it runs.
    pub doc: D,
    /// Its state.
    pub state: S,
}

/// Table `containers`.
pub struct Containers<'a>(pub(crate) &'a Database);

impl Containers<'_> {
    /// Adds a container. A name in use is a `Conflict`.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn insert<D: Serialize, S: Serialize>(&self, row: &ContainerRow<D, S>) -> Result<()> {
        let doc = encode("containers", &row.id, &row.doc)?;
        let state = encode("containers", &row.id, &row.state)?;
        self.0.fast().execute(
            "INSERT INTO containers (id, name, doc, state) VALUES (?1, ?2, ?3, ?4)",
            [&row.id, &row.name, &doc, &state],
        )?;
        Ok(())
    }

    /// Replaces what was asked for.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn set_doc<D: Serialize>(&self, id: &str, doc: &D) -> Result<()> {
        let doc = encode("containers", id, doc)?;
        self.0.fast().prepare_cached("UPDATE containers SET doc = ?2 WHERE id = ?1")?.execute([id, &doc])?;
        Ok(())
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn set_state<S: Serialize>(&self, id: &str, state: &S) -> Result<()> {
        let state = encode("containers", id, state)?;
        self.0.fast().prepare_cached("UPDATE containers SET state = ?2 WHERE id = ?1")?.execute([id, &state])?;
        Ok(())
    }

    /// Renames. A name in use is a `Conflict`.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn rename(&self, id: &str, name: &str) -> Result<()> {
        self.0.fast().execute("UPDATE containers SET name = ?2 WHERE id = ?1", [id, name])?;
        Ok(())
    }

    /// The id of the container with this name.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn by_name(&self, name: &str) -> Result<Option<String>> {
        let connection = self.0.fast();
        Ok(connection.query_row("SELECT id FROM containers WHERE name = ?1", [name], |r| r.get(0)).optional()?)
    }

    /// All containers.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn all<D: DeserializeOwned, S: DeserializeOwned>(&self) -> Result<Vec<ContainerRow<D, S>>> {
        let rows: Vec<(String, String, String, String)> = {
            let connection = self.0.fast();
            let mut statement = connection.prepare_cached("SELECT id, name, doc, state FROM containers")?;
            let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
            rows.collect::<std::result::Result<_, _>>()?
        };
        rows.into_iter()
            .map(|(id, name, doc, state)| {
                let doc = decode("containers", &id, &doc)?;
                let state = decode("containers", &id, &state)?;
                Ok(ContainerRow { id, name, doc, state })
            })
            .collect()
    }

    /// Removes a container; whether it was there.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn remove(&self, id: &str) -> Result<bool> {
        Ok(self.0.fast().execute("DELETE FROM containers WHERE id = ?1", [id])? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_types::{ErrorKind, Kinded};

    #[test]
    fn names_are_unique() {
        let dir = tempfile::tempdir().expect("tempdir");
        let db = Database::open(&dir.path().join("db")).expect("open");
        let row =
            |id: &str, name: &str| ContainerRow { id: id.into(), name: name.into(), doc: 1, state: "s".to_owned() };
        db.containers().insert(&row("1", "a")).expect("insert");
        let error = db.containers().insert(&row("2", "a")).expect_err("conflict");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        db.containers().insert(&row("2", "b")).expect("insert");
        assert_eq!(db.containers().rename("2", "a").expect_err("conflict").kind(), ErrorKind::Conflict);
        db.containers().set_state("1", &"t").expect("state");
        let all = db.containers().all::<i32, String>().expect("all");
        assert_eq!(all.iter().map(|r| r.state.as_str()).collect::<Vec<_>>(), ["t", "s"]);
    }
}
