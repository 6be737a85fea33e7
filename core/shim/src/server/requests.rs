//! Requests on `shim.sock`.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::PollFlags;
use oci_spec::runtime::LinuxResources;
use sheave_shim::protocol::{ContainerState, Event, Exec, Phase, Request, Response, TerminalSize};
use sheave_shim::wire::{Frame, Kind};
use sheave_types::ErrorKind;

use super::Server;
use super::container::Container;
use super::peer::Role;
use super::task::{Progress, TaskId};
use crate::failure::words;
use crate::setup::supported;
use crate::sys;

fn error(kind: ErrorKind, message: impl Into<String>) -> Response {
    Response::Error { kind, message: message.into() }
}

fn done(result: sys::Result<()>, what: &str) -> Response {
    match result {
        Ok(()) => Response::Done,
        Err(errno @ nix::Error::ESRCH) => error(ErrorKind::Conflict, format!("{what}: {}", words(errno))),
        Err(errno @ nix::Error::EINVAL) => error(ErrorKind::Invalid, format!("{what}: {}", words(errno))),
        Err(errno) => error(ErrorKind::Internal, format!("{what}: {}", words(errno))),
    }
}

fn not_running() -> Response {
    error(ErrorKind::Conflict, "the container is not running")
}

fn no_exec(id: &str) -> Response {
    error(ErrorKind::NotFound, format!("No such exec instance: {id}"))
}

/// The answer, unless it comes later or was given already.
type Answer = Option<Response>;

impl Server {
    /// Does what a connection is ready for.
    pub(super) fn serve(&mut self, number: u64, events: PollFlags) {
        let Some(peer) = self.peers.get_mut(number) else { return };
        let had_input = !peer.input_ended;
        if events.contains(PollFlags::POLLOUT) {
            peer.flush();
        }
        if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) && !peer.input_ended {
            peer.read();
        }
        while let Some(peer) = self.peers.get_mut(number) {
            // What comes behind a request that is answered later has to wait.
            let waits = matches!(peer.role, Role::Waiting | Role::Events);
            let Some(frame) = (!waits && !peer.closing).then(|| peer.next_frame()).flatten() else { break };
            match frame.kind {
                Kind::Message if peer.role == Role::Requests => self.request(number, frame),
                Kind::Stdin => self.stdin(number, &frame.payload),
                _ => peer.broken = true,
            }
        }
        let Some(peer) = self.peers.get_mut(number) else { return };
        if peer.input_ended && had_input {
            Self::stdin_ended(&mut self.container, &mut self.execs, peer);
        }
        let streams = matches!(peer.role, Role::Stream(..));
        peer.broken |= events.contains(PollFlags::POLLERR)
            || (peer.input_ended && (!streams || events.contains(PollFlags::POLLHUP)))
            || (events.contains(PollFlags::POLLHUP) && matches!(peer.role, Role::Waiting | Role::Events));
    }

    fn stdin(&mut self, number: u64, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(number) else { return };
        let Role::Stream(id, attach) = peer.role.clone() else {
            peer.broken = true;
            return;
        };
        if bytes.is_empty() {
            return Self::stdin_ended(&mut self.container, &mut self.execs, peer);
        }
        if attach.stdin
            && let Some(task) = Self::task_mut(&mut self.container, &mut self.execs, &id)
        {
            task.io.push_input(bytes);
        }
    }

    fn request(&mut self, number: u64, frame: Frame) {
        let answer = match frame.message::<Request>() {
            Ok(request) => self.answer(number, request, frame.fds),
            Err(failed) => Some(error(ErrorKind::Unsupported, failed.to_string())),
        };
        if let (Some(answer), Some(peer)) = (answer, self.peers.get_mut(number)) {
            peer.send(&answer);
        }
    }

    fn answer(&mut self, number: u64, request: Request, mut fds: Vec<OwnedFd>) -> Answer {
        match request {
            Request::Attach(attach) => match self.exit() {
                Some(record) => Some(Response::Exited(record)),
                None => {
                    let role = Role::Stream(TaskId::Init, attach);
                    self.peers.get_mut(number).map(|peer| peer.role = role).map(|()| Response::Attached)
                }
            },
            Request::Exec(exec) => self.exec(number, *exec, fds.pop()),
            Request::ExecState { id } => {
                Some(self.execs.phase(&id).cloned().map_or_else(|| no_exec(&id), Response::ExecState))
            }
            Request::ExecForget { id } => Some(match self.execs.forget(&id) {
                Some(true) => Response::Done,
                Some(false) => error(ErrorKind::Conflict, format!("exec {id} is running")),
                None => no_exec(&id),
            }),
            Request::Resize { exec, size } => Some(self.resize(exec, size)),
            Request::Kill { signal, all } => Some(self.kill(signal, all)),
            Request::KillExec { id, signal } => Some(match self.execs.task(&id) {
                Some(task) if task.ended.is_none() => {
                    done(sys::pidfd_send_signal(task.pidfd.as_fd(), signal), "killing the exec")
                }
                Some(_) => error(ErrorKind::Conflict, format!("exec {id} is not running")),
                None => no_exec(&id),
            }),
            Request::Pause => Some(self.set_paused(true)),
            Request::Resume => Some(self.set_paused(false)),
            Request::Update { resources } => Some(self.update(&resources)),
            Request::State => Some(self.state()),
            Request::Wait => self.wait_for_exit(number, Role::Waiting, Response::Exited),
            Request::Events => {
                let last = |record| Response::Event(Event::Exited(record));
                let answer = self.wait_for_exit(number, Role::Events, last);
                if answer.is_some()
                    && let Some(peer) = self.peers.get_mut(number)
                {
                    peer.closing = true;
                }
                answer
            }
            Request::DnsSockets => {
                let answer = Response::DnsSockets(self.network.dns_sockets.len() as u8);
                if let Some(peer) = self.peers.get_mut(number) {
                    peer.send_with(&answer, &self.network.dns_sockets);
                }
                None
            }
            Request::Release => Some(self.release()),
        }
    }

    fn exit(&self) -> Option<sheave_shim::protocol::ExitRecord> {
        self.container.as_ref().and_then(|container| container.exit)
    }

    /// The container while its program runs.
    fn running(&mut self) -> Option<&mut Container> {
        self.container
            .as_mut()
            .filter(|container| container.task.progress == Progress::Running && container.task.ended.is_none())
    }

    fn exec(&mut self, number: u64, exec: Exec, filter: Option<OwnedFd>) -> Answer {
        if self.execs.contains(&exec.id) {
            return Some(error(ErrorKind::Conflict, format!("exec {} exists already", exec.id)));
        }
        let Some(container) = self.running() else { return Some(not_running()) };
        if container.paused {
            return Some(error(ErrorKind::Conflict, "the container is paused"));
        }
        match container.exec(&exec, filter) {
            Err(failed) => Some(Response::ExecFailed(failed)),
            Ok(task) => {
                let peer = self.peers.get_mut(number)?;
                peer.role = match exec.detach {
                    true => Role::Waiting,
                    false => Role::Stream(TaskId::Exec(exec.id.clone()), exec.attach),
                };
                let started = (task.progress == Progress::Running).then(|| task.started());
                self.execs.add(exec.id.clone(), task, number, exec.detach);
                if let Some(started) = started {
                    self.execs.started(&exec.id, started, &mut self.peers);
                }
                None
            }
        }
    }

    fn resize(&mut self, exec: Option<String>, size: TerminalSize) -> Response {
        let id = exec.map_or(TaskId::Init, TaskId::Exec);
        match Self::task_mut(&mut self.container, &mut self.execs, &id).map(|task| task.io.resize(size)) {
            Some(Ok(())) => Response::Done,
            Some(Err(nix::Error::ENOTTY)) => error(ErrorKind::Conflict, "there is no terminal"),
            Some(Err(errno)) => error(ErrorKind::Internal, words(errno)),
            None => match id {
                TaskId::Init => not_running(),
                TaskId::Exec(id) => no_exec(&id),
            },
        }
    }

    fn kill(&mut self, number: i32, all: bool) -> Response {
        let Some(container) = self.running() else { return not_running() };
        let result = match (&container.cgroups, all) {
            (Some(cgroups), true) => cgroups.signal_all(number),
            _ => sys::pidfd_send_signal(container.task.pidfd.as_fd(), number),
        };
        if result.is_ok() && number == libc::SIGKILL && container.paused {
            // The frozen do not die.
            container.paused = false;
            if let Some(cgroups) = &container.cgroups {
                return done(cgroups.thaw(), "thawing");
            }
        }
        done(result, "killing the container")
    }

    fn set_paused(&mut self, paused: bool) -> Response {
        let Some(container) = self.running() else { return not_running() };
        if container.paused == paused {
            let state = if paused { "already paused" } else { "not paused" };
            return error(ErrorKind::Conflict, format!("the container is {state}"));
        }
        let Some(cgroups) = &container.cgroups else { return not_running() };
        let result = if paused { cgroups.freeze() } else { cgroups.thaw() };
        if result.is_ok() {
            container.paused = paused;
        }
        done(result, if paused { "freezing" } else { "thawing" })
    }

    fn update(&mut self, resources: &LinuxResources) -> Response {
        let Some(container) = self.running() else { return not_running() };
        let Some(cgroups) = &container.cgroups else { return not_running() };
        match supported::check_resources(resources).and_then(|()| cgroups.update(resources)) {
            Ok(()) => Response::Done,
            Err(failed) => error(ErrorKind::Internal, failed.message),
        }
    }

    fn state(&self) -> Response {
        let Some(container) = &self.container else {
            return Response::State(Box::new(ContainerState {
                id: String::new(),
                phase: Phase::Starting,
                pid: 0,
                start_time: 0,
                oom_killed: false,
                attached: self.peers.attached(&TaskId::Init),
                lost_log_records: 0,
                execs: self.execs.phases(),
            }));
        };
        let phase = match (container.exit, container.task.progress) {
            (Some(record), _) => Phase::Exited(record),
            (None, Progress::SettingUp) => Phase::Starting,
            (None, _) if container.paused => Phase::Paused,
            (None, _) => Phase::Running,
        };
        Response::State(Box::new(ContainerState {
            id: container.settings.id.clone(),
            phase,
            pid: container.task.pid,
            start_time: container.task.start_time,
            oom_killed: container.oom_killed(),
            attached: self.peers.attached(&TaskId::Init),
            lost_log_records: container.log.as_ref().map_or(0, crate::log::Log::lost),
            execs: self.execs.phases(),
        }))
    }

    fn wait_for_exit(
        &mut self,
        number: u64,
        role: Role,
        answer: impl FnOnce(sheave_shim::protocol::ExitRecord) -> Response,
    ) -> Answer {
        if let Some(record) = self.exit() {
            return Some(answer(record));
        }
        if let Some(peer) = self.peers.get_mut(number) {
            peer.role = role;
        }
        None
    }

    fn release(&mut self) -> Response {
        if self.container.is_some() && self.exit().is_none() {
            return error(ErrorKind::Conflict, "the container is running");
        }
        self.finished = true;
        Response::Done
    }
}
