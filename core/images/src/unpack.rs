//! A layer becomes a directory: decompression, verification of the diff id, and the rules of layer tars.
//!
//! Everything here is synchronous and runs on blocking threads. No path of a layer is ever handed to the kernel without
//! `openat2(RESOLVE_IN_ROOT)` below the directory that the layer is unpacked into, so neither a symlink, a hardlink, `..` nor
//! an absolute name leads out of it.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/layer.md>

mod apply;
mod archive;
mod attributes;
mod decode;
mod implicit;
mod limits;
mod sparse;
mod tree;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sheave_types::Digest;

pub(crate) use implicit::adopt_attributes;
pub use limits::Limits;

use crate::error::LayerError;

/// How the directory shows what the layer removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removals {
    /// The directory holds the parent's content too: things are deleted from it.
    Applied,
    /// The directory holds this layer alone: removals are marked as overlayfs does.
    Overlay,
}

/// What came out of a layer.
#[derive(Debug)]
pub struct Unpacked {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of the files in it.
    pub size: u64,
    /// Directories that the layer is below of but does not name; they take the attributes of the parent's.
    pub implicit: Vec<PathBuf>,
}

/// Unpacks the layer in `blob` (gzip, zstd or plain) into the directory `target`.
///
/// # Errors
/// [`LayerError::NeedsParent`] if the layer alone does not tell what to do (only with [`Removals::Overlay`]); others tell what
/// is wrong with the layer or the disk. After an error the directory holds a part and is to be thrown away.
pub fn unpack(blob: impl Read, target: &Path, removals: Removals, limits: &Limits) -> Result<Unpacked, LayerError> {
    let mut stream = decode::Decoded::new(blob, limits)?;
    let (size, implicit) = {
        let mut applier = apply::Applier::new(target, removals, limits)?;
        applier.run(&mut stream)?;
        applier.finish()?
    };
    // What follows the archive's end belongs to the digest, too.
    io::copy(&mut stream, &mut io::sink()).map_err(LayerError::Read)?;
    Ok(Unpacked { diff_id: stream.finish(), size, implicit })
}
