//! The socket to the daemon that started the shim.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use sheave_shim::protocol::FromShim;
use sheave_shim::wire::{self, Decoder, Frame};

/// The control socket, while the daemon holds its end.
#[derive(Debug)]
pub struct Control(Option<(UnixStream, Decoder)>);

impl Control {
    /// A control socket.
    pub fn new(socket: UnixStream) -> Self {
        Self(Some((socket, Decoder::default())))
    }

    /// For polling.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|(socket, _)| socket.as_fd())
    }

    /// Tells the daemon something. Nobody may be there to hear it.
    pub fn tell(&mut self, message: &FromShim) {
        let Some((socket, _)) = &self.0 else { return };
        let Ok(bytes) = wire::encode_message(message, 0) else { return };
        // It blocks, but these are a few hundred bytes in all.
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match wire::send(socket.as_fd(), rest, &[]) {
                Ok(count) => rest = &rest[count..],
                Err(nix::Error::EINTR) => {}
                Err(_) => {
                    self.0 = None;
                    return;
                }
            }
        }
    }

    /// Reads once: the frames, and whether the daemon is gone now.
    pub fn receive(&mut self) -> (Vec<Frame>, bool) {
        let Some((socket, decoder)) = &mut self.0 else { return (Vec::new(), false) };
        let received = wire::receive(socket.as_fd(), decoder);
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = decoder.next_frame() {
            frames.push(frame);
        }
        let is_lost = !matches!(received, Ok(1..) | Err(nix::Error::EINTR | nix::Error::EAGAIN));
        if is_lost {
            self.0 = None;
        }
        (frames, is_lost)
    }
}
