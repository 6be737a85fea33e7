//! The streams of a container or exec, over a connection to its shim.

use bytes::Bytes;
use sheave_shim::protocol::{ExitRecord, Response};
use sheave_shim::wire::{self, Kind};

use super::connection::{Connection, Socket};
use crate::Error;
use crate::io::mux::Stream;

/// What comes out.
#[derive(Debug)]
pub enum Output {
    /// Bytes of a stream.
    Bytes(Stream, Bytes),
    /// The process ended and all its output was seen.
    Exited(ExitRecord),
}

/// Reads the output.
#[derive(Debug)]
pub struct StreamReader {
    connection: Connection,
}

impl StreamReader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// What comes next. Cancel safe: a frame that is half read stays in the decoder.
    ///
    /// # Errors
    /// `Unavailable` when the shim is gone or has dropped a client that was too slow.
    pub async fn next(&mut self) -> Result<Output, Error> {
        let frame = self.connection.frame().await?;
        match frame.kind {
            Kind::Stdout => Ok(Output::Bytes(Stream::Stdout, frame.payload.into())),
            Kind::Stderr => Ok(Output::Bytes(Stream::Stderr, frame.payload.into())),
            Kind::Message => match frame.message()? {
                Response::Exited(record) => Ok(Output::Exited(record)),
                other => Err(Error::Shim(format!("the shim answered {other:?} on a stream"))),
            },
            Kind::Stdin => Err(Error::Shim("the shim sent input".to_owned())),
        }
    }
}

/// Writes the input.
#[derive(Debug)]
pub struct StreamWriter {
    socket: Socket,
}

impl StreamWriter {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket }
    }

    /// Writes bytes; waits while the container does not read.
    ///
    /// # Errors
    /// `Unavailable` when the shim is gone.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(wire::MAX_CHUNK) {
            self.socket.send(&wire::encode_chunk(Kind::Stdin, piece), &[]).await?;
        }
        Ok(())
    }

    /// No more input.
    ///
    /// # Errors
    /// `Unavailable` when the shim is gone.
    pub async fn half_close(&self) -> Result<(), Error> {
        self.socket.send(&wire::encode_chunk(Kind::Stdin, &[]), &[]).await
    }
}

impl Drop for StreamWriter {
    /// The reader may still hold the connection; without its writer the client has left.
    fn drop(&mut self) {
        self.socket.shutdown();
    }
}
