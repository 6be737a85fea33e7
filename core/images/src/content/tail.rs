//! Reading a blob while it is still being written.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Writing,
    Complete,
    Failed,
}

/// How far a blob is written; shared by its writer and its readers.
#[derive(Debug)]
pub(crate) struct Tail {
    progress: Mutex<(u64, State)>,
    changed: Condvar,
}

impl Tail {
    /// Nothing is written yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { progress: Mutex::new((0, State::Writing)), changed: Condvar::new() })
    }

    fn set(&self, f: impl FnOnce(&mut (u64, State))) {
        f(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// `bytes` more can be read.
    pub(crate) fn advance(&self, bytes: u64) {
        self.set(|p| p.0 += bytes);
    }

    /// All is written and verified.
    pub(crate) fn complete(&self) {
        self.set(|p| p.1 = State::Complete);
    }

    /// No more will come, unless it is complete.
    pub(crate) fn fail(&self) {
        self.set(|p| {
            if p.1 == State::Writing {
                p.1 = State::Failed;
            }
        });
    }

    /// Whether no more will come.
    pub(super) fn has_failed(&self) -> bool {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).1 == State::Failed
    }

    /// Waits until more than `position` is written; how much there is, or none at the end.
    fn wait(&self, position: u64) -> io::Result<Option<u64>> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (written, state) = *progress;
            match state {
                State::Failed => return Err(io::Error::other("its download failed")),
                _ if written > position => return Ok(Some(written - position)),
                State::Complete => return Ok(None),
                State::Writing => {}
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads a blob from its start, and waits for what is not written yet. Blocks; an error once the download failed.
pub(crate) struct TailReader {
    file: Arc<File>,
    tail: Arc<Tail>,
    position: u64,
    /// How far it has come, for who shows progress.
    consumed: Arc<AtomicU64>,
}

impl TailReader {
    /// A reader of the file that the writer of `tail` fills.
    pub(crate) fn new(file: Arc<File>, tail: Arc<Tail>, consumed: Arc<AtomicU64>) -> Self {
        Self { file, tail, position: 0, consumed }
    }
}

impl Read for TailReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(there) = self.tail.wait(self.position)? else { return Ok(0) };
        let most = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..most], self.position)?;
        self.position += n as u64;
        self.consumed.store(self.position, Ordering::Relaxed);
        Ok(n)
    }
}
