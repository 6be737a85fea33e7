//! Errors of the database.

use sheave_types::{ErrorKind, Kinded};

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The database engine's own error.
    #[error("database: {0}")]
    Engine(#[from] rusqlite::Error),
    /// A stored document does not have the shape that its reader expects.
    #[error("database: {table} {key}: {source}")]
    Document {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file was written by a newer engine.
    #[error("database: schema version {found} is newer than this engine's {known}; use the newer engine")]
    Newer {
        /// The version in the file.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
}

impl Kinded for MetadataError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(rusqlite::Error::SqliteFailure(e, _))
                if e.code == rusqlite::ErrorCode::ConstraintViolation =>
            {
                ErrorKind::Conflict
            }
            Self::Engine(rusqlite::Error::SqliteFailure(e, _)) if e.code == rusqlite::ErrorCode::DiskFull => {
                ErrorKind::Unavailable
            }
            Self::Engine(_) | Self::Document { .. } | Self::Newer { .. } => ErrorKind::Internal,
        }
    }
}
