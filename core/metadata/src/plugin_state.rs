//! Table `plugin_state`: the durable key-value state of plugins.

use rusqlite::OptionalExtension;

use crate::{Database, Result};

/// One write of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The key.
    pub key: String,
    /// The new value; none removes the key.
    pub value: Option<String>,
}

/// Table `plugin_state`.
pub struct PluginState<'a>(pub(crate) &'a Database);

impl PluginState<'_> {
    /// A value.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn get(&self, plugin: &str, key: &str) -> Result<Option<String>> {
        let connection = self.0.fast();
        let mut statement =
            connection.prepare_cached("SELECT value FROM plugin_state WHERE plugin = ?1 AND key = ?2")?;
        Ok(statement.query_row([plugin, key], |r| r.get(0)).optional()?)
    }

    /// The keys that start with `prefix`, sorted.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn list(&self, plugin: &str, prefix: &str) -> Result<Vec<String>> {
        let connection = self.0.fast();
        let mut statement = connection.prepare_cached(
            "SELECT key FROM plugin_state WHERE plugin = ?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2 ORDER BY key",
        )?;
        let rows = statement.query_map([plugin, prefix], |r| r.get(0))?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// Applies all writes of one call in one transaction.
    ///
    /// # Errors
    /// Those of the engine; then none is applied.
    pub fn apply(&self, plugin: &str, writes: &[StateWrite]) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut connection = self.0.fast();
        let transaction = connection.transaction()?;
        for write in writes {
            match &write.value {
                Some(value) => transaction
                    .prepare_cached("INSERT OR REPLACE INTO plugin_state (plugin, key, value) VALUES (?1, ?2, ?3)")?
                    .execute([plugin, &write.key, value])?,
                None => transaction
                    .prepare_cached("DELETE FROM plugin_state WHERE plugin = ?1 AND key = ?2")?
                    .execute([plugin, &write.key])?,
            };
        }
        transaction.commit()?;
        Ok(())
    }

    /// Makes everything written so far durable, before something durable refers to it.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn sync(&self) -> Result<()> {
        // A commit with synchronous=FULL syncs the log, and with it all commits before.
        self.0
            .durable()
            .execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('synced', hex(randomblob(8)))", [])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_by_prefix() {
        let dir = tempfile::tempdir().expect("tempdir");
        let db = Database::open(&dir.path().join("db")).expect("open");
        let write = |key: &str, value: Option<&str>| StateWrite { key: key.into(), value: value.map(Into::into) };
        db.plugin_state()
            .apply(
                "p",
                &[write("a/1", Some("x")), write("a/2", Some("y")), write("a%", Some("z")), write("b", Some("w"))],
            )
            .expect("apply");
        assert_eq!(db.plugin_state().list("p", "a/").expect("list"), ["a/1", "a/2"]);
        assert!(db.plugin_state().list("q", "").expect("list").is_empty());
        db.plugin_state().apply("p", &[write("a/1", None)]).expect("apply");
        assert_eq!(db.plugin_state().get("p", "a/1").expect("get"), None);
        assert_eq!(db.plugin_state().get("p", "a/2").expect("get").as_deref(), Some("y"));
        db.plugin_state().sync().expect("sync");
    }
}
