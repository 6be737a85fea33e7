//! Really removes what was put into the trash, one tree after the other, off everybody's path.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::error::{Result, StorageError};
use crate::path::TRASH;
use crate::perform::open_trash;
use crate::tree::{Root, entries, remove_tree};

enum Job {
    /// Remove these names from a root's trash.
    Remove(Arc<Root>, Vec<OsString>),
    /// Tell when all before is done.
    Tell(oneshot::Sender<()>),
}

/// The thread that removes. It ends, its work done, when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Sweeper(mpsc::Sender<Job>);

impl Sweeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub(crate) fn start() -> Result<Self> {
        let (sender, jobs) = mpsc::channel();
        std::thread::Builder::new()
            .name("sheave-sweeper".to_owned())
            .spawn(move || run(&jobs))
            .map_err(StorageError::io("start thread", "sheave-sweeper"))?;
        Ok(Self(sender))
    }

    /// Removes these names from the trash of `root`, later.
    pub(crate) fn remove(&self, root: &Arc<Root>, names: Vec<OsString>) {
        if !names.is_empty() {
            // The thread ends only after the last sender.
            let _ = self.0.send(Job::Remove(root.clone(), names));
        }
    }

    /// Removes everything that a crash left in the trash of `root`, later.
    ///
    /// # Errors
    /// Those of reading it.
    pub(crate) fn remove_all(&self, root: &Arc<Root>) -> Result<()> {
        let trash = open_trash(root)?;
        let failed = StorageError::errno("read directory", root.path().join(TRASH));
        self.remove(root, entries(&trash).map_err(failed)?.into_iter().map(|e| e.name).collect());
        Ok(())
    }

    /// Waits until all that was handed over before is gone.
    pub(crate) async fn settle(&self) {
        let (sender, done) = oneshot::channel();
        if self.0.send(Job::Tell(sender)).is_ok() {
            let _ = done.await;
        }
    }
}

fn run(jobs: &mpsc::Receiver<Job>) {
    for job in jobs {
        match job {
            Job::Remove(root, names) => {
                for name in names {
                    let removed = open_trash(&root).and_then(|trash| remove_tree(trash.as_fd(), &name));
                    if let Err(error) = removed {
                        let path = root.path().join(TRASH).join(&name);
                        tracing::warn!(path = %path.display(), %error, "cannot be removed now; the next start tries again");
                    }
                }
            }
            Job::Tell(sender) => drop(sender.send(())),
        }
    }
}
