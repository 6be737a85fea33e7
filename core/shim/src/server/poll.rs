//! Waiting for whatever comes next.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Server;
use super::task::{Progress, Task, TaskId};
use crate::cgroup::OomWatch;
use crate::log::Stream;

/// How often an ended container's shim looks whether its directory was removed.
const LOOK: Duration = Duration::from_secs(5);

/// What is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A new connection.
    Listener,
    /// A child ended.
    Signals,
    /// The daemon's socket.
    Control,
    /// Want of memory.
    Oom,
    /// A connection.
    Peer(u64),
    /// A report of a child.
    Reports(TaskId),
    /// The end of a process.
    Ended(TaskId),
    /// Output of a process.
    Output(TaskId, Stream),
    /// Room for input of a process.
    Input(TaskId),
}

/// Waits until something is ready, or is due.
pub fn wait(server: &Server) -> Vec<(Token, PollFlags)> {
    let mut tokens = vec![Token::Listener, Token::Signals];
    let mut fds = vec![
        PollFd::new(server.listener.as_fd(), PollFlags::POLLIN),
        PollFd::new(server.signals.as_fd(), PollFlags::POLLIN),
    ];
    let mut add = |token, fd, events| {
        tokens.push(token);
        fds.push(PollFd::new(fd, events));
    };
    if let Some(control) = server.control.fd() {
        add(Token::Control, control, PollFlags::POLLIN);
    }
    match server.processes.container.as_ref().and_then(|container| container.oom.as_ref()) {
        Some(OomWatch::Event(event)) => add(Token::Oom, event.as_fd(), PollFlags::POLLIN),
        Some(OomWatch::File(file)) => add(Token::Oom, file.as_fd(), PollFlags::POLLPRI),
        None => {}
    }
    let mut deadline: Option<Instant> = None;
    for (id, task) in server.processes.tasks() {
        add_task(&mut add, &id, task);
        if let Progress::Draining(until) = task.progress {
            deadline = Some(deadline.map_or(until, |other| other.min(until)));
        }
    }
    for (number, peer) in server.peers.iter() {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, !peer.input_ended && server.processes.takes_input(peer));
        events.set(PollFlags::POLLOUT, peer.wants_to_write());
        add(Token::Peer(number), peer.fd(), events);
    }
    if server.processes.exit().is_some() {
        // Nobody may ever say `Release`: look whether the directory is still there.
        let look = Instant::now() + LOOK;
        deadline = Some(deadline.map_or(look, |other| other.min(look)));
    }
    let timeout = deadline.map_or(PollTimeout::NONE, |until| {
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    // An interrupted poll has found nothing.
    let _ = poll(&mut fds, timeout);
    let ready = tokens.into_iter().zip(fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())));
    ready.filter(|(_, events)| !events.is_empty()).collect()
}

fn add_task<'a>(add: &mut impl FnMut(Token, BorrowedFd<'a>, PollFlags), id: &TaskId, task: &'a Task) {
    if let Some(channel) = &task.channel {
        add(Token::Reports(id.clone()), channel.fd().as_fd(), PollFlags::POLLIN);
    }
    if task.ended.is_none() {
        add(Token::Ended(id.clone()), task.pidfd.as_fd(), PollFlags::POLLIN);
    }
    if task.progress != Progress::SettingUp {
        // Before, `Started` has to be said; a pipe keeps what comes meanwhile.
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(fd) = task.io.output_fd(stream) {
                add(Token::Output(id.clone(), stream), fd, PollFlags::POLLIN);
            }
        }
        if let Some(fd) = task.io.input_fd() {
            add(Token::Input(id.clone()), fd, PollFlags::POLLOUT);
        }
    }
}
