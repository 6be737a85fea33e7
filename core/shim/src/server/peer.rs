//! Connections of `shim.sock`, and what waits to be sent on them.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use sheave_shim::protocol::{Attach, Response};
use sheave_shim::wire::{self, Decoder, Frame, Kind};

use super::task::TaskId;

/// As much is kept in memory for a client that does not read; more goes to a file without a name.
const IN_MEMORY: usize = 256 << 10;

/// A client that is this far behind is cut off.
const MAX_BEHIND: u64 = 1 << 30;

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It sends requests.
    Requests,
    /// It sent a request that is answered later; further ones have to wait.
    Waiting,
    /// It streams the standard streams of a process.
    Stream(TaskId, Attach),
    /// It is told events.
    Events,
}

/// A connection.
#[derive(Debug)]
pub struct Peer {
    socket: UnixStream,
    decoder: Decoder,
    outbox: Outbox,
    /// What it is for.
    pub role: Role,
    /// Whether nothing more will be read from it.
    pub input_ended: bool,
    /// Whether it is closed once everything is sent.
    pub closing: bool,
    /// Whether it is of no more use.
    pub broken: bool,
}

impl Peer {
    /// A new connection; `spill` is a directory for what a slow client has not read.
    pub fn new(socket: UnixStream, spill: PathBuf) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            outbox: Outbox { memory: VecDeque::new(), file: None, read: 0, written: 0, spill },
            role: Role::Requests,
            input_ended: false,
            closing: false,
            broken: false,
        })
    }

    /// For polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something waits to be sent.
    pub fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether everything is done for it.
    pub fn is_done(&self) -> bool {
        self.broken || (self.closing && self.outbox.is_empty())
    }

    /// Reads once, without blocking.
    pub fn read(&mut self) {
        match wire::receive(self.socket.as_fd(), &mut self.decoder) {
            Ok(0) => self.input_ended = true,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.broken = true,
        }
    }

    /// The next frame that is there as a whole.
    pub fn next_frame(&mut self) -> Option<Frame> {
        match self.decoder.next_frame() {
            Ok(frame) => frame,
            Err(_) => {
                self.broken = true;
                None
            }
        }
    }

    /// Sends a message, now or when the socket takes it.
    pub fn send(&mut self, response: &Response) {
        match wire::encode_message(response, 0) {
            Ok(bytes) => self.push(&bytes),
            Err(_) => self.broken = true,
        }
    }

    /// Sends a message with descriptors. They cannot wait, so nothing else may.
    pub fn send_with(&mut self, response: &Response, fds: &[OwnedFd]) {
        let sent =
            wire::encode_message(response, fds.len()).ok().filter(|_| self.outbox.is_empty()).and_then(|bytes| {
                let count = wire::send(self.socket.as_fd(), &bytes, &wire::borrow(fds)).ok()?;
                Some(bytes[count..].to_vec())
            });
        match sent {
            Some(rest) => self.push(&rest),
            None => self.broken = true,
        }
    }

    /// Sends a piece of a stream.
    pub fn send_chunk(&mut self, kind: Kind, bytes: &[u8]) {
        let mut frame = [0; wire::HEADER].to_vec();
        frame.copy_from_slice(&wire::header(kind, bytes.len(), 0));
        frame.extend_from_slice(bytes);
        self.push(&frame);
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        if self.outbox.push(bytes).is_err() {
            self.broken = true;
            return;
        }
        self.flush();
    }

    /// Sends what waits, as far as that goes without blocking.
    pub fn flush(&mut self) {
        while !self.outbox.is_empty() {
            match wire::send(self.socket.as_fd(), self.outbox.first(), &[]) {
                Ok(count) => {
                    if self.outbox.consume(count).is_err() {
                        self.broken = true;
                        return;
                    }
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }
}

/// Bytes in order: first those in memory, then those in the file.
#[derive(Debug)]
struct Outbox {
    memory: VecDeque<u8>,
    file: Option<File>,
    read: u64,
    written: u64,
    spill: PathBuf,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    fn first(&self) -> &[u8] {
        self.memory.as_slices().0
    }

    fn push(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() && self.memory.len() + bytes.len() <= IN_MEMORY {
            self.memory.extend(bytes);
            return Ok(());
        }
        if self.written - self.read > MAX_BEHIND {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(nameless_file(&self.spill)?),
        };
        file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn consume(&mut self, count: usize) -> std::io::Result<()> {
        self.memory.drain(..count);
        if !self.memory.is_empty() {
            return Ok(());
        }
        if let Some(file) = &self.file {
            let length = (self.written - self.read).min(IN_MEMORY as u64) as usize;
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, self.read)?;
            self.memory = piece.into();
            self.read += length as u64;
        }
        if self.read == self.written {
            (self.file, self.read, self.written) = (None, 0, 0);
        }
        self.memory.shrink_to(CHUNKS);
        Ok(())
    }
}

/// Memory that an idle connection may keep.
const CHUNKS: usize = 4 << 10;

fn nameless_file(dir: &Path) -> std::io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(dir)
}

/// The directory for what slow clients have not read.
pub fn spill_directory(log: Option<&Path>, dir: &Path) -> PathBuf {
    // The log's directory is on a disk; the shim's own is memory.
    log.and_then(Path::parent).unwrap_or(dir).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_slow_client_gets_everything_in_order() {
        let dir = tempfile::tempdir().expect("directory");
        let (ours, mut theirs) = UnixStream::pair().expect("pair");
        let mut peer = Peer::new(ours, dir.path().to_owned()).expect("peer");
        let chunk: Vec<u8> = (0..60_000u32).map(|number| (number % 251) as u8).collect();
        for _ in 0..50 {
            peer.send_chunk(Kind::Stdout, &chunk);
        }
        assert!(peer.outbox.file.is_some() && peer.outbox.memory.len() <= IN_MEMORY);
        let mut received = vec![0; 50 * (chunk.len() + wire::HEADER)];
        let mut at = 0;
        while at < received.len() {
            at += theirs.read(&mut received[at..]).expect("read");
            peer.flush();
        }
        assert!(!peer.wants_to_write() && peer.outbox.file.is_none() && !peer.broken);
        for frame in received.chunks(chunk.len() + wire::HEADER) {
            assert_eq!(&frame[wire::HEADER..], chunk);
        }
        drop(theirs);
        peer.send(&Response::Done);
        assert!(peer.broken);
    }
}
