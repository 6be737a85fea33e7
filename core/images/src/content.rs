//! The content store: a valid OCI image layout that other tools can read.
//!
//! A blob is written to `ingest/<digest>`, verified while it streams, fsynced, renamed into `blobs/sha256/`, the directory is
//! fsynced, and only then may it be referred to. What was written of a blob when a download broke off stays for the next try.
//!
//! Specification: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

mod index;
mod lease;
mod tail;
mod writer;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use sheave_types::{Digest, Id};

pub(crate) use index::IndexEntry;
pub(crate) use lease::Lease;
pub(crate) use tail::{Tail, TailReader};
pub(crate) use writer::BlobWriter;

use crate::error::ContentError;

/// A part of a blob that nobody has continued for this long is thrown away at start-up.
const STALE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Blobs of fewer bytes are rather fetched again than kept.
const SMALL: u64 = 64 << 10;

/// The store; a cheap handle.
#[derive(Clone)]
pub struct ContentStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    leases: Mutex<lease::Leases>,
    index: Mutex<()>,
}

impl ContentStore {
    /// Opens the store below `root` and makes it if it is missing.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(root: &Path) -> Result<Self, ContentError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ContentError::Io { path, source }
        };
        for directory in [root.join("blobs/sha256"), root.join("ingest")] {
            fs::create_dir_all(&directory).map_err(at(&directory))?;
        }
        let marker = root.join("oci-layout");
        if !marker.exists() {
            replace(&root.join(".oci-layout.tmp"), &marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        let this = Self(Arc::new(Inner { root: root.to_owned(), leases: Mutex::default(), index: Mutex::new(()) }));
        this.drop_stale_parts();
        if !root.join("index.json").exists() {
            this.write_index(&[])?;
        }
        Ok(this)
    }

    fn drop_stale_parts(&self) {
        let Ok(parts) = fs::read_dir(self.0.root.join("ingest")) else { return };
        let now = SystemTime::now();
        for part in parts.flatten() {
            let modified = part.metadata().and_then(|m| m.modified()).ok();
            let age = modified.and_then(|m| now.duration_since(m).ok());
            if age.is_some_and(|age| age > STALE) {
                let _ = fs::remove_file(part.path());
            }
        }
    }

    /// Where a blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("blobs/sha256").join(digest.hex())
    }

    fn ingest_path(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("ingest").join(digest.hex())
    }

    /// The size of a blob that is complete here.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|m| m.len())
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// `Missing`, and those of the file system.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, ContentError> {
        let path = self.path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ContentError::Missing(*digest),
            _ => ContentError::Io { path, source },
        })
    }

    /// Reads a small blob whole and verifies it again.
    ///
    /// # Errors
    /// `Missing`, `TooLarge`, `Digest`, and those of the file system.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ContentError> {
        let mut bytes = Vec::new();
        let path = self.path(digest);
        let file = self.open_blob(digest)?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| ContentError::Io { path, source })?;
        if bytes.len() as u64 > limit {
            return Err(ContentError::TooLarge { digest: *digest, limit });
        }
        let found = Digest::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(ContentError::Digest { expected: *digest, found }) }
    }

    /// Writes a small blob whole.
    ///
    /// # Errors
    /// `Digest` if `bytes` are another blob; those of the file system.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ContentError> {
        let found = Digest::of(bytes);
        if found != *digest {
            return Err(ContentError::Digest { expected: *digest, found });
        }
        if self.size(digest).is_some() {
            return Ok(());
        }
        // Two may write the same blob at once.
        let temporary = self.0.root.join("ingest").join(format!("{}.{}", digest.hex(), Id::random().short()));
        replace(&temporary, &self.path(digest), bytes)
    }

    /// Removes every blob that is neither in `keep` nor leased; how many bytes that gave back.
    ///
    /// `keep` is called while no lease can be dropped, so that a pull either still leases its blobs or has recorded them.
    ///
    /// # Errors
    /// Those of `keep`.
    pub fn collect<E>(
        &self,
        keep: impl FnOnce() -> Result<std::collections::HashSet<Digest>, E>,
    ) -> Result<(u64, Vec<Digest>), E> {
        let (mut freed, mut removed) = (0, Vec::new());
        self.each_unneeded(keep, |digest, path| {
            let size = fs::metadata(path).map(|m| m.len()).unwrap_or(0);
            if fs::remove_file(path).is_ok() {
                freed += size;
                removed.extend(digest.copied());
            }
        })?;
        Ok((freed, removed))
    }
}

impl ContentStore {
    /// Takes every blob that is neither in `keep` nor leased out of the layout: it waits among the parts of downloads for a
    /// pull that wants it, or for the day when such parts are thrown away.
    ///
    /// # Errors
    /// Those of `keep`.
    pub fn retire<E>(&self, keep: impl FnOnce() -> Result<std::collections::HashSet<Digest>, E>) -> Result<(), E> {
        self.each_unneeded(keep, |digest, path| {
            let is_small = fs::metadata(path).is_ok_and(|m| m.len() < SMALL);
            let _ = match digest {
                Some(digest) if !is_small => fs::rename(path, self.ingest_path(digest)),
                _ => fs::remove_file(path),
            };
        })
    }

    /// Calls `f` with every file of the layout that nothing needs, while no lease begins or ends.
    fn each_unneeded<E>(
        &self,
        keep: impl FnOnce() -> Result<std::collections::HashSet<Digest>, E>,
        mut f: impl FnMut(Option<&Digest>, &Path),
    ) -> Result<(), E> {
        let leases = self.0.leases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let keep = keep()?;
        let Ok(blobs) = fs::read_dir(self.0.root.join("blobs/sha256")) else { return Ok(()) };
        for blob in blobs.flatten() {
            let digest = format!("sha256:{}", blob.file_name().to_string_lossy()).parse::<Digest>().ok();
            if !digest.is_some_and(|d| keep.contains(&d) || leases.holds(&d)) {
                f(digest.as_ref(), &blob.path());
            }
        }
        Ok(())
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ContentError {
    let path = path.to_owned();
    move |source| ContentError::Io { path, source }
}

/// Makes the entries of a directory durable.
fn sync_directory(directory: &Path) -> Result<(), ContentError> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(io_at(directory))
}

/// Writes a file so that at any time the old or the new one is there, whole.
fn replace(temporary: &Path, target: &Path, bytes: &[u8]) -> Result<(), ContentError> {
    let written = File::create(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(io_at(temporary))?;
    fs::rename(temporary, target).map_err(io_at(target))?;
    target.parent().map_or(Ok(()), sync_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, ContentStore) {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = ContentStore::open(dir.path()).expect("open");
        (dir, store)
    }

    #[test]
    fn keeps_and_verifies() {
        let (dir, store) = store();
        let digest = Digest::of(b"text");
        assert!(matches!(store.read(&digest, 10), Err(ContentError::Missing(_))));
        assert!(matches!(store.put(&digest, b"other"), Err(ContentError::Digest { .. })));
        store.put(&digest, b"text").expect("put");
        assert_eq!(store.read(&digest, 10).expect("read"), b"text");
        assert!(matches!(store.read(&digest, 3), Err(ContentError::TooLarge { .. })));
        fs::write(store.path(&digest), b"tex7").expect("rot");
        assert!(matches!(store.read(&digest, 10), Err(ContentError::Digest { .. })));
        let layout = fs::read_to_string(dir.path().join("oci-layout")).expect("oci-layout");
        assert_eq!(layout, r#"{"imageLayoutVersion":"1.0.0"}"#);
    }

    #[test]
    fn collects_what_nobody_holds() {
        let (_dir, store) = store();
        let [kept, leased, loose] = [b"kept__", b"leased", b"loose_"].map(|b| {
            store.put(&Digest::of(b), b).expect("put");
            Digest::of(b)
        });
        let lease = store.lease();
        lease.add(leased);
        let keep = || Ok::<_, ContentError>([kept].into());
        assert_eq!(store.collect(keep).expect("collect"), (6, vec![loose]));
        assert!(store.size(&kept).is_some() && store.size(&leased).is_some());
        drop(lease);
        assert_eq!(store.collect(keep).expect("collect"), (6, vec![leased]));
        let large = vec![1; 100_000];
        let large_digest = Digest::of(&large);
        store.put(&loose, b"loose_").expect("put");
        store.put(&large_digest, &large).expect("put");
        store.retire(keep).expect("retire");
        assert!(store.size(&loose).is_none() && !store.ingest_path(&loose).exists());
        assert!(
            store.size(&large_digest).is_none() && store.ingest_path(&large_digest).exists(),
            "it waits for a pull"
        );
    }
}
