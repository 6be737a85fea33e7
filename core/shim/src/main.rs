//! `sheave-shim --dir <exec-root>/<id>`: one container's parent. Started by the daemon, and outlives it.
//!
//! One thread and no runtime. See the library's `protocol` for what it is told and what it answers.

mod cgroup;
mod failure;
mod log;
mod protect;
mod record;
mod root;
mod server;
mod setup;
mod sys;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use sheave_shim::protocol::{CONTROL_FD, SOCKET_FILE};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, option, dir] = arguments.as_slice() else {
        eprintln!("usage: sheave-shim --dir <directory>, with the control socket as descriptor {CONTROL_FD}");
        return ExitCode::from(2);
    };
    if option != "--dir" {
        eprintln!("sheave-shim: unknown option {option}");
        return ExitCode::from(2);
    }
    match start(PathBuf::from(dir), &arguments) {
        Ok(server) => {
            server.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sheave-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(dir: PathBuf, arguments: &[String]) -> io::Result<server::Server> {
    protect::run_from_read_only_mount(arguments)?;
    let control = take_control()?;
    sys::close_on_exec_from(CONTROL_FD as u32)?;
    // Already so where the daemon made the session.
    let _ = nix::unistd::setsid();
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)?;
    // Until its exec a child is a copy of us: nothing in the container may look into it.
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
    nix::unistd::chdir("/")?;
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let listener = listen(&dir)?;
    server::Server::new(dir, listener, signals, control)
}

fn take_control() -> io::Result<UnixStream> {
    // SAFETY: the daemon gave us this descriptor, and nobody else here uses its number; a wrong one fails below.
    let control = UnixStream::from(unsafe { OwnedFd::from_raw_fd(CONTROL_FD) });
    control.peer_addr()?;
    Ok(control)
}

fn listen(dir: &std::path::Path) -> io::Result<UnixListener> {
    let path = dir.join(SOCKET_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    umask(Mode::from_bits_truncate(0o077));
    let listener = UnixListener::bind(&path);
    umask(Mode::from_bits_truncate(0o022));
    listener
}
