//! How much a layer may unpack to.

use std::fs::File;

use crate::error::LayerError;

/// Limits of one layer. The default refuses only what no honest layer does.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the uncompressed tar by those of the blob, once the tar is over [`Limits::FREE_OF_RATIO`].
    pub ratio: u64,
    /// Bytes of headers between two files' data: names, extended attributes.
    pub headers: u64,
    /// Apparent bytes of files with holes.
    pub sparse: u64,
    /// Bytes that stay free on the target's file system.
    pub reserve: u64,
}

impl Limits {
    /// Tars up to this many bytes may be compressed as much as they like.
    pub const FREE_OF_RATIO: u64 = 256 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        // Deflate cannot go beyond 1032:1, so a honest gzip layer of zeros passes.
        Self { entries: 5_000_000, ratio: 1100, headers: 4 << 20, sparse: 100 << 30, reserve: 64 << 20 }
    }
}

/// Watches the space of the target's file system while a layer is written.
pub(super) struct Space {
    directory: File,
    reserve: u64,
    /// May be written before the file system is asked again.
    allowance: u64,
}

/// Asked anew after so many bytes at the latest, since others write too.
const STEP: u64 = 64 << 20;

impl Space {
    pub(super) fn new(directory: File, limits: &Limits) -> Self {
        Self { directory, reserve: limits.reserve, allowance: 0 }
    }

    /// Called before `bytes` are written.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), LayerError> {
        if bytes > self.allowance {
            let status = nix::sys::statvfs::fstatvfs(&self.directory)
                .map_err(|e| LayerError::Write { path: "statvfs".into(), source: e.into() })?;
            let free = status.blocks_available().saturating_mul(status.fragment_size());
            if free < self.reserve.saturating_add(bytes) {
                return Err(LayerError::NoSpace { free });
            }
            self.allowance = (free - self.reserve).min(STEP.max(bytes));
        }
        self.allowance -= bytes;
        Ok(())
    }
}
