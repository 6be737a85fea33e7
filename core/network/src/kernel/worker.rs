//! The one thread that changes the host's network. The kernel takes these changes one at a time anyway (rtnl, the nf_tables
//! commit mutex), so that more threads only cost more.

use std::sync::mpsc;

use tokio::sync::oneshot;

use super::executor::Executor;
use crate::error::{NetworkError, Result};

type Job = Box<dyn FnOnce(&mut Executor) + Send>;

/// A handle to the network thread; the thread ends with the last one.
#[derive(Clone)]
pub(crate) struct NetworkThread(mpsc::Sender<Job>);

impl NetworkThread {
    /// Starts the thread in the caller's network namespace.
    pub(crate) fn start(make: impl FnOnce() -> Result<Executor> + Send + 'static) -> Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let (made, is_made) = mpsc::channel();
        std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || match make() {
                Ok(mut executor) => {
                    let _ = made.send(Ok(()));
                    for job in jobs {
                        job(&mut executor);
                    }
                }
                Err(error) => {
                    let _ = made.send(Err(error));
                }
            })
            .map_err(|e| NetworkError::kernel("thread", e))?;
        is_made.recv().map_err(|_| NetworkError::Ended)??;
        Ok(Self(sender))
    }

    /// Runs a job on the thread and waits for it. A job that was begun is finished even if the caller goes away.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Executor) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |executor| {
            let _ = sender.send(job(executor));
        });
        self.0.send(job).map_err(|_| NetworkError::Ended)?;
        receiver.await.map_err(|_| NetworkError::Ended)?
    }
}
