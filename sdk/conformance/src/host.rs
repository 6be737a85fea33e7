//! A host context in memory, whose writes commit with the plan as the engine's do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sheave_plugin::host::{Host, HttpRequest, HttpResponse, Level};
use sheave_plugin::{Error, ErrorKind};

/// Serves a driver's host calls. Nothing is granted; state is kept here; random numbers repeat from run to run.
#[derive(Default)]
pub struct FakeHost {
    state: Mutex<State>,
    counter: AtomicU64,
    log: Mutex<Vec<String>>,
}

#[derive(Default)]
struct State {
    durable: BTreeMap<String, String>,
    pending: BTreeMap<String, Option<String>>,
}

impl State {
    fn get(&self, key: &str) -> Option<String> {
        match self.pending.get(key) {
            Some(pending) => pending.clone(),
            None => self.durable.get(key).cloned(),
        }
    }
}

impl FakeHost {
    /// A host without state.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Keeps the writes since the last commit, as the engine does after a plan was executed.
    pub fn commit(&self) {
        let mut state = self.lock();
        for (key, value) in std::mem::take(&mut state.pending) {
            match value {
                Some(value) => state.durable.insert(key, value),
                None => state.durable.remove(&key),
            };
        }
    }

    /// Drops the writes since the last commit, as the engine does when a plan failed.
    pub fn discard(&self) {
        self.lock().pending.clear();
    }

    /// Whether something was written since the last commit.
    pub fn is_dirty(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    /// The lines logged so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_granted(what: &str) -> Error {
    Error::of(ErrorKind::NotGranted, format!("not-granted: {what}"))
}

impl Host for FakeHost {
    fn log(&self, level: Level, message: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{level:?} {message}"));
    }

    fn state_get(&self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.lock().get(key))
    }

    fn state_set(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.lock().pending.insert(key.to_owned(), value.map(str::to_owned));
        Ok(())
    }

    fn state_list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let state = self.lock();
        let mut keys: Vec<String> = state.durable.keys().chain(state.pending.keys()).cloned().collect();
        keys.sort();
        keys.dedup();
        keys.retain(|k| k.starts_with(prefix) && state.get(k).is_some());
        Ok(keys)
    }

    fn secret(&self, name: &str) -> Result<String, Error> {
        Err(not_granted(&format!("secrets {name}")))
    }

    fn env(&self, name: &str) -> Result<String, Error> {
        Err(not_granted(&format!("env {name}")))
    }

    fn now(&self) -> u64 {
        1_700_000_000_000 + self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        // SplitMix64: well spread, and the same in each run.
        let mut z = self.counter.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
        Err(not_granted(&format!("http {}", request.url)))
    }

    fn read_text(&self, path: &str) -> Result<String, Error> {
        Err(not_granted(&format!("fs {path}")))
    }
}
