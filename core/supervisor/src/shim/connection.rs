//! A non-blocking connection that carries frames and descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sheave_shim::protocol::Response;
use sheave_shim::wire::{self, Decoder, Frame};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::stream::{StreamReader, StreamWriter};
use crate::Error;

/// A socket that frames are written to; several tasks may hold it.
#[derive(Debug, Clone)]
pub struct Socket(Arc<AsyncFd<UnixStream>>);

impl Socket {
    fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // SAFETY: the socket is owned by what is registered and stays open and the same until it is dropped.
        Ok(Self(Arc::new(unsafe { AsyncFd::register(socket)? })))
    }

    /// Sends all of `bytes`, the descriptors with the first of them.
    pub async fn send(&self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let mut fds = fds;
        while !bytes.is_empty() {
            let sent = self
                .0
                .async_io(Interest::WRITABLE, |socket| Ok(wire::send(socket.as_fd(), bytes, fds)?))
                .await
                .map_err(gone)?;
            bytes = &bytes[sent..];
            fds = &[];
        }
        Ok(())
    }

    /// Reads once; zero at the end.
    pub async fn receive(&self, decoder: &mut Decoder) -> Result<usize, Error> {
        self.0.async_io(Interest::READABLE, |socket| Ok(wire::receive(socket.as_fd(), decoder)?)).await.map_err(gone)
    }

    /// Ends both directions.
    pub fn shutdown(&self) {
        // An error means that the other side was faster.
        let _ = self.0.get_ref().shutdown(std::net::Shutdown::Both);
    }
}

fn gone(error: io::Error) -> Error {
    Error::ShimGone(error.to_string())
}

/// A connection with one reader.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    decoder: Decoder,
}

impl Connection {
    /// Over a socket that is connected.
    pub fn new(socket: UnixStream) -> Result<Self, Error> {
        let socket = Socket::new(socket).map_err(gone)?;
        Ok(Self { socket, decoder: Decoder::default() })
    }

    /// Connects to a shim's request socket.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let stream = tokio::net::UnixStream::connect(path).await.map_err(gone)?;
        Self::new(stream.into_std().map_err(gone)?)
    }

    /// Sends a message with descriptors beside it.
    pub async fn send<T: Serialize>(&self, message: &T, fds: &[&OwnedFd]) -> Result<(), Error> {
        let bytes = wire::encode_message(message, fds.len())?;
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        self.socket.send(&bytes, &fds).await
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Result<Frame, Error> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            if self.socket.receive(&mut self.decoder).await? == 0 {
                return Err(Error::ShimGone("it closed the connection".to_owned()));
            }
        }
    }

    /// The next message and its descriptors.
    pub async fn message<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), Error> {
        let frame = self.frame().await?;
        Ok((frame.message()?, frame.fds))
    }

    /// A request and its answer; the shim's refusal becomes an error.
    pub async fn request<T: Serialize>(
        &mut self,
        request: &T,
        fds: &[OwnedFd],
    ) -> Result<(Response, Vec<OwnedFd>), Error> {
        self.send(request, &fds.iter().collect::<Vec<_>>()).await?;
        match self.message().await? {
            (Response::Error { kind, message }, _) => Err(Error::Refused { kind, message }),
            answer => Ok(answer),
        }
    }

    /// After an answer that made it a stream.
    pub fn into_stream(self) -> (StreamReader, StreamWriter) {
        let writer = StreamWriter::new(self.socket.clone());
        (StreamReader::new(self), writer)
    }
}
