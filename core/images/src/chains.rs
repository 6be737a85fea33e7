//! Layers become committed snapshots.
//!
//! A chain is a layer over all those below it; its id names its snapshot. Each chain of each driver is unpacked once however
//! many ask. Where the driver's layers are independent, they unpack side by side while they are downloaded, and only the
//! commits go from the bottom up:
//!
//! ```text
//! prepare ─► mount ─► unpack ─► diff id right? ─► blob verified? ─► parent committed? ─► commit ─► recorded
//!    ▲                  │ only the parent tells what is meant
//!    └─ over the parent ┘
//! ```

mod gate;
mod job;

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sheave_metadata::{Chain, Database};
use sheave_plugin::storage::SnapshotKind;
use sheave_types::{Digest, Result};
use tokio::sync::Semaphore;

pub(crate) use gate::ChainLease;
use gate::Gate;

use crate::flight::{Flights, Joined, again};
use crate::layers::LayerStore;
use crate::unpack::Limits;

/// The bytes of a layer's blob, and how far they are read.
pub(crate) type Blob = Box<dyn Read + Send>;
/// Opens a layer's blob; waits until it can be read from the start.
pub(crate) type OpenBlob = Arc<dyn Fn(Arc<AtomicU64>) -> BoxFuture<'static, Result<Blob>> + Send + Sync>;
/// Waits until a layer's blob is verified.
pub(crate) type Verified = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// One layer to unpack.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) diff_id: Digest,
    /// The chain id of this layer over those below it.
    pub(crate) chain: Digest,
    pub(crate) open: OpenBlob,
    pub(crate) verified: Verified,
}

/// The chain ids of layers, the lowest first.
///
/// Specification: <https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid>
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chains.push(match chains.last() {
            None => *diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chains
}

type Key = (String, Digest);

/// Unpacks chains and knows which are there.
pub(crate) struct Chains {
    store: Arc<dyn LayerStore>,
    database: Database,
    limits: Limits,
    gate: Arc<Gate>,
    running: Flights<Key, Chain, Arc<AtomicU64>>,
    permits: Semaphore,
}

impl Chains {
    pub(crate) fn new(store: Arc<dyn LayerStore>, database: Database, limits: Limits) -> Arc<Self> {
        // Unpacking is bound by the processor; more at once than there are only costs memory.
        let parallel = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 8);
        Arc::new(Self {
            store,
            database,
            limits,
            gate: Arc::default(),
            running: Flights::default(),
            permits: Semaphore::new(parallel),
        })
    }

    pub(crate) fn store(&self) -> &Arc<dyn LayerStore> {
        &self.store
    }

    /// Keeps chains from being removed, in every driver.
    pub(crate) fn lease(&self, chains: impl IntoIterator<Item = Digest>) -> ChainLease {
        self.gate.lease(chains)
    }

    /// The chain in this driver, if it is unpacked there.
    pub(crate) fn find(&self, driver: &str, chain: &Digest) -> Result<Option<Chain>> {
        Ok(self.database.chains().get(&chain.hex(), driver)?)
    }

    /// Unpacks `layers[at]` and what is missing below it; with how many bytes of its blob are read.
    ///
    /// The work goes on by itself; to be called with a lease on the chains.
    pub(crate) fn ensure(
        self: &Arc<Self>,
        driver: &str,
        layers: &Arc<[Layer]>,
        at: usize,
    ) -> (Joined<Chain>, Arc<AtomicU64>) {
        let key = (driver.to_owned(), layers[at].chain);
        // Who gives up waiting leaves no half-made snapshot behind.
        self.running.join_detached(key, || {
            let consumed = Arc::new(AtomicU64::new(0));
            let job = job::Job {
                chains: Arc::clone(self),
                driver: driver.to_owned(),
                layers: Arc::clone(layers),
                at,
                consumed: Arc::clone(&consumed),
            };
            (async move { job.run().await.map_err(Arc::new) }.boxed(), consumed)
        })
    }

    /// Unpacks all of `layers`; the topmost chain.
    pub(crate) async fn ensure_all(self: &Arc<Self>, driver: &str, layers: &Arc<[Layer]>) -> Result<Option<Chain>> {
        let _lease = self.lease(layers.iter().map(|l| l.chain));
        let Some(top) = layers.len().checked_sub(1) else { return Ok(None) };
        // All at once, for drivers that unpack them independently.
        let running: Vec<_> = (0..=top).map(|at| self.ensure(driver, layers, at).0).collect();
        let mut chain = None;
        for joined in running {
            chain = Some(joined.await.map_err(|e| again(&e))?);
        }
        Ok(chain)
    }

    /// Removes every chain that is not in `keep` and not leased, from all drivers; those that are in use stay.
    ///
    /// # Errors
    /// Those of the database; a snapshot that cannot be removed is logged and tried again another time.
    pub(crate) async fn collect(
        &self,
        keep: impl Fn() -> Result<std::collections::HashSet<Digest>>,
    ) -> Result<Vec<Digest>> {
        let mut unwanted: Vec<(Chain, Digest)> = Vec::new();
        {
            let mut removal = self.gate.begin_removal();
            let keep = keep()?;
            for row in self.database.chains().all()? {
                let Ok(chain) = format!("sha256:{}", row.chain).parse::<Digest>() else { continue };
                if !keep.contains(&chain) && removal.claim(chain) {
                    unwanted.push((row, chain));
                }
            }
        }
        let removed = self.remove_all(&mut unwanted).await;
        for (_, chain) in &unwanted {
            self.gate.end_removal(chain);
        }
        removed
    }

    /// From the top down: a chain can only go when nothing is on it. Rows that are left over are kept.
    async fn remove_all(&self, unwanted: &mut [(Chain, Digest)]) -> Result<Vec<Digest>> {
        let mut removed = Vec::new();
        let mut left: Vec<usize> = (0..unwanted.len()).collect();
        loop {
            let before = left.len();
            let mut still = Vec::new();
            for at in left {
                let (row, chain) = &unwanted[at];
                match self.store.remove(&row.driver, &row.snapshot).await {
                    Ok(()) => {
                        self.database.chains().remove(&row.chain, &row.driver)?;
                        removed.push(*chain);
                    }
                    Err(error) => {
                        tracing::debug!(chain = %row.chain, driver = %row.driver, %error, "a layer stays");
                        still.push(at);
                    }
                }
            }
            if still.is_empty() || still.len() == before {
                return Ok(removed);
            }
            left = still;
        }
    }

    /// Removes what an engine that was killed left: snapshots that were being unpacked, committed ones that were not recorded,
    /// and rows whose snapshot is gone. To be called before anything else.
    ///
    /// # Errors
    /// Those of the database; drivers that cannot answer are logged and left out.
    pub(crate) async fn recover(&self) -> Result<()> {
        let rows = self.database.chains().all()?;
        for driver in self.store.drivers() {
            let snapshots = match self.store.list(&driver).await {
                Ok(snapshots) => snapshots,
                Err(error) => {
                    tracing::warn!(driver, %error, "its layers could not be checked");
                    continue;
                }
            };
            let known: HashMap<&str, &Chain> =
                rows.iter().filter(|r| r.driver == driver).map(|r| (r.snapshot.as_str(), r)).collect();
            let there: std::collections::HashSet<&str> = snapshots.iter().map(|s| s.key.as_str()).collect();
            for row in known.values().filter(|r| !there.contains(r.snapshot.as_str())) {
                self.database.chains().remove(&row.chain, &row.driver)?;
            }
            let mut leftover: Vec<(Chain, Digest)> = snapshots
                .iter()
                .filter(|s| match s.kind {
                    SnapshotKind::Active => s.key.starts_with(job::PREFIX),
                    SnapshotKind::Committed => is_chain(&s.key) && !known.contains_key(s.key.as_str()),
                })
                .map(|s| {
                    let row = Chain { chain: s.key.clone(), driver: driver.clone(), snapshot: s.key.clone(), size: 0 };
                    (row, Digest::of(s.key.as_bytes()))
                })
                .collect();
            if !leftover.is_empty() {
                tracing::info!(driver, count = leftover.len(), "removing half-made layers");
                self.remove_all(&mut leftover).await?;
            }
        }
        Ok(())
    }
}

fn is_chain(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_follow_the_specification() {
        let [a, b, c] = [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c")];
        let chains = chain_ids(&[a, b, c]);
        assert_eq!(chains[0], a);
        assert_eq!(chains[1], Digest::of(format!("{a} {b}").as_bytes()));
        assert_eq!(chains[2], Digest::of(format!("{} {c}", chains[1]).as_bytes()));
        assert_eq!(chain_ids(&[]), []);
    }
}
