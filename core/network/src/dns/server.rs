//! Serves one container.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::answer::{Answer, answer, bare};
use super::directory::Directory;
use super::forward::{Upstreams, read_message, write_message};

/// How many queries and connections of one container are worked on at a time; more wait, or are dropped by the kernel.
const AT_ONCE: usize = 128;
/// How long a TCP client may stay silent.
const IDLE: Duration = Duration::from_secs(10);

/// The name server of one container.
pub(crate) struct Server {
    container: String,
    directory: Arc<Directory>,
    upstreams: Upstreams,
}

impl Server {
    /// Makes one; it serves nothing yet.
    pub(crate) fn new(container: String, directory: Arc<Directory>, upstreams: Upstreams) -> Self {
        Self { container, directory, upstreams }
    }

    /// Serves at these sockets until the handle is aborted.
    pub(crate) fn start(self, udp: std::net::UdpSocket, tcp: std::net::TcpListener) -> io::Result<AbortHandle> {
        // They are shared with the shim, whose copies have the same flags.
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let udp = Arc::new(UdpSocket::from_std(udp)?);
        let tcp = TcpListener::from_std(tcp)?;
        let server = Arc::new(self);
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(server.clone().datagrams(udp));
            tasks.spawn(server.connections(tcp));
            // Aborting this task drops the set, which ends both.
            while tasks.join_next().await.is_some() {}
        });
        Ok(task.abort_handle())
    }

    async fn datagrams(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let limit = Arc::new(Semaphore::new(AT_ONCE));
        let mut queries = JoinSet::new();
        let mut buffer = vec![0; 65535];
        loop {
            let Ok(permit) = limit.clone().acquire_owned().await else { return };
            while queries.try_join_next().is_some() {}
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // A client that went away is told by an error of the next call.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => {
                    tracing::warn!(container = self.container, %error, "name server");
                    return;
                }
            };
            let query = buffer[..length].to_vec();
            let (server, socket) = (self.clone(), socket.clone());
            queries.spawn(async move {
                if let Some(response) = server.resolve(&query, false).await
                    && let Err(error) = socket.send_to(&response, from).await
                {
                    tracing::debug!(%error, "a client of the name server is gone");
                }
                drop(permit);
            });
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener) {
        let limit = Arc::new(Semaphore::new(AT_ONCE));
        let mut clients = JoinSet::new();
        loop {
            let Ok(permit) = limit.clone().acquire_owned().await else { return };
            while clients.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    clients.spawn(async move {
                        if let Err(error) = server.connection(stream).await {
                            tracing::debug!(%error, "a client of the name server is gone");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "name server");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let Ok(query) = timeout(IDLE, read_message(&mut stream)).await else { return Ok(()) };
            let Some(response) = self.resolve(&query?, true).await else { return Ok(()) };
            write_message(&mut stream, &response).await?;
        }
    }

    async fn resolve(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        match answer(&self.directory, &self.container, query) {
            Answer::Ready(response) => Some(response),
            Answer::Ignore => None,
            Answer::Forward if !self.directory.leads_out(&self.container) => bare(query, ResponseCode::ServFail),
            Answer::Forward => match self.upstreams.ask(query, tcp).await {
                Some(response) => Some(response),
                None => bare(query, ResponseCode::ServFail),
            },
        }
    }
}
