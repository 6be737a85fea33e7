//! Writing one blob: a thread that hashes and writes what an async download hands it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sheave_types::{Digest, Hasher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{ContentStore, Tail, io_at, sync_directory};
use crate::error::ContentError;

/// Chunks that may wait for the disk.
const WAITING: usize = 64;

/// A blob being written. Dropped before [`BlobWriter::finish`], what was written stays for the next try.
pub(crate) struct BlobWriter {
    chunks: mpsc::Sender<Bytes>,
    done: JoinHandle<Result<(), ContentError>>,
    path: PathBuf,
    /// Bytes that were there already, from an earlier try.
    resumed: u64,
}

impl BlobWriter {
    /// Begins or resumes a blob. There must be one writer a digest at a time.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) async fn begin(
        store: &ContentStore,
        digest: Digest,
        size: u64,
        tail: Arc<Tail>,
    ) -> Result<Self, ContentError> {
        let path = store.ingest_path(&digest);
        let target = store.path(&digest);
        let opened = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || Ingest::open(path, target, digest, size, tail))
        };
        let ingest = opened.await.map_err(|_| ContentError::Stopped(digest))??;
        let resumed = ingest.written;
        let (chunks, mut receiver) = mpsc::channel::<Bytes>(WAITING);
        let done = tokio::task::spawn_blocking(move || {
            let mut ingest = ingest;
            while let Some(chunk) = receiver.blocking_recv() {
                if chunk.is_empty() {
                    return ingest.finish();
                }
                ingest.write(&chunk)?;
            }
            // Given up: even a whole blob is published only when somebody still wants it.
            Err(ContentError::Stopped(digest))
        });
        Ok(Self { chunks, done, path, resumed })
    }

    /// Where the next byte goes, when nothing was written through this writer yet.
    pub(crate) fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Opens what is written so far.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn reader(&self) -> Result<Arc<File>, ContentError> {
        File::open(&self.path).map(Arc::new).map_err(io_at(&self.path))
    }

    /// Writes on; false if the writer has given up, which [`BlobWriter::finish`] explains.
    pub(crate) async fn write(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Verifies and publishes the blob.
    ///
    /// # Errors
    /// `Digest` and `Size` if it is not what it should be, and then nothing of it is kept; those of the file system.
    pub(crate) async fn finish(self) -> Result<(), ContentError> {
        let Self { chunks, done, .. } = self;
        // An empty chunk is the end; a writer that has failed does not take it.
        let _ = chunks.send(Bytes::new()).await;
        done.await.unwrap_or_else(|e| Err(ContentError::Io { path: "writer".into(), source: io::Error::other(e) }))
    }
}

struct Ingest {
    file: File,
    path: PathBuf,
    target: PathBuf,
    hasher: Hasher,
    digest: Digest,
    size: u64,
    written: u64,
    tail: Arc<Tail>,
}

impl Ingest {
    fn open(path: PathBuf, target: PathBuf, digest: Digest, size: u64, tail: Arc<Tail>) -> Result<Self, ContentError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(io_at(&path))?;
        let mut this = Self { file, path, target, hasher: Hasher::default(), digest, size, written: 0, tail };
        this.take_part_over()?;
        Ok(this)
    }

    /// Hashes what an earlier try left; more than the whole is no part of it.
    fn take_part_over(&mut self) -> Result<(), ContentError> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = self.file.read(&mut buffer).map_err(io_at(&self.path))?;
            if n == 0 {
                break;
            }
            self.hasher.update(&buffer[..n]);
            self.written += n as u64;
        }
        if self.written > self.size {
            self.file.set_len(0).map_err(io_at(&self.path))?;
            io::Seek::rewind(&mut self.file).map_err(io_at(&self.path))?;
            self.hasher = Hasher::default();
            self.written = 0;
        }
        self.tail.advance(self.written);
        Ok(())
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), ContentError> {
        let total = self.written + chunk.len() as u64;
        if total > self.size {
            self.discard();
            return Err(ContentError::Size { digest: self.digest, expected: self.size, found: total });
        }
        self.hasher.update(chunk);
        if let Err(source) = self.file.write_all(chunk) {
            // A full disk: the part would only keep it full.
            self.discard();
            return Err(ContentError::Io { path: self.path.clone(), source });
        }
        self.written = total;
        self.tail.advance(chunk.len() as u64);
        Ok(())
    }

    fn finish(self) -> Result<(), ContentError> {
        if self.written < self.size {
            self.tail.fail();
            return Err(ContentError::Size { digest: self.digest, expected: self.size, found: self.written });
        }
        let found = self.hasher.clone().finish();
        if found != self.digest {
            self.discard();
            return Err(ContentError::Digest { expected: self.digest, found });
        }
        self.file.sync_all().map_err(io_at(&self.path))?;
        if self.tail.has_failed() {
            // Given up meanwhile; it waits for the next pull.
            return Err(ContentError::Stopped(self.digest));
        }
        fs::rename(&self.path, &self.target).map_err(io_at(&self.target))?;
        for path in [&self.target, &self.path] {
            path.parent().map_or(Ok(()), sync_directory)?;
        }
        self.tail.complete();
        Ok(())
    }

    fn discard(&self) {
        self.tail.fail();
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Ingest {
    /// Readers must not wait for ever, whatever ended the writer.
    fn drop(&mut self) {
        self.tail.fail();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::TailReader;

    const TEXT: &[u8] = b"0123456789";

    async fn begin(store: &ContentStore, size: u64) -> BlobWriter {
        BlobWriter::begin(store, Digest::of(TEXT), size, Tail::new()).await.expect("begin")
    }

    #[tokio::test]
    async fn resumes_where_it_broke_off() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = ContentStore::open(dir.path()).expect("open");
        let writer = begin(&store, 10).await;
        assert!(writer.write(Bytes::from_static(&TEXT[..4])).await);
        assert!(matches!(writer.finish().await, Err(ContentError::Size { found: 4, .. })));
        let writer = begin(&store, 10).await;
        assert_eq!(writer.resumed(), 4);
        assert!(writer.write(Bytes::from_static(&TEXT[4..])).await);
        writer.finish().await.expect("whole");
        assert_eq!(store.read(&Digest::of(TEXT), 100).expect("read"), TEXT);
        assert_eq!(fs::read_dir(dir.path().join("ingest")).expect("ingest").count(), 0);
    }

    #[tokio::test]
    async fn keeps_nothing_of_a_lie() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = ContentStore::open(dir.path()).expect("open");
        let writer = begin(&store, 10).await;
        assert!(writer.write(Bytes::from_static(b"0123456780")).await);
        assert!(matches!(writer.finish().await, Err(ContentError::Digest { .. })));
        let writer = begin(&store, 4).await;
        writer.write(Bytes::from_static(TEXT)).await;
        assert!(matches!(writer.finish().await, Err(ContentError::Size { found: 10, .. })));
        assert_eq!(fs::read_dir(dir.path().join("ingest")).expect("ingest").count(), 0);
        assert_eq!(store.size(&Digest::of(TEXT)), None);
    }

    #[tokio::test]
    async fn is_read_while_it_is_written() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = ContentStore::open(dir.path()).expect("open");
        let tail = Tail::new();
        let writer = BlobWriter::begin(&store, Digest::of(TEXT), 10, Arc::clone(&tail)).await.expect("begin");
        let mut reader = TailReader::new(writer.reader().expect("reader"), tail, Arc::default());
        let reading = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        for piece in TEXT.chunks(3) {
            assert!(writer.write(Bytes::from_static(piece)).await);
            tokio::task::yield_now().await;
        }
        writer.finish().await.expect("whole");
        assert_eq!(reading.await.expect("thread").expect("read"), TEXT);
        let tail = Tail::new();
        let writer = BlobWriter::begin(&store, Digest::of(b"x"), 1, Arc::clone(&tail)).await.expect("begin");
        let mut reader = TailReader::new(writer.reader().expect("reader"), tail, Arc::default());
        drop(writer);
        let failed = tokio::task::spawn_blocking(move || reader.read(&mut [0])).await.expect("thread");
        assert!(failed.is_err());
    }
}
