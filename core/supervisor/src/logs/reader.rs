//! Reads forwards through a log and its successors, in batches.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};

use super::entry::Entry;
use super::{Query, Tail, files};

/// Bytes read at once, and about the size of a batch.
const BLOCK: usize = 64 * 1024;
/// A line longer than this is no line of ours; the rest of it is skipped like a torn one.
const LONGEST: usize = 1024 * 1024;

/// A place in a log.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    query: Query,
    file: Option<File>,
    offset: u64,
    /// A line whose end is not there yet.
    rest: Vec<u8>,
}

impl Reader {
    /// Goes to where the query begins.
    pub fn open(path: PathBuf, query: Query) -> io::Result<Self> {
        let position = match query.tail {
            Tail::All => files::oldest(&path)?,
            Tail::Last(count) => files::last_lines(&path, count)?,
        };
        Ok(Self { path, query, file: position.file, offset: position.offset, rest: Vec::new() })
    }

    /// What can be read now, formatted; empty at the end so far, `None` once nothing more can match.
    pub fn batch(&mut self) -> io::Result<Option<Bytes>> {
        let mut out = BytesMut::new();
        while out.len() < BLOCK {
            if self.file.is_none() {
                self.file = files::open(&self.path)?;
            }
            let Some(file) = &self.file else { break };
            let mut block = vec![0; BLOCK];
            let read = file.read_at(&mut block, self.offset)?;
            if read == 0 {
                if self.advance()? {
                    continue;
                }
                break;
            }
            self.offset += read as u64;
            if !self.take(&block[..read], &mut out) {
                return Ok((!out.is_empty()).then(|| out.freeze()));
            }
        }
        Ok(Some(out.freeze()))
    }

    /// At the end of the file: whether there is more in a successor, or in the same file since it was truncated.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let size = file.metadata()?.len();
        if size < self.offset {
            (self.offset, self.rest) = (0, Vec::new());
            return Ok(size > 0);
        }
        let Some(next) = files::successor(&self.path, file)? else { return Ok(false) };
        // It may have grown between the end that we saw and its rotation.
        if file.metadata()?.len() > self.offset {
            return Ok(true);
        }
        (self.file, self.offset, self.rest) = (Some(next), 0, Vec::new());
        Ok(true)
    }

    /// Formats the lines that are complete with `block`; false once the upper time bound is passed.
    fn take(&mut self, block: &[u8], out: &mut BytesMut) -> bool {
        let mut lines = block.split_inclusive(|b| *b == b'\n');
        for piece in &mut lines {
            let Some(end) = piece.strip_suffix(b"\n") else {
                self.rest.extend_from_slice(&piece[..piece.len().min(LONGEST.saturating_sub(self.rest.len()))]);
                return true;
            };
            let going_on = if self.rest.is_empty() {
                self.write(end, out)
            } else {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(end);
                self.write(&line, out)
            };
            if !going_on {
                return false;
            }
        }
        true
    }

    fn write(&self, line: &[u8], out: &mut BytesMut) -> bool {
        let Some(entry) = Entry::read(line) else { return true };
        if self.query.until.is_some_and(|until| entry.time() > until) {
            return false;
        }
        if self.query.since.is_none_or(|since| entry.time() >= since) {
            entry.write(&self.query, out);
        }
        true
    }
}
