//! One operation however many ask for it at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use sheave_types::Error;

/// An outcome that several wait for.
pub(crate) type Outcome<T> = Result<T, Arc<Error>>;
/// The operation as one of those who wait holds it. It runs while one of them polls it, and ends when none holds it any more.
pub(crate) type Joined<T> = Shared<BoxFuture<'static, Outcome<T>>>;

/// The same without keeping it running.
pub(crate) type Watched<T> = WeakShared<BoxFuture<'static, Outcome<T>>>;

type Running<K, T, C> = HashMap<K, (WeakShared<BoxFuture<'static, Outcome<T>>>, C)>;

/// The operations that run now, by key. `C` is what those who join get beside the outcome, for example its progress.
pub(crate) struct Flights<K, T: Clone, C>(Mutex<Running<K, T, C>>);

impl<K, T: Clone, C> Default for Flights<K, T, C> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, T: Clone, C: Clone> Flights<K, T, C> {
    /// As [`Flights::join`], but the operation goes on when nobody waits for it any more.
    pub(crate) fn join_detached(
        &self,
        key: K,
        begin: impl FnOnce() -> (BoxFuture<'static, Outcome<T>>, C),
    ) -> (Joined<T>, C)
    where
        T: Send + Sync + 'static,
    {
        let mut begun = false;
        let (joined, companion) = self.join(key, || {
            begun = true;
            begin()
        });
        if begun {
            tokio::spawn(joined.clone());
        }
        (joined, companion)
    }

    /// Joins the running operation of this key, or begins it.
    pub(crate) fn join(&self, key: K, begin: impl FnOnce() -> (BoxFuture<'static, Outcome<T>>, C)) -> (Joined<T>, C) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((weak, companion)) = running.get(&key)
            && let Some(joined) = weak.upgrade()
            && joined.peek().is_none()
        {
            return (joined, companion.clone());
        }
        running.retain(|_, (weak, _)| weak.upgrade().is_some_and(|joined| joined.peek().is_none()));
        let (future, companion) = begin();
        let joined = future.shared();
        if let Some(weak) = joined.downgrade() {
            running.insert(key, (weak, companion.clone()));
        }
        (joined, companion)
    }
}

/// The error again, for one of those who waited.
pub(crate) fn again(error: &Arc<Error>) -> Error {
    Error::with_source(
        error.kind(),
        error.message().to_owned(),
        Arc::clone(error) as Arc<dyn std::error::Error + Send + Sync>,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn runs_once_and_then_anew() {
        let flights: Flights<u8, u32, ()> = Flights::default();
        let (begun, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let join = || {
            flights.join(1, || {
                let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
                let future = async move {
                    let nth = begun.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    Ok(nth)
                };
                (future.boxed(), ())
            })
        };
        let (first, ()) = join();
        let (second, ()) = join();
        let waiting = tokio::spawn(first);
        tokio::task::yield_now().await;
        go.notify_one();
        assert_eq!(second.await.expect("outcome"), 0);
        assert_eq!(waiting.await.expect("task").expect("outcome"), 0);
        let (third, ()) = join();
        go.notify_one();
        assert_eq!(third.await.expect("outcome"), 1);
        let (dropped, ()) = join();
        drop(dropped);
        let (fourth, ()) = join();
        go.notify_one();
        assert_eq!(fourth.await.expect("outcome"), 2, "the dropped one never ran");
    }
}
