//! A blocking netlink socket: messages go out in one datagram, the answers are gathered until the last is acknowledged.

use std::io;
use std::os::fd::AsRawFd;

use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
pub(crate) const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// The kernel answers at once; a socket that stays silent this long (seconds) has lost its answer.
const PATIENCE: i64 = 10;

/// One message: type, flags and what follows the header.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) payload: Vec<u8>,
}

/// Why the kernel refused one message of a request.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Which message, counted from 0.
    pub(crate) index: usize,
    /// The kernel's error.
    pub(crate) error: io::Error,
    /// The kernel's own words, if it had any.
    pub(crate) text: Option<String>,
}

/// What came back for a request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Data messages: index of the request, message type, payload.
    pub(crate) data: Vec<(usize, u16, Vec<u8>)>,
    /// Refused messages, in the order of the answers.
    pub(crate) refused: Vec<Refusal>,
}

/// A netlink socket of the namespace in which it was opened; it stays there whatever thread uses it.
pub(crate) struct NetlinkSocket {
    socket: Socket,
    sequence: u32,
}

impl NetlinkSocket {
    /// Opens a socket of this netlink protocol in the calling thread's network namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        // Dumps filter by address family and refuse what they do not know, instead of ignoring it.
        let borrowed = {
            // SAFETY: the descriptor is that of `socket`, which outlives this borrow.
            unsafe { std::os::fd::BorrowedFd::borrow_raw(socket.as_raw_fd()) }
        };
        setsockopt(&borrowed, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        setsockopt(&borrowed, sockopt::RcvBuf, &(1 << 20))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends `frames` in one datagram and reads until the last frame that wants an answer has it.
    ///
    /// A frame with `NLM_F_ACK` or `NLM_F_DUMP` wants one. An error on a frame without is gathered too if it comes before.
    pub(crate) fn request(&mut self, frames: &[Frame]) -> io::Result<Answer> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::with_capacity(frames.iter().map(|f| f.payload.len() + HEADER).sum());
        for (frame, sequence) in frames.iter().zip(first..) {
            let length = u32::try_from(HEADER + frame.payload.len()).map_err(io::Error::other)?;
            datagram.extend_from_slice(&length.to_ne_bytes());
            datagram.extend_from_slice(&frame.kind.to_ne_bytes());
            datagram.extend_from_slice(&(frame.flags | NLM_F_REQUEST).to_ne_bytes());
            datagram.extend_from_slice(&sequence.to_ne_bytes());
            datagram.extend_from_slice(&0u32.to_ne_bytes());
            datagram.extend_from_slice(&frame.payload);
            datagram.resize(datagram.len().next_multiple_of(4), 0);
            self.sequence = sequence;
        }
        let wanted: Vec<bool> =
            frames.iter().map(|f| f.flags & NLM_F_ACK != 0 || f.flags & NLM_F_DUMP == NLM_F_DUMP).collect();
        self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0)?;
        self.gather(first, wanted)
    }

    fn gather(&mut self, first: u32, mut wanted: Vec<bool>) -> io::Result<Answer> {
        let mut answer = Answer::default();
        while wanted.contains(&true) {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Some(message) = Message::split(&mut rest) {
                let index = message.sequence.wrapping_sub(first) as usize;
                let Some(want) = wanted.get_mut(index) else { continue };
                match message.kind {
                    NLMSG_ERROR => match message.refusal(index) {
                        Some(refusal) => {
                            // A batch that did not begin is not answered message by message.
                            let whole = !*want;
                            *want = false;
                            answer.refused.push(refusal);
                            if whole && index == 0 {
                                return Ok(answer);
                            }
                        }
                        None => *want = false,
                    },
                    NLMSG_DONE => *want = false,
                    kind => answer.data.push((index, kind, message.payload.to_vec())),
                }
            }
        }
        Ok(answer)
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    fn split(rest: &mut &'a [u8]) -> Option<Self> {
        let header = rest.get(..HEADER)?;
        let length = u32::from_ne_bytes(header[0..4].try_into().ok()?) as usize;
        let payload = rest.get(HEADER..length)?;
        let message = Self {
            kind: u16::from_ne_bytes(header[4..6].try_into().ok()?),
            flags: u16::from_ne_bytes(header[6..8].try_into().ok()?),
            sequence: u32::from_ne_bytes(header[8..12].try_into().ok()?),
            payload,
        };
        *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }

    /// None is an acknowledgement.
    fn refusal(&self, index: usize) -> Option<Refusal> {
        const NLMSGERR_ATTR_MSG: u16 = 1;
        let code = i32::from_ne_bytes(*self.payload.first_chunk()?);
        if code == 0 {
            return None;
        }
        let mut text = None;
        if self.flags & (NLM_F_ACK_TLVS | NLM_F_CAPPED) == NLM_F_ACK_TLVS | NLM_F_CAPPED {
            let attributes = self.payload.get(4 + HEADER..).unwrap_or_default();
            text = super::attributes::read(attributes)
                .into_iter()
                .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
                .map(|(_, v)| String::from_utf8_lossy(v).trim_end_matches('\0').to_owned());
        }
        Some(Refusal { index, error: io::Error::from_raw_os_error(-code), text })
    }
}
