//! The container and its execs, and the requests that concern nobody else.

use std::os::fd::AsFd;

use oci_spec::runtime::LinuxResources;
use sheave_shim::protocol::{ContainerState, ExitRecord, Phase, Response, TerminalSize};
use sheave_types::ErrorKind;

use super::container::Container;
use super::execs::Execs;
use super::peer::{Peer, Role};
use super::task::{Progress, Task, TaskId};
use crate::failure::words;
use crate::setup::supported;
use crate::sys;

/// A refusal.
pub fn error(kind: ErrorKind, message: impl Into<String>) -> Response {
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

/// The refusal of what needs a running container.
pub fn not_running() -> Response {
    error(ErrorKind::Conflict, "the container is not running")
}

/// The words of Docker for an exec that is not there.
pub fn no_exec(id: &str) -> Response {
    error(ErrorKind::NotFound, format!("No such exec instance: {id}"))
}

/// The processes of the container.
#[derive(Debug, Default)]
pub struct Processes {
    /// The container, once it is launched.
    pub container: Option<Container>,
    /// Its execs.
    pub execs: Execs,
}

impl Processes {
    /// Every process that the shim made and knows.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.container.iter().map(|container| (TaskId::Init, &container.task)).chain(self.execs.tasks())
    }

    /// Whether a client may send more.
    pub fn takes_input(&self, peer: &Peer) -> bool {
        match &peer.role {
            Role::Requests => true,
            Role::Stream(id, _) => self.task(id).is_none_or(|task| task.io.takes_input()),
            // The end of the connection is still seen as a hang-up.
            Role::Waiting | Role::Events => false,
        }
    }

    /// A process.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        match id {
            TaskId::Init => self.container.as_ref().map(|container| &container.task),
            TaskId::Exec(id) => self.execs.task(id),
        }
    }

    /// A process.
    pub fn task_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        match id {
            TaskId::Init => self.container.as_mut().map(|container| &mut container.task),
            TaskId::Exec(id) => self.execs.task_mut(id),
        }
    }

    /// Signals an exec.
    pub fn kill_exec(&self, id: &str, signal: i32) -> Response {
        match self.execs.task(id) {
            Some(task) if task.ended.is_none() => {
                done(sys::pidfd_send_signal(task.pidfd.as_fd(), signal), "killing the exec")
            }
            None if self.execs.phase(id).is_none() => no_exec(id),
            _ => error(ErrorKind::Conflict, format!("exec {id} is not running")),
        }
    }

    /// Takes bytes for stdin from a client; none is the half-close.
    pub fn push_input(&mut self, peer: &mut Peer, bytes: &[u8]) {
        let Role::Stream(id, attach) = &peer.role else {
            peer.broken = true;
            return;
        };
        if bytes.is_empty() {
            return self.input_ended(peer);
        }
        if attach.stdin
            && let Some(task) = self.task_mut(id)
        {
            task.io.push_input(bytes);
        }
    }

    /// A client that wrote stdin has half-closed or is gone.
    pub fn input_ended(&mut self, peer: &Peer) {
        let Role::Stream(id, attach) = &peer.role else { return };
        let closes = match id {
            TaskId::Init => self.container.as_ref().is_some_and(|container| container.settings.stdin_once),
            TaskId::Exec(_) => true,
        };
        if attach.stdin
            && closes
            && let Some(task) = self.task_mut(id)
        {
            task.io.close_input();
        }
    }

    /// How the container ended.
    pub fn exit(&self) -> Option<ExitRecord> {
        self.container.as_ref().and_then(|container| container.exit)
    }

    /// The container while its program runs.
    pub fn running(&mut self) -> Option<&mut Container> {
        self.container
            .as_mut()
            .filter(|container| container.task.progress == Progress::Running && container.task.ended.is_none())
    }

    /// Sets the size of a terminal.
    pub fn resize(&mut self, exec: Option<String>, size: TerminalSize) -> Response {
        let id = exec.map_or(TaskId::Init, TaskId::Exec);
        match self.task_mut(&id).map(|task| task.io.resize(size)) {
            Some(Ok(())) => Response::Done,
            Some(Err(nix::Error::ENOTTY)) => error(ErrorKind::Conflict, "there is no terminal"),
            Some(Err(errno)) => error(ErrorKind::Internal, words(errno)),
            None => match id {
                TaskId::Init => not_running(),
                TaskId::Exec(id) => no_exec(&id),
            },
        }
    }

    /// Signals the container.
    pub fn kill(&mut self, number: i32, all: bool) -> Response {
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

    /// Freezes or thaws the container.
    pub fn set_paused(&mut self, paused: bool) -> Response {
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

    /// Changes limits.
    pub fn update(&mut self, resources: &LinuxResources) -> Response {
        let Some(container) = self.running() else { return not_running() };
        let Some(cgroups) = &container.cgroups else { return not_running() };
        match supported::check_resources(resources).and_then(|()| cgroups.update(resources)) {
            Ok(()) => Response::Done,
            Err(failed) => error(ErrorKind::Internal, failed.message),
        }
    }

    /// How the container stands, with this many clients attached.
    pub fn state(&self, attached: u32) -> Response {
        let Some(container) = &self.container else {
            return Response::State(Box::new(ContainerState {
                id: String::new(),
                phase: Phase::Starting,
                pid: 0,
                start_time: 0,
                oom_killed: false,
                attached,
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
            attached,
            lost_log_records: container.log.as_ref().map_or(0, crate::log::Log::lost),
            execs: self.execs.phases(),
        }))
    }
}
