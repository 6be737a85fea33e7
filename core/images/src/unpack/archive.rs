//! Reading a tar: headers in all their forms, each within its limit.
//!
//! The tar crate's own iterator splits pax records at newlines, which binary extended attributes may hold, and keeps names of
//! any length in memory; its header types are used, its iterator is not.
//!
//! Formats: <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html>,
//! <https://www.gnu.org/software/tar/manual/html_node/Standard.html>

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::sparse::{PIECES, Sparse};
use crate::error::LayerError;

const BLOCK: u64 = 512;

/// One entry; its data is the archive's next bytes.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) path: PathBuf,
    pub(super) link: PathBuf,
    /// The records of its pax header.
    pub(super) pax: Records,
    /// Bytes of data in the archive.
    pub(super) size: u64,
    /// The map of GNU's old format.
    pub(super) sparse: Option<Sparse>,
}

/// A tar being read.
pub(super) struct Archive<R> {
    inner: R,
    /// Of the current entry's data.
    left: u64,
    padding: u64,
    /// Bytes that one entry's headers may have.
    headers: u64,
}

/// The records of a pax header, in their order.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// What stands before an entry and belongs to it.
#[derive(Default)]
struct Before {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Records,
}

fn broken(why: &'static str) -> LayerError {
    LayerError::Archive(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// As Go's reader, whose word on layers counts: these have no data whatever their size field says.
fn has_data(kind: EntryType) -> bool {
    !matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo
    )
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

fn number(pax: &[(Vec<u8>, Vec<u8>)], key: &str) -> Result<Option<u64>, LayerError> {
    let Some((_, value)) = pax.iter().rev().find(|(k, _)| k == key.as_bytes()) else { return Ok(None) };
    let number = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
    number.map(Some).ok_or_else(|| broken("a number in a pax header is none"))
}

impl<R: Read> Archive<R> {
    pub(super) fn new(inner: R, headers: u64) -> Self {
        Self { inner, left: 0, padding: 0, headers }
    }

    /// The next entry, or none at the end. What was not read of the last one's data is passed over.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, LayerError> {
        let mut before = Before::default();
        let mut budget = self.headers;
        loop {
            self.pass()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let size = header.entry_size().map_err(LayerError::Archive)?;
            let extension = kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions();
            if !extension {
                self.set_data(if has_data(kind) { size } else { 0 })?;
                if kind.is_pax_global_extensions() {
                    // About the archive, not about files; other tools do not apply it to layers either.
                    continue;
                }
                return self.entry(header, before).map(Some);
            }
            budget = budget.checked_sub(size).ok_or_else(|| broken("a name or an extended attribute is too long"))?;
            self.set_data(size)?;
            let bytes = self.rest()?;
            match kind {
                EntryType::GNULongName => before.path = Some(until_nul(bytes)),
                EntryType::GNULongLink => before.link = Some(until_nul(bytes)),
                _ => before.pax = records(&bytes)?,
            }
        }
    }

    /// Reads of the entry's data.
    pub(super) fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    fn entry(&mut self, mut header: Header, before: Before) -> Result<Entry, LayerError> {
        let Before { path, link, pax } = before;
        let text =
            |key: &str| pax.iter().rev().find(|(k, v)| k == key.as_bytes() && !v.is_empty()).map(|(_, v)| v.clone());
        let path = text("path").or(path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = text("linkpath").or(link).or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
        if let Some(size) = number(&pax, "size")?.filter(|_| has_data(header.entry_type())) {
            self.set_data(size)?;
        }
        if let Some(uid) = number(&pax, "uid")? {
            header.set_uid(uid);
        }
        if let Some(gid) = number(&pax, "gid")? {
            header.set_gid(gid);
        }
        let size = self.left;
        let sparse = if header.entry_type().is_gnu_sparse() { Some(self.old_sparse(&header)?) } else { None };
        let (path, link) = (path_of(path), path_of(link.unwrap_or_default()));
        Ok(Entry { header, path, link, pax, size, sparse })
    }

    /// The map of GNU's old format: four pieces in the header, more in blocks that follow it.
    fn old_sparse(&mut self, header: &Header) -> Result<Sparse, LayerError> {
        let gnu = header.as_gnu().ok_or_else(|| broken("a map of holes without GNU's header"))?;
        let mut pieces = Vec::new();
        let mut add = |blocks: &[GnuSparseHeader]| -> Result<(), LayerError> {
            for block in blocks.iter().filter(|b| !b.is_empty()) {
                let offset = block.offset().map_err(LayerError::Archive)?;
                pieces.push((offset, block.length().map_err(LayerError::Archive)?));
            }
            if pieces.len() as u64 > PIECES { Err(broken("a map of holes has too many pieces")) } else { Ok(()) }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.inner.read_exact(block.as_mut_bytes()).map_err(LayerError::Read)?;
            add(block.sparse())?;
            more = block.is_extended();
        }
        Ok(Sparse::of(gnu.real_size().map_err(LayerError::Archive)?, pieces))
    }

    fn set_data(&mut self, size: u64) -> Result<(), LayerError> {
        let whole = size.checked_next_multiple_of(BLOCK).ok_or_else(|| broken("a size is too great"))?;
        (self.left, self.padding) = (size, whole - size);
        Ok(())
    }

    /// Passes over what is left of the current entry.
    fn pass(&mut self) -> Result<(), LayerError> {
        let (left, rest) = (self.left, self.left.saturating_add(self.padding));
        let passed = io::copy(&mut self.inner.by_ref().take(rest), &mut io::sink()).map_err(LayerError::Read)?;
        (self.left, self.padding) = (0, 0);
        // The last entry may lack its padding, as in archives that umoci inserts.
        if passed < left { Err(LayerError::Read(io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
    }

    fn rest(&mut self) -> Result<Vec<u8>, LayerError> {
        let mut bytes = Vec::new();
        self.data().read_to_end(&mut bytes).map_err(LayerError::Read)?;
        Ok(bytes)
    }

    /// The next block as a header; none at the archive's end.
    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..]) {
                // An archive may lack its closing blocks.
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(LayerError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(LayerError::Read(e)),
            }
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum = |bytes: &[u8]| bytes.iter().map(|b| u32::from(*b)).sum::<u32>();
        let found = sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..]);
        match header.cksum() {
            Ok(stated) if stated == found => Ok(Some(header)),
            _ => Err(broken("a header's checksum is wrong")),
        }
    }
}

/// The data of the current entry.
pub(super) struct Data<'a, R>(&'a mut Archive<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.0.inner.read(&mut buf[..most])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.left -= n as u64;
        Ok(n)
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// `length key=value\n`, where the length counts all of it.
fn records(mut bytes: &[u8]) -> Result<Records, LayerError> {
    let malformed = || broken("a pax header cannot be read");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|b| *b == b' ').ok_or_else(malformed)?;
        let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|l| l.parse::<usize>().ok());
        let length = length.filter(|l| *l > space + 2 && *l <= bytes.len()).ok_or_else(malformed)?;
        let record = bytes[space + 1..length].strip_suffix(b"\n").ok_or_else(malformed)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(malformed)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_entry_may_lack_its_padding_but_no_data() {
        let mut header = Header::new_ustar();
        header.set_path("file").expect("short");
        header.set_size(4);
        header.set_cksum();
        let whole = [header.as_bytes(), &b"data"[..]].concat();
        let count = |bytes: &[u8]| {
            let mut archive = Archive::new(bytes, 1 << 20);
            archive.next()?.expect("an entry");
            archive.next().map(|entry| entry.is_none())
        };
        assert!(count(&whole).expect("whole"));
        assert!(count(&whole[..whole.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn reads_pax_records_of_any_bytes(
            pairs in proptest::collection::vec(("[a-zA-Z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..60)), 0..6),
        ) {
            let mut bytes = Vec::new();
            for (key, value) in &pairs {
                let rest = key.len() + value.len() + 3;
                let length = (1..8).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l).expect("length");
                bytes.extend_from_slice(format!("{length} {key}=").as_bytes());
                bytes.extend_from_slice(value);
                bytes.push(b'\n');
            }
            let found = records(&bytes).expect("well-formed");
            let expected: Vec<_> = pairs.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000), digits in "[0-9]{1,3} [a=\\n]{0,40}") {
            let _ = records(&bytes);
            let _ = records(digits.as_bytes());
            let mut archive = Archive::new(&bytes[..], 1 << 20);
            while let Ok(Some(_)) = archive.next() {}
        }
    }
}
