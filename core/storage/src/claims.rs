//! Claims on names: two plans over one snapshot follow each other, plans over different ones run side by side.
//!
//! A claim is data, not a lock: it is held across waits, moves between threads, and ends when it is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Clone, Copy)]
enum Hold {
    Shared(usize),
    Exclusive,
}

#[derive(Debug, Default)]
struct Held {
    names: Mutex<BTreeMap<String, Hold>>,
    released: Notify,
}

/// The names that are claimed now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims(Arc<Held>);

/// A claim on some names.
#[derive(Debug)]
pub(crate) struct Claim {
    held: Arc<Held>,
    exclusive: Vec<String>,
    shared: Vec<String>,
}

impl Claims {
    /// Waits until all the names are free, and claims them together, so that no two claims wait for each other.
    pub(crate) async fn take(&self, exclusive: &[String], shared: &[String]) -> Claim {
        loop {
            let released = self.0.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if let Some(claim) = self.try_take(exclusive, shared) {
                return claim;
            }
            released.await;
        }
    }

    /// Claims the names if all are free.
    pub(crate) fn try_take(&self, exclusive: &[String], shared: &[String]) -> Option<Claim> {
        let mut exclusive = exclusive.to_vec();
        exclusive.sort();
        exclusive.dedup();
        let shared: Vec<String> = shared.iter().filter(|name| !exclusive.contains(name)).cloned().collect();
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = exclusive.iter().any(|name| names.contains_key(name))
            || shared.iter().any(|name| matches!(names.get(name), Some(Hold::Exclusive)));
        if taken {
            return None;
        }
        for name in &exclusive {
            names.insert(name.clone(), Hold::Exclusive);
        }
        for name in &shared {
            if let Hold::Shared(count) = names.entry(name.clone()).or_insert(Hold::Shared(0)) {
                *count += 1;
            }
        }
        Some(Claim { held: self.0.clone(), exclusive, shared })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut names = self.held.names.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &self.exclusive {
            names.remove(name);
        }
        for name in &self.shared {
            match names.get_mut(name) {
                Some(Hold::Shared(count)) if *count > 1 => *count -= 1,
                _ => {
                    names.remove(name);
                }
            }
        }
        drop(names);
        self.held.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|n| (*n).to_owned()).collect()
    }

    #[tokio::test]
    async fn exclusive_and_shared() {
        let claims = Claims::default();
        let first = claims.take(&names(&["a", "a"]), &names(&["p", "a"])).await;
        assert!(claims.try_take(&names(&["a"]), &[]).is_none());
        assert!(claims.try_take(&[], &names(&["a"])).is_none());
        assert!(claims.try_take(&names(&["p"]), &[]).is_none());
        let second = claims.take(&names(&["b"]), &names(&["p"])).await;
        drop(first);
        assert!(claims.try_take(&names(&["p"]), &[]).is_none(), "the second still shares it");
        let waiting = tokio::spawn({
            let claims = claims.clone();
            async move { drop(claims.take(&names(&["p"]), &[]).await) }
        });
        tokio::task::yield_now().await;
        drop(second);
        waiting.await.expect("the waiting claim is woken");
        assert!(claims.0.names.lock().expect("lock").is_empty());
    }
}
