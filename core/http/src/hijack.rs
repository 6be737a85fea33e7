//! Connections that leave HTTP: attach and exec.

use std::pin::Pin;

use bytes::Bytes;
use hyper::body::Incoming;
use sheave_api::Version;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::chunked::Chunked;
use crate::reply::{MULTIPLEXED, RAW};

/// The raw connection, once the answer's head is written.
pub struct Duplex {
    /// What the client sends, from the first byte after its request; ends when it closes its writing half.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What the client gets; `shutdown` closes this half only.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

type Run = Box<dyn FnOnce(Duplex) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

pub(crate) struct Hijack {
    pub(crate) multiplexed: bool,
    pub(crate) run: Run,
}

/// A hijack that the connection has to carry out.
pub(crate) struct Takeover {
    pub(crate) hijack: Hijack,
    pub(crate) version: Version,
    /// Whether the client asked for an upgrade.
    pub(crate) upgrade: bool,
    /// Whether the bytes to come are still in chunks: the request's body was left unread for the handler.
    pub(crate) chunked: bool,
    /// The unread body. It lives until the connection is taken apart: when it is dropped, hyper drains it.
    pub(crate) body: Option<Incoming>,
}

impl Takeover {
    /// Writes the head and runs the handler on the connection. `early` are bytes that hyper had read already.
    pub(crate) async fn run(self, early: Bytes, halves: Duplex) {
        drop(self.body);
        let Duplex { reader, mut writer } = halves;
        let head = head(self.upgrade, self.hijack.multiplexed && self.version >= Version(1, 42));
        if writer.write_all(head.as_bytes()).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        let reader = std::io::Cursor::new(early).chain(reader);
        let reader: Box<dyn AsyncRead + Send + Unpin> =
            if self.chunked { Box::new(Chunked::new(BufReader::new(reader))) } else { Box::new(reader) };
        (self.hijack.run)(Duplex { reader, writer }).await;
    }
}

/// The head of the answer, byte for byte that of Docker.
fn head(upgrade: bool, multiplexed: bool) -> String {
    if upgrade {
        let content_type = if multiplexed { MULTIPLEXED } else { RAW };
        format!("HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    } else {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n")
    }
}
