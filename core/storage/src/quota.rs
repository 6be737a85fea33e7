//! Limits of what a directory may hold, by project quota.

use std::os::fd::AsFd;

use crate::error::{Result, StorageError};

/// Limits a directory tree to so many bytes.
///
/// # Errors
/// `Unsupported` where the file system has no project quota.
pub(crate) fn limit(_dir: impl AsFd, _bytes: u64) -> Result<()> {
    let reason = "the file system of the data directory has no project quota".to_owned();
    Err(StorageError::Unsupported { what: "a size limit (set-quota)", reason })
}
