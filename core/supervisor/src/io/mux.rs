//! The framing of standard output and error on one connection.
//!
//! Docker: <https://docs.docker.com/reference/api/engine/version/v1.51/#tag/Container/operation/ContainerAttach>

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes before each payload.
pub const HEADER: usize = 8;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// An error of the engine itself, as text.
    SystemError = 3,
}

/// The eight bytes before a payload of `len` bytes.
pub fn header(stream: Stream, len: u32) -> [u8; HEADER] {
    let [a, b, c, d] = len.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// One frame (several where `payload` is longer than a frame can say).
pub fn frame(stream: Stream, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + payload.len());
    for piece in payload.chunks(u32::MAX as usize) {
        out.put_slice(&header(stream, u32::try_from(piece.len()).unwrap_or(u32::MAX)));
        out.put_slice(piece);
    }
    out.freeze()
}

/// How a container's output is written to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A terminal: bytes as they are.
    Raw,
    /// Frames with a header.
    Multiplexed,
}

impl Framing {
    /// The framing of a container or exec.
    pub fn of(tty: bool) -> Self {
        if tty { Framing::Raw } else { Framing::Multiplexed }
    }

    /// `payload` of `stream` in this framing.
    pub fn wrap(self, stream: Stream, payload: Bytes) -> Bytes {
        match self {
            Framing::Raw => payload,
            Framing::Multiplexed => frame(stream, &payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(&frame(Stream::Stdout, b"hi")[..], b"\x01\0\0\0\0\0\0\x02hi");
        assert_eq!(&frame(Stream::Stderr, b"")[..], b"");
        assert_eq!(header(Stream::SystemError, 0x0102_0304), [3, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(&Framing::of(true).wrap(Stream::Stderr, Bytes::from_static(b"x"))[..], b"x");
    }
}
