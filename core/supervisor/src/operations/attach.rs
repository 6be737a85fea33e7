//! Attach: to a container that runs, or that is going to.

use std::path::PathBuf;
use std::sync::Arc;

use sheave_api::containers::ContainerAttachQuery;
use sheave_shim::protocol::Attach;
use tokio::sync::oneshot;

use super::control::event;
use crate::command::{Command, Pending, Streams};
use crate::driver::Context;
use crate::error::Error;
use crate::io::keys::Sequence;
use crate::io::mux::Framing;
use crate::io::session::{Client, Left, Terms};
use crate::logs::{self, Query};
use crate::record::View;
use crate::state::{Denied, State};
use crate::store::Handle;

/// An attach that was accepted and is registered; it is served once the connection is there.
#[derive(Debug)]
pub struct Attachment {
    context: Context,
    handle: Arc<Handle>,
    view: Arc<View>,
    query: ContainerAttachQuery,
    terms: Terms,
    log: PathBuf,
    streams: Option<oneshot::Receiver<Result<Streams, Error>>>,
}

/// Registers a client.
///
/// # Errors
/// `Conflict` where the container is frozen or waits for its restart, `Invalid` for unknown detach keys.
pub async fn attach(
    context: &Context,
    handle: Arc<Handle>,
    query: ContainerAttachQuery,
    log: PathBuf,
) -> Result<Attachment, Error> {
    let keys = Sequence::parse(query.detach_keys.as_deref().unwrap_or_default())?;
    let view = handle.now();
    let denied = |reason| Err(Error::Denied { reason, id: view.id.to_string() });
    match view.state {
        State::Paused(_) => return denied(Denied::AttachPaused),
        State::Restarting { .. } => return denied(Denied::IsRestarting),
        _ => {}
    }
    let config = &view.record.config;
    let terms = Terms {
        framing: Framing::of(config.tty),
        stdin: query.stdin && config.open_stdin,
        detach: config.tty.then_some(keys),
    };
    let mut streams = None;
    if query.stream {
        let (reply, receiver) = oneshot::channel();
        let wanted = Attach { stdin: terms.stdin, stdout: query.stdout, stderr: query.stderr };
        let pending = Pending { streams: wanted, reply };
        handle.mailbox.send(Command::Attach(pending)).await.map_err(|_| Error::Ended(handle.id.to_string()))?;
        streams = Some(receiver);
    }
    event(context, &view, "attach", &[]);
    Ok(Attachment { context: context.clone(), handle, view, query, terms, log, streams })
}

impl Attachment {
    /// Whether the client gets frames.
    pub fn multiplexed(&self) -> bool {
        self.terms.framing == Framing::Multiplexed
    }

    /// Serves the client to the end.
    pub async fn serve(self, mut client: Client) {
        if self.query.logs {
            let query =
                Query { stdout: self.query.stdout, stderr: self.query.stderr, ..Query::all(self.terms.framing) };
            let pieces = logs::read(self.log, query, std::future::ready(()));
            if client.replay(pieces).await.is_err() {
                return;
            }
        }
        let Some(receiver) = self.streams else { return client.close().await };
        match receiver.await {
            Ok(Ok(Some(streams))) => {
                if client.serve(streams, &self.terms, |_| ()).await == Left::Detached {
                    event(&self.context, &self.handle.now(), "detach", &[]);
                }
            }
            Ok(Err(error)) => {
                client.say(&self.terms, &format!("{error}\r\n")).await;
                client.close().await;
            }
            // It ended meanwhile, or could not be started, or is removed.
            Ok(Ok(None)) | Err(_) => client.close().await,
        }
        tracing::debug!(container = %self.view.id, "a client left");
    }
}
