//! Reads a container's json-file log: tail across rotated files, time bounds, follow.
//!
//! The shim writes and rotates the file; this reader never writes, so any number of clients may read while it grows.
//! Docker: <https://docs.docker.com/engine/logging/drivers/json-file/>

mod entry;
mod files;
mod notify;
mod query;
mod reader;

use std::future::Future;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use query::{Query, Tail, parse_time};

use notify::Watch;
use reader::Reader;

/// Batches of output that may wait for a slow client before the reader pauses.
const IN_FLIGHT: usize = 4;

/// Starts reading the log at `path`; ends when everything is read or, following, once `stopped` is ready and the rest is read.
///
/// The receiver gets bytes in the framing of `query`. Dropping it ends the reader.
pub fn read<S>(path: PathBuf, query: Query, stopped: S) -> mpsc::Receiver<Result<Bytes, std::io::Error>>
where
    S: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    tokio::spawn(async move {
        if let Err(error) = run(path, query, stopped, &sender).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

async fn run<S>(
    path: PathBuf,
    query: Query,
    stopped: S,
    sender: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> std::io::Result<()>
where
    S: Future<Output = ()> + Send,
{
    let follow = query.follow;
    // The watch is there before the first read, so that no change falls between the two.
    let watch = match (follow, path.parent()) {
        (true, Some(dir)) => Some(Watch::new(dir)?),
        _ => None,
    };
    let mut reader = blocking(move || Reader::open(path, query)).await?;
    let mut stopped = std::pin::pin!(stopped);
    let mut ended = !follow;
    loop {
        let (back, batch) = blocking(move || {
            let mut reader = reader;
            let batch = reader.batch()?;
            Ok((reader, batch))
        })
        .await?;
        reader = back;
        match batch {
            Some(bytes) if !bytes.is_empty() => {
                if sender.send(Ok(bytes)).await.is_err() {
                    return Ok(());
                }
            }
            None => return Ok(()),
            Some(_) if ended => return Ok(()),
            Some(_) => {
                let Some(watch) = &watch else { return Ok(()) };
                tokio::select! {
                    // What was written before the end is read once more after it.
                    () = &mut stopped => ended = true,
                    changed = watch.changed() => changed?,
                    () = sender.closed() => return Ok(()),
                }
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
#[path = "logs/tests.rs"]
mod tests;
