//! From the blob's bytes to the tar's: decompression by what the bytes say, the diff id, and the ratio limit.

use std::cell::Cell;
use std::io::{self, BufReader, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use sheave_types::{Digest, Hasher};

use super::Limits;
use crate::error::LayerError;

/// Bytes read at once from the blob and from the decoder.
const CHUNK: usize = 128 << 10;

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

/// Hashes what passes, and stops what grows out of proportion.
struct Hashed<'a> {
    inner: Box<dyn Read + 'a>,
    hasher: Hasher,
    compressed: Rc<Cell<u64>>,
    produced: u64,
    ratio: u64,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.produced += n as u64;
        let most = self.compressed.get().saturating_mul(self.ratio).max(Limits::FREE_OF_RATIO);
        if self.produced > most {
            return Err(io::Error::other("it decompresses to more than 1000 times its size: a decompression bomb"));
        }
        Ok(n)
    }
}

/// The uncompressed tar.
pub(super) struct Decoded<'a>(BufReader<Hashed<'a>>);

impl<'a> Decoded<'a> {
    /// Looks at the first bytes; the media type is not believed.
    pub(super) fn new(blob: impl Read + 'a, limits: &Limits) -> Result<Self, LayerError> {
        let compressed = Rc::new(Cell::new(0));
        let mut blob = Counted { inner: blob, count: Rc::clone(&compressed) };
        let mut magic = Vec::with_capacity(6);
        blob.by_ref().take(6).read_to_end(&mut magic).map_err(LayerError::Read)?;
        let format = Format::of(&magic)?;
        let whole = BufReader::with_capacity(CHUNK, Cursor::new(magic).chain(blob));
        let inner: Box<dyn Read + 'a> = match format {
            Format::Plain => Box::new(whole),
            Format::Gzip => Box::new(MultiGzDecoder::new(whole)),
            Format::Zstd => Box::new(zstd::Decoder::with_buffer(whole).map_err(LayerError::Read)?),
        };
        let hashed = Hashed { inner, hasher: Hasher::default(), compressed, produced: 0, ratio: limits.ratio };
        Ok(Self(BufReader::with_capacity(CHUNK, hashed)))
    }

    /// The digest of everything read; to be called at the end.
    pub(super) fn finish(self) -> Digest {
        self.0.into_inner().hasher.finish()
    }
}

impl Read for Decoded<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Format {
    Plain,
    Gzip,
    Zstd,
}

impl Format {
    fn of(magic: &[u8]) -> Result<Self, LayerError> {
        match magic {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err(LayerError::Compression("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(LayerError::Compression("xz")),
            _ => Ok(Self::Plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(blob: &[u8]) -> io::Result<(Vec<u8>, Digest)> {
        let mut decoded = Decoded::new(blob, &Limits::default()).map_err(io::Error::other)?;
        let mut all = Vec::new();
        decoded.read_to_end(&mut all)?;
        Ok((all, decoded.finish()))
    }

    #[test]
    fn decodes_by_the_bytes() {
        let text = b"some text ".repeat(5000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text[..20_000]).expect("gzip");
        let mut two_members = gzip.finish().expect("gzip");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text[20_000..]).expect("gzip");
        two_members.extend(gzip.finish().expect("gzip"));
        let zstd = zstd::encode_all(&text[..], 1).expect("zstd");
        for blob in [text.clone(), two_members.clone(), zstd] {
            let (all, digest) = read(&blob).expect("decodes");
            assert!(all == text);
            assert_eq!(digest, Digest::of(&text));
        }
        assert!(read(&two_members[..two_members.len() - 9]).is_err(), "truncated");
        assert!(read(b"BZh91AY").is_err());
        assert_eq!(read(b"").expect("empty").0, b"");
    }

    #[test]
    fn stops_a_bomb() {
        let zeros = io::repeat(0).take(Limits::FREE_OF_RATIO + (64 << 20));
        let bomb = zstd::encode_all(zeros, 1).expect("zstd");
        let mut decoded = Decoded::new(&bomb[..], &Limits::default()).expect("starts");
        let error = io::copy(&mut decoded, &mut io::sink()).expect_err("a bomb").to_string();
        assert!(error.contains("bomb"), "{error}");
    }
}
