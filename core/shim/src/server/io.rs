//! The shim's side of a process's standard streams.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;
use sheave_shim::protocol::{Attach, Stage, TerminalSize};

use crate::failure::{At, Step};
use crate::log::Stream;
use crate::setup::terminal::Streams;
use crate::sys;

/// What is read from stdout or stderr at once.
pub const CHUNK: usize = 64 << 10;

/// Clients are not read from while this much of their input waits for the process.
const MAX_PENDING: usize = 128 << 10;

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Read1 {
    /// This many bytes.
    Bytes(usize),
    /// Nothing for now.
    Empty,
    /// The end; the stream is closed.
    End,
}

/// The shim's ends of the standard streams.
#[derive(Debug, Default)]
pub struct Io {
    is_terminal: bool,
    size: TerminalSize,
    terminal: Option<File>,
    stdin: Option<File>,
    outputs: [Option<File>; 2],
    pending: VecDeque<u8>,
    close_when_written: bool,
}

impl Io {
    /// The process's streams and ours, for a terminal (which comes later) or for pipes where `carried` says so.
    pub fn new(terminal: Option<TerminalSize>, carried: Attach) -> Step<(Self, Streams)> {
        if let Some(size) = terminal {
            return Ok((Self { is_terminal: true, size, ..Self::default() }, Streams::Terminal(size)));
        }
        let steps = || -> sys::Result<(Self, Streams)> {
            let (stdin, our_stdin) = input(carried.stdin)?;
            let (stdout, our_stdout) = output(carried.stdout)?;
            let (stderr, our_stderr) = output(carried.stderr)?;
            let outputs = [our_stdout, our_stderr];
            Ok((Self { stdin: our_stdin, outputs, ..Self::default() }, Streams::Pipes([stdin, stdout, stderr])))
        };
        steps().at(Stage::Stdio, || "making pipes".into())
    }

    /// Takes the master side of the terminal.
    pub fn set_terminal(&mut self, master: OwnedFd) {
        // It was opened without blocking; a size asked for meanwhile is the newer one.
        if self.size != TerminalSize::default() {
            let _ = sys::set_terminal_size(master.as_fd(), self.size.height, self.size.width);
        }
        self.terminal = Some(File::from(master));
    }

    /// Whether there is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Sets the size of the terminal.
    pub fn resize(&mut self, size: TerminalSize) -> sys::Result<()> {
        self.size = size;
        match &self.terminal {
            Some(terminal) => sys::set_terminal_size(terminal.as_fd(), size.height, size.width),
            None if self.is_terminal => Ok(()),
            None => Err(Errno::ENOTTY),
        }
    }

    /// A stream that can be read, for polling.
    pub fn output_fd(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        self.output(stream).map(File::as_fd)
    }

    /// stdin, for polling, while there is something to write.
    pub fn input_fd(&self) -> Option<BorrowedFd<'_>> {
        let file = if self.is_terminal { &self.terminal } else { &self.stdin };
        file.as_ref().filter(|_| !self.pending.is_empty()).map(File::as_fd)
    }

    /// Whether clients may send more input.
    pub fn takes_input(&self) -> bool {
        self.pending.len() < MAX_PENDING
    }

    fn output(&self, stream: Stream) -> Option<&File> {
        match stream {
            Stream::Stdout if self.is_terminal => self.terminal.as_ref(),
            _ => self.outputs[stream as usize].as_ref(),
        }
    }

    /// Reads once, without blocking.
    pub fn read(&mut self, stream: Stream, buffer: &mut [u8]) -> Read1 {
        let Some(mut file) = self.output(stream) else { return Read1::End };
        match file.read(buffer) {
            Ok(0) => {}
            Ok(count) => return Read1::Bytes(count),
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => return Read1::Empty,
                // EIO: nobody has the terminal open any more.
                _ => {}
            },
        }
        if self.is_terminal {
            self.terminal = None;
        } else {
            self.outputs[stream as usize] = None;
        }
        Read1::End
    }

    /// Whether output can still come.
    pub fn is_open(&self) -> bool {
        self.terminal.is_some() || self.outputs.iter().any(Option::is_some)
    }

    /// Takes input for the process.
    pub fn push_input(&mut self, bytes: &[u8]) {
        if self.is_terminal || (self.stdin.is_some() && !self.close_when_written) {
            self.pending.extend(bytes);
            self.write_input();
        }
    }

    /// Closes stdin once what is pending is written. A terminal has no end of input.
    pub fn close_input(&mut self) {
        if !self.is_terminal {
            self.close_when_written = true;
            self.write_input();
        }
    }

    /// Writes what is pending, as far as that goes without blocking.
    pub fn write_input(&mut self) {
        let file = if self.is_terminal { &mut self.terminal } else { &mut self.stdin };
        while let (false, Some(open)) = (self.pending.is_empty(), file.as_mut()) {
            match open.write(self.pending.as_slices().0) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // Nobody reads it any more.
                Err(_) => {
                    self.pending.clear();
                    if !self.is_terminal {
                        *file = None;
                    }
                }
            }
        }
        if self.pending.is_empty() {
            self.pending.shrink_to(4096);
            if self.close_when_written {
                self.stdin = None;
            }
        }
    }

    /// Closes stdin and forgets what is pending: the process has ended.
    pub fn drop_input(&mut self) {
        self.stdin = None;
        self.pending = VecDeque::new();
    }
}

fn null(flags: OFlag) -> sys::Result<OwnedFd> {
    open("/dev/null", flags | OFlag::O_CLOEXEC, Mode::empty())
}

fn without_blocking(fd: OwnedFd) -> sys::Result<File> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(File::from(fd))
}

fn input(carried: bool) -> sys::Result<(OwnedFd, Option<File>)> {
    if !carried {
        return Ok((null(OFlag::O_RDONLY)?, None));
    }
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((theirs, Some(without_blocking(ours)?)))
}

fn output(carried: bool) -> sys::Result<(OwnedFd, Option<File>)> {
    if !carried {
        return Ok((null(OFlag::O_WRONLY)?, None));
    }
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((theirs, Some(without_blocking(ours)?)))
}
