//! Leases: what a running operation needs is not collected.

use std::collections::HashMap;
use std::sync::PoisonError;

use sheave_types::Digest;

use super::ContentStore;

#[derive(Default)]
pub(super) struct Leases {
    holders: HashMap<Digest, usize>,
}

impl Leases {
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.holders.contains_key(digest)
    }
}

/// Blobs that one operation holds, until it is dropped.
pub(crate) struct Lease {
    store: ContentStore,
    digests: std::sync::Mutex<Vec<Digest>>,
}

impl ContentStore {
    /// An empty lease.
    pub(crate) fn lease(&self) -> Lease {
        Lease { store: self.clone(), digests: std::sync::Mutex::default() }
    }
}

impl Lease {
    /// Holds a blob from now on, whether it is there yet or not.
    pub(crate) fn add(&self, digest: Digest) {
        let mut leases = self.store.0.leases.lock().unwrap_or_else(PoisonError::into_inner);
        *leases.holders.entry(digest).or_default() += 1;
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).push(digest);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.store.0.leases.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in self.digests.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(count) = leases.holders.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    leases.holders.remove(&digest);
                }
            }
        }
    }
}
