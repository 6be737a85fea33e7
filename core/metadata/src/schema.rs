//! The schema and its migrations.

use rusqlite::Connection;

use crate::MetadataError;

/// One entry a version; never edited once released, only followed by another.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE images (id TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE image_references (name TEXT PRIMARY KEY, image TEXT NOT NULL, target TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX image_references_image ON image_references (image);
    CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, media_type TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE chains (chain TEXT NOT NULL, driver TEXT NOT NULL, snapshot TEXT NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (chain, driver)) WITHOUT ROWID;
    CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, doc TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, doc TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE endpoints (id TEXT PRIMARY KEY, network TEXT NOT NULL, container TEXT NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX endpoints_network ON endpoints (network);
    CREATE INDEX endpoints_container ON endpoints (container);
    CREATE TABLE leases (network TEXT NOT NULL, address TEXT NOT NULL, endpoint TEXT NOT NULL,
        PRIMARY KEY (network, address)) WITHOUT ROWID;
    CREATE INDEX leases_endpoint ON leases (endpoint);
    CREATE TABLE ports (protocol TEXT NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL, owner TEXT NOT NULL,
        PRIMARY KEY (protocol, address, port)) WITHOUT ROWID;
    CREATE INDEX ports_owner ON ports (owner);
    CREATE TABLE volumes (name TEXT PRIMARY KEY, driver TEXT NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE volume_users (volume TEXT NOT NULL, container TEXT NOT NULL, mounted INTEGER NOT NULL,
        PRIMARY KEY (volume, container)) WITHOUT ROWID;
    CREATE INDEX volume_users_container ON volume_users (container);
    CREATE TABLE plugin_state (plugin TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (plugin, key)) WITHOUT ROWID;
    CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, doc TEXT NOT NULL);
    CREATE INDEX journal_owner ON journal (owner);
"];

pub(crate) fn migrate(connection: &mut Connection) -> Result<(), MetadataError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(MetadataError::Newer { found, known });
    }
    let transaction = connection.transaction()?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}
