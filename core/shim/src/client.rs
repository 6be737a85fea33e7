//! A blocking client of a shim, and the way to start one.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::protocol::{FromShim, Request, Response, SOCKET_FILE, ToShim};
use crate::wire::{self, Decoder, Frame, Kind};

/// A connection that carries frames.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    decoder: Decoder,
}

impl Connection {
    /// Connects to the shim of this directory (`<exec-root>/<id>`).
    pub fn open(dir: &Path) -> Result<Self> {
        let socket = UnixStream::connect(dir.join(SOCKET_FILE)).map_err(Error::Spawn)?;
        Ok(Self::new(socket))
    }

    /// A connection over a socket that is there already.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, decoder: Decoder::default() }
    }

    /// The socket, for a caller that polls; bytes that were read already are in [`Connection::into_parts`]'s decoder.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// The socket and what was received and not yet taken.
    pub fn into_parts(self) -> (UnixStream, Decoder) {
        (self.socket, self.decoder)
    }

    /// Sends a message with descriptors beside it.
    pub fn send<T: Serialize>(&mut self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.send_bytes(&wire::encode_message(message, fds.len())?, fds)
    }

    /// Sends bytes for stdin; none is the half-close.
    pub fn send_stdin(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return self.send_bytes(&wire::encode_chunk(Kind::Stdin, bytes), &[]);
        }
        bytes
            .chunks(wire::MAX_CHUNK)
            .try_for_each(|chunk| self.send_bytes(&wire::encode_chunk(Kind::Stdin, chunk), &[]))
    }

    /// Waits for a frame. Fails with [`Error::Closed`] at the end.
    pub fn receive(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            match wire::receive(self.socket.as_fd(), &mut self.decoder) {
                Ok(0) => return Err(Error::Closed),
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a message and the descriptors beside it.
    pub fn receive_message<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>)> {
        let frame = self.receive()?;
        Ok((frame.message()?, frame.fds))
    }

    /// Sends a request and waits for its answer; [`Response::Error`] becomes [`Error::Refused`].
    pub fn request(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(Response, Vec<OwnedFd>)> {
        self.send(request, fds)?;
        match self.receive_message()? {
            (Response::Error { kind, message }, _) => Err(Error::Refused { kind, message }),
            answer => Ok(answer),
        }
    }

    fn send_bytes(&mut self, mut bytes: &[u8], mut fds: &[BorrowedFd<'_>]) -> Result<()> {
        while !bytes.is_empty() {
            match wire::send(self.socket.as_fd(), bytes, fds) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    fds = &[];
                }
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A shim that was started here.
#[derive(Debug)]
pub struct Shim {
    /// The process.
    pub process: Process,
    /// The control socket.
    pub control: Connection,
    /// Its directory.
    pub dir: PathBuf,
}

impl Shim {
    /// Starts `program` for this directory, which exists, and waits until it listens.
    pub fn start(program: &Path, dir: &Path) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::Spawn)?;
        let process = spawn(program, dir, theirs.into())?;
        let mut control = Connection::new(ours);
        match control.receive_message()?.0 {
            FromShim::Listening => Ok(Self { process, control, dir: dir.to_owned() }),
            _ => Err(Error::Protocol("another message than Listening")),
        }
    }

    /// Sends a control message.
    pub fn send(&mut self, message: &ToShim, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.control.send(message, fds)
    }

    /// Waits for a control message.
    pub fn receive(&mut self) -> Result<FromShim> {
        Ok(self.control.receive_message()?.0)
    }
}

/// Starts a shim with `control` as its control socket, without waiting for it; blocks for the time of an exec only.
///
/// By `posix_spawn`, which does not copy the caller's memory map. The shim leads a session of its own; its stdin and
/// stdout are `/dev/null`, its stderr is the caller's, its environment is empty.
pub fn spawn(program: &Path, dir: &Path, control: OwnedFd) -> Result<Process> {
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|error| Error::Spawn(error.into()))?;
    let dir = CString::new(dir.as_os_str().as_bytes()).map_err(|error| Error::Spawn(error.into()))?;
    let arguments = [path.as_c_str(), c"--dir", dir.as_c_str()];
    let pid = crate::spawn::posix_spawn(&path, &arguments, control.as_fd()).map_err(Error::Spawn)?;
    let pidfd = crate::spawn::pidfd_open(pid).map_err(Error::Spawn)?;
    Ok(Process { pid, pidfd })
}

/// The program on a detached read-only mount of its own. Started from there (`/proc/self/fd/<n>` as the program of
/// [`spawn`]), the shim need not execute itself a second time to keep its file out of the containers' reach.
pub fn protect(program: &Path) -> Result<OwnedFd> {
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|error| Error::Spawn(error.into()))?;
    crate::spawn::read_only_copy(&path).map_err(Error::Spawn)
}

/// A shim's process, a child of the caller.
#[derive(Debug)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Readable once it has ended. It ends after `Release`, or without a container; the caller has to [`Self::wait`].
    pub pidfd: OwnedFd,
}

impl Process {
    /// Waits until it has ended, and removes it from the process table.
    pub fn wait(&self) -> Result<()> {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        loop {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
        }
    }
}
