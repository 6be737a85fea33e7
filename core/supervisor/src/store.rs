//! All containers of the engine: by id, by name, by prefix, newest first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sheave_types::Id;
use tokio::sync::{mpsc, watch};

use crate::Error;
use crate::command::Command;
use crate::record::View;

/// What everybody but its driver has of a container.
#[derive(Debug)]
pub struct Handle {
    /// Its id.
    pub id: Id,
    /// The way to its driver.
    pub mailbox: mpsc::Sender<Command>,
    /// What it is now.
    pub view: watch::Receiver<Arc<View>>,
}

impl Handle {
    /// What it is now.
    pub fn now(&self) -> Arc<View> {
        self.view.borrow().clone()
    }
}

#[derive(Debug, Default)]
struct Index {
    // Keys are hexadecimal ids, so that a prefix is a range.
    by_id: BTreeMap<String, Arc<Handle>>,
    // A name is reserved before its container exists.
    names: HashMap<String, Id>,
}

/// The containers. The lock is held for a look-up only.
#[derive(Debug, Default)]
pub struct Store {
    index: Mutex<Index>,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name for a container that is being made or renamed.
    ///
    /// # Errors
    /// `Conflict` with Docker's text when another has it.
    pub fn reserve(&self, name: &str, id: Id) -> Result<(), Error> {
        let mut index = self.lock();
        match index.names.get(name) {
            Some(owner) => Err(Error::NameInUse { name: name.to_owned(), id: owner.to_string() }),
            None => {
                index.names.insert(name.to_owned(), id);
                Ok(())
            }
        }
    }

    /// Gives a name back, if this container has it.
    pub fn release(&self, name: &str, id: Id) {
        let mut index = self.lock();
        if index.names.get(name) == Some(&id) {
            index.names.remove(name);
        }
    }

    /// Adds a container whose name is reserved.
    pub fn insert(&self, handle: Arc<Handle>) {
        self.lock().by_id.insert(handle.id.to_string(), handle);
    }

    /// Removes a container and its name.
    pub fn remove(&self, id: Id, name: &str) {
        let mut index = self.lock();
        index.by_id.remove(&id.to_string());
        if index.names.get(name) == Some(&id) {
            index.names.remove(name);
        }
    }

    /// Finds by full id, name (with or without slash), or unique prefix of the id.
    ///
    /// # Errors
    /// `NotFound` and `Invalid` with Docker's texts.
    pub fn find(&self, wanted: &str) -> Result<Arc<Handle>, Error> {
        let missing = || Error::NoSuchContainer(wanted.to_owned());
        if wanted.is_empty() {
            return Err(missing());
        }
        let index = self.lock();
        if let Some(handle) = index.by_id.get(wanted) {
            return Ok(handle.clone());
        }
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        if let Some(handle) = index.names.get(name).and_then(|id| index.by_id.get(&id.to_string())) {
            return Ok(handle.clone());
        }
        let mut matches = index.by_id.range(wanted.to_owned()..).take_while(|(id, _)| id.starts_with(wanted));
        match (matches.next(), matches.next()) {
            (Some((_, handle)), None) => Ok(handle.clone()),
            (Some(_), Some(_)) => Err(Error::Ambiguous(wanted.to_owned())),
            (None, _) => Err(missing()),
        }
    }

    /// All containers, newest first.
    pub fn all(&self) -> Vec<Arc<View>> {
        let mut views: Vec<_> = self.lock().by_id.values().map(|handle| handle.now()).collect();
        views.sort_by(|a, b| b.record.created.cmp(&a.record.created).then_with(|| a.id.cmp(&b.id)));
        views
    }
}
