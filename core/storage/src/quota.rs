//! Limits of what a directory may hold.

use crate::error::{Result, StorageError};
use crate::path::Relative;

/// Limits a directory tree to so many bytes.
///
/// # Errors
/// `Unsupported`, always: this engine does not set project quotas. The plan that asked for one is undone, so that nobody
/// takes an unlimited directory for a limited one.
pub(crate) fn limit(path: &Relative, bytes: u64) -> Result<()> {
    let reason = format!("this engine does not set the project quota that {path} would need for {bytes} bytes");
    Err(StorageError::Unsupported { what: "a size limit (set-quota)", reason })
}
