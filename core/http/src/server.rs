//! Listeners and connections.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sheave_hooks::{HookBus, Identity};
use sheave_types::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};
use tracing::{debug, warn};

use crate::dispatch::{Connection, Shared, dispatch};
use crate::finish::Observers;
use crate::io::Connected;
use crate::listen::{Accepted, Listener};
use crate::router::Router;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// How long connections get to end after the shutdown began.
const GRACE: Duration = Duration::from_secs(3);

/// The API server.
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// A server of these routes. `version` is the engine's, for the `Server` header.
    ///
    /// # Errors
    /// `internal` when the version is not text for a header.
    pub fn new(router: Router, hooks: Arc<HookBus>, observers: Observers, version: &str) -> Result<Self> {
        let server = HeaderValue::from_str(&format!("Docker/{version} (linux)"))
            .map_err(|e| sheave_types::Error::internal(format!("version {version:?}: {e}")))?;
        Ok(Self { shared: Arc::new(Shared { router: router.with_missing(), hooks, observers, server }) })
    }

    /// Serves until `shutdown` becomes true; then no connection is accepted, running requests get a moment to end, and
    /// what still runs is cut.
    pub async fn run(self, listeners: Vec<Listener>, shutdown: watch::Receiver<bool>) {
        // Each connection holds a sender: when all are gone, nothing is received.
        let (open, mut ended) = mpsc::channel::<Infallible>(1);
        let loops = listeners
            .into_iter()
            .map(|listener| tokio::spawn(accept(Arc::clone(&self.shared), listener, shutdown.clone(), open.clone())));
        let loops: Vec<_> = loops.collect();
        drop(open);
        for each in loops {
            if let Err(error) = each.await {
                warn!(%error, "listener");
            }
        }
        if tokio::time::timeout(GRACE, ended.recv()).await.is_err() {
            debug!("connections are cut");
        }
    }
}

async fn accept(
    shared: Arc<Shared>,
    listener: Listener,
    mut shutdown: watch::Receiver<bool>,
    open: mpsc::Sender<Infallible>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = down(&mut shutdown) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, identity)) => {
                let (shared, shutdown, open) = (Arc::clone(&shared), shutdown.clone(), open.clone());
                tokio::spawn(async move {
                    let (connected, tcp) = match stream {
                        Accepted::Unix(stream) => (Connected::from(stream), false),
                        Accepted::Tcp(stream) => (Connected::from(stream), true),
                    };
                    connection(shared, connected, identity, tcp, shutdown).await;
                    drop(open);
                });
            }
            Err(error) => {
                // Out of descriptors, or a client that went away while it waited: go on, but not at full speed.
                warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Drives a connection until it ends or a handler takes it over.
async fn connection(
    shared: Arc<Shared>,
    connected: Connected,
    identity: Identity,
    tcp: bool,
    mut shutdown: watch::Receiver<bool>,
) {
    let state =
        Arc::new(Connection { identity: Arc::new(identity), tcp, takeover: Mutex::new(None), taken: Notify::new() });
    let service = service_fn(|request| {
        let answer = dispatch(Arc::clone(&shared), Arc::clone(&state), request);
        Box::pin(async move { Ok::<_, Infallible>(answer.await) })
    });
    let writer = connected.writer.clone();
    // Without half_close(false) a client that went away during a request would go unseen.
    let mut conn = http1::Builder::new()
        .half_close(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(connected), service);
    let mut going_down = false;
    loop {
        tokio::select! {
            biased;
            () = state.taken.notified() => break,
            result = poll_fn(|cx| conn.poll_without_shutdown(cx)) => {
                if let Err(error) = result {
                    debug!(%error, "connection");
                }
                break;
            }
            () = down(&mut shutdown), if !going_down => {
                going_down = true;
                std::pin::Pin::new(&mut conn).graceful_shutdown();
            }
        }
    }
    let takeover = state.takeover.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut writer) = writer.take() else { return };
    let Some(mut takeover) = takeover else {
        let _ = writer.shutdown().await;
        return;
    };
    if let Some(body) = takeover.body() {
        let reading = async {
            if let Err(error) = poll_fn(|cx| conn.poll_without_shutdown(cx)).await {
                debug!(%error, "body of a hijacked connection");
            }
            // The handler decides when it is over.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = takeover.run(body, writer) => {}
            () = reading => {}
        }
    } else {
        let parts = conn.into_parts();
        let reader = std::io::Cursor::new(parts.read_buf).chain(parts.io.into_inner().reader);
        takeover.run(Box::new(reader), writer).await;
    }
}

/// Returns when the shutdown begins.
async fn down(shutdown: &mut watch::Receiver<bool>) {
    // An error means that nobody can begin it any more, which is one too.
    let _ = shutdown.wait_for(|down| *down).await;
}
