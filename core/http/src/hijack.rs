//! Connections that leave HTTP: attach and exec.

use std::pin::Pin;

use hyper::body::Incoming;
use sheave_api::Version;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::io::{BodyReader, Reader, Writer};
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
    /// A body that has not ended when the handler answered: its content is what the client sends, so hyper goes on
    /// reading it (and takes the chunked coding off), and only the writing half is taken over.
    pub(crate) body: Option<Incoming>,
}

impl Takeover {
    /// The reader of a body that has not ended.
    pub(crate) fn body(&mut self) -> Option<Reader> {
        Some(Box::new(BodyReader::new(self.body.take()?)))
    }

    /// Writes the head and runs the handler on the connection.
    pub(crate) async fn run(self, reader: Reader, mut writer: Writer) {
        let head = head(self.upgrade, self.hijack.multiplexed && self.version >= Version(1, 42));
        if writer.write_all(head.as_bytes()).await.is_err() || writer.flush().await.is_err() {
            return;
        }
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
