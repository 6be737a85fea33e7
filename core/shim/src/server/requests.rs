//! Requests on `shim.sock`.

use std::os::fd::OwnedFd;

use nix::poll::PollFlags;
use sheave_shim::protocol::{Event, Exec, ExitRecord, Request, Response};
use sheave_shim::wire::{Frame, Kind};
use sheave_types::ErrorKind;

use super::Server;
use super::peer::Role;
use super::processes::{error, no_exec, not_running};
use super::task::{Progress, TaskId};

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
                Kind::Stdin => self.processes.push_input(peer, &frame.payload),
                _ => peer.broken = true,
            }
        }
        let Some(peer) = self.peers.get_mut(number) else { return };
        if peer.input_ended && had_input {
            self.processes.input_ended(peer);
        }
        let streams = matches!(peer.role, Role::Stream(..));
        peer.broken |= events.contains(PollFlags::POLLERR)
            || (peer.input_ended && (!streams || events.contains(PollFlags::POLLHUP)))
            || (events.contains(PollFlags::POLLHUP) && matches!(peer.role, Role::Waiting | Role::Events));
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
            Request::Attach(attach) => match self.processes.exit() {
                Some(record) => Some(Response::Exited(record)),
                None => {
                    let role = Role::Stream(TaskId::Init, attach);
                    self.peers.get_mut(number).map(|peer| peer.role = role).map(|()| Response::Attached)
                }
            },
            Request::Exec(exec) => self.exec(number, *exec, fds.pop()),
            Request::ExecState { id } => {
                Some(self.processes.execs.phase(&id).cloned().map_or_else(|| no_exec(&id), Response::ExecState))
            }
            Request::ExecForget { id } => Some(match self.processes.execs.forget(&id) {
                Some(true) => Response::Done,
                Some(false) => error(ErrorKind::Conflict, format!("exec {id} is running")),
                None => no_exec(&id),
            }),
            Request::Resize { exec, size } => Some(self.processes.resize(exec, size)),
            Request::Kill { signal, all } => Some(self.processes.kill(signal, all)),
            Request::KillExec { id, signal } => Some(self.processes.kill_exec(&id, signal)),
            Request::Pause => Some(self.processes.set_paused(true)),
            Request::Resume => Some(self.processes.set_paused(false)),
            Request::Update { resources } => Some(self.processes.update(&resources)),
            Request::State => Some(self.processes.state(self.peers.attached(&TaskId::Init))),
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

    fn exec(&mut self, number: u64, exec: Exec, filter: Option<OwnedFd>) -> Answer {
        if self.processes.execs.contains(&exec.id) {
            return Some(error(ErrorKind::Conflict, format!("exec {} exists already", exec.id)));
        }
        let Some(container) = self.processes.running() else { return Some(not_running()) };
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
                self.processes.execs.add(exec.id.clone(), task, number, exec.detach);
                if let Some(started) = started {
                    self.processes.execs.started(&exec.id, started, &mut self.peers);
                }
                None
            }
        }
    }

    fn wait_for_exit(&mut self, number: u64, role: Role, answer: impl FnOnce(ExitRecord) -> Response) -> Answer {
        if let Some(record) = self.processes.exit() {
            return Some(answer(record));
        }
        if let Some(peer) = self.peers.get_mut(number) {
            peer.role = role;
        }
        None
    }

    fn release(&mut self) -> Response {
        if self.processes.container.is_some() && self.processes.exit().is_none() {
            return error(ErrorKind::Conflict, "the container is running");
        }
        self.finished = true;
        Response::Done
    }
}
