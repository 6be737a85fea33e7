//! Files with holes: GNU's old form, and 0.1 and 1.0 of pax.
//!
//! Format: <https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html>

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::LayerError;

/// A file with holes: its size, and where the data goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) size: u64,
    /// Offset and length of each piece; none: the map stands before the data (1.0).
    map: Option<Vec<(u64, u64)>>,
}

/// Collects the pax keys of one entry.
#[derive(Default)]
pub(super) struct Builder {
    major: Option<u64>,
    size: Option<u64>,
    name: Option<PathBuf>,
    map: Option<Vec<(u64, u64)>>,
    unusable: bool,
}

/// More pieces than this are no honest file.
pub(super) const PIECES: u64 = 1 << 20;

impl Builder {
    pub(super) fn extend(&mut self, key: &[u8], value: &[u8]) {
        let number = || std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
        match key {
            b"GNU.sparse.major" => self.major = number(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.size = number(),
            b"GNU.sparse.name" => self.name = Some(PathBuf::from(OsStr::from_bytes(value))),
            b"GNU.sparse.map" => {
                self.map = parse_map(value);
                self.unusable |= self.map.is_none();
            }
            // The 0.0 form repeats keys, which pax forbids; GNU tar gave it up in 2006.
            b"GNU.sparse.offset" => self.unusable = true,
            _ => {}
        }
    }

    /// The real name and the map, if this is such a file.
    pub(super) fn finish(self, path: &Path) -> Result<(Option<PathBuf>, Option<Sparse>), LayerError> {
        let is_one = self.major == Some(1);
        if self.unusable || ((is_one || self.map.is_some()) && self.size.is_none()) {
            return Err(LayerError::Entry(path.to_owned(), "its map of holes cannot be read"));
        }
        let sparse = match self.size {
            Some(size) if is_one || self.map.is_some() => Some(Sparse { size, map: self.map.filter(|_| !is_one) }),
            _ => None,
        };
        Ok((self.name, sparse))
    }
}

fn parse_map(value: &[u8]) -> Option<Vec<(u64, u64)>> {
    let numbers: Option<Vec<u64>> = std::str::from_utf8(value).ok()?.split(',').map(|n| n.parse().ok()).collect();
    let numbers = numbers?;
    (numbers.len() % 2 == 0).then(|| numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect())
}

impl Sparse {
    /// A file whose map is known.
    pub(super) fn of(size: u64, map: Vec<(u64, u64)>) -> Self {
        Self { size, map: Some(map) }
    }

    /// The pieces; `data` is then at the first one's bytes.
    pub(super) fn pieces(self, data: &mut impl Read) -> io::Result<Vec<(u64, u64)>> {
        let pieces = match self.map {
            Some(map) => map,
            None => read_map(data)?,
        };
        let mut end = 0;
        for (offset, length) in &pieces {
            let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= self.size);
            end = next.ok_or_else(|| io::Error::other("a map of holes is out of order"))?;
        }
        Ok(pieces)
    }
}

/// Decimal numbers, one a line: how many pieces, then offset and length of each; filled up to whole blocks of 512 bytes.
fn read_map(data: &mut impl Read) -> io::Result<Vec<(u64, u64)>> {
    let mut block = [0; 512];
    let mut position = block.len();
    let mut number = || -> io::Result<u64> {
        let mut value: u64 = 0;
        loop {
            if position == block.len() {
                data.read_exact(&mut block)?;
                position = 0;
            }
            let byte = block[position];
            position += 1;
            match byte {
                b'\n' => return Ok(value),
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let next = value.checked_mul(10).and_then(|v| v.checked_add(digit));
                    value = next.ok_or_else(|| io::Error::other("a map of holes has too great a number"))?;
                }
                _ => return Err(io::Error::other("a map of holes is not made of numbers")),
            }
        }
    };
    let count = number()?;
    if count > PIECES {
        return Err(io::Error::other("a map of holes has too many pieces"));
    }
    (0..count).map(|_| Ok((number()?, number()?))).collect()
}
