//! Between those who need a chain and those who remove it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sheave_types::Digest;
use tokio::sync::Notify;

#[derive(Default)]
struct State {
    leases: HashMap<Digest, usize>,
    removing: HashSet<Digest>,
}

/// Leases on chains, and the chains that are being removed.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    removed: Notify,
}

/// Chains that one operation needs, until it is dropped.
pub(crate) struct ChainLease {
    gate: Arc<Gate>,
    chains: Vec<Digest>,
}

/// While this is held, no lease begins or ends.
pub(super) struct Removal<'a>(MutexGuard<'a, State>);

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lease(self: &Arc<Self>, chains: impl IntoIterator<Item = Digest>) -> ChainLease {
        let chains: Vec<_> = chains.into_iter().collect();
        let mut state = self.state();
        for chain in &chains {
            *state.leases.entry(*chain).or_default() += 1;
        }
        drop(state);
        ChainLease { gate: Arc::clone(self), chains }
    }

    pub(super) fn begin_removal(&self) -> Removal<'_> {
        Removal(self.state())
    }

    pub(super) fn end_removal(&self, chain: &Digest) {
        self.state().removing.remove(chain);
        self.removed.notify_waiters();
    }

    /// Waits until a chain is not being removed; with a lease on it, it is not going to be either.
    pub(super) async fn pass(&self, chain: &Digest) {
        loop {
            let mut removed = std::pin::pin!(self.removed.notified());
            removed.as_mut().enable();
            if !self.state().removing.contains(chain) {
                return;
            }
            removed.await;
        }
    }
}

impl Removal<'_> {
    /// Begins to remove a chain; false if it is needed.
    pub(super) fn claim(&mut self, chain: Digest) -> bool {
        if self.0.leases.contains_key(&chain) {
            return false;
        }
        self.0.removing.insert(chain);
        true
    }
}

impl Drop for ChainLease {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        for chain in &self.chains {
            if let Some(count) = state.leases.get_mut(chain) {
                *count -= 1;
                if *count == 0 {
                    state.leases.remove(chain);
                }
            }
        }
    }
}
