//! Frames on a stream socket, with descriptors beside them.
//!
//! A frame is eight bytes of header and a payload: kind (1), number of descriptors (1), zero (2), length of the payload
//! (4, big endian). Descriptors travel with the first byte of the header. The [`Decoder`] does no I/O, so that an
//! asynchronous caller can use it: on readiness call [`receive`], then take frames with [`Decoder::next_frame`].

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The longest payload of a JSON message, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;

/// The longest payload of a piece of a stream, in bytes.
pub const MAX_CHUNK: usize = 64 << 10;

/// The most descriptors beside one frame.
pub const MAX_FDS: usize = 32;

/// The length of a frame's header, in bytes.
pub const HEADER: usize = 8;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON message of [`crate::protocol`].
    Message = 0,
    /// Bytes for stdin; none is the half-close.
    Stdin = 1,
    /// Bytes of stdout.
    Stdout = 2,
    /// Bytes of stderr.
    Stderr = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Message, Self::Stdin, Self::Stdout, Self::Stderr].into_iter().find(|kind| *kind as u8 == byte)
    }

    fn limit(self) -> usize {
        if self == Self::Message { MAX_MESSAGE } else { MAX_CHUNK }
    }
}

/// A whole frame.
#[derive(Debug)]
pub struct Frame {
    /// What it holds.
    pub kind: Kind,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// The descriptors beside it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

impl Frame {
    /// The message it holds. Fails if it is no message of this type.
    pub fn message<T: DeserializeOwned>(&self) -> Result<T> {
        if self.kind != Kind::Message {
            return Err(Error::Protocol("a piece of a stream where a message was due"));
        }
        serde_json::from_slice(&self.payload).map_err(Error::Json)
    }
}

/// The header of a frame.
pub fn header(kind: Kind, length: usize, fds: usize) -> [u8; HEADER] {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let fds = u8::try_from(fds).unwrap_or(u8::MAX);
    [kind as u8, fds, 0, 0, length[0], length[1], length[2], length[3]]
}

/// The bytes of a frame with a piece of a stream (at most [`MAX_CHUNK`] bytes).
pub fn encode_chunk(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + bytes.len());
    frame.extend_from_slice(&header(kind, bytes.len(), 0));
    frame.extend_from_slice(bytes);
    frame
}

/// The bytes of a frame with a message that `fds` descriptors go with. Fails if it is too long.
pub fn encode_message<T: Serialize>(message: &T, fds: usize) -> Result<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message).map_err(Error::Json)?;
    let length = frame.len() - HEADER;
    if length > MAX_MESSAGE || fds > MAX_FDS {
        return Err(Error::Protocol("a message that is too long"));
    }
    frame[..HEADER].copy_from_slice(&header(Kind::Message, length, fds));
    Ok(frame)
}

/// Sends bytes of frames and, with the first byte, descriptors; the number of bytes taken. Does not block on a
/// non-blocking socket (`EAGAIN`), and never raises `SIGPIPE`. Descriptors were sent if any byte was.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> nix::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Reads once into the decoder; the number of bytes, 0 at the end of the stream. Does not block on a non-blocking
/// socket (`EAGAIN`).
pub fn receive(socket: BorrowedFd<'_>, decoder: &mut Decoder) -> nix::Result<usize> {
    let mut chunk = [0; 16 << 10];
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let (count, fds) = {
        let mut slices = [IoSliceMut::new(&mut chunk)];
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (received.bytes, fds)
    };
    decoder.push(&chunk[..count], fds);
    Ok(count)
}

/// Makes frames of what was received.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    taken: usize,
    fds: VecDeque<OwnedFd>,
}

impl Decoder {
    /// Adds what was received.
    pub fn push(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
        self.fds.extend(fds);
    }

    /// The next whole frame, or `None` if more bytes are needed. After an error the connection is of no more use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let rest = &self.bytes[self.taken..];
        let Some((head, body)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let kind = Kind::from_byte(head[0]).ok_or(Error::Protocol("a frame of an unknown kind"))?;
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let fds = usize::from(head[1]);
        if length > kind.limit() || fds > MAX_FDS {
            return Err(Error::Protocol("a frame that is too long"));
        }
        if body.len() < length {
            return Ok(None);
        }
        if self.fds.len() < fds {
            return Err(Error::Protocol("a frame without its descriptors"));
        }
        let payload = body[..length].to_vec();
        self.taken += HEADER + length;
        if self.taken == self.bytes.len() {
            // Large messages come once, at the start: give their memory back.
            self.bytes = Vec::new();
            self.taken = 0;
        } else if self.taken > MAX_CHUNK {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        Ok(Some(Frame { kind, payload, fds: self.fds.drain(..fds).collect() }))
    }

    /// A descriptor that came without a frame, as other protocols send it.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    /// Whether a part of a frame is there.
    pub fn is_partial(&self) -> bool {
        self.taken < self.bytes.len()
    }
}

/// Borrows owned descriptors, as [`send`] takes them.
pub fn borrow(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}
