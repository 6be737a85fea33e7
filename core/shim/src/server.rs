//! The shim's event loop: one thread, one poll.
//!
//! ```text
//! waiting for Launch ─► setting up ─► running ─► draining ─► ended ─► released
//!        │                  │                                  (clean-up after the announcement)
//!        └── control gone ──┴─► undone, the shim ends
//! ```

pub mod container;
mod control;
mod execs;
mod external;
pub mod io;
mod peer;
mod peers;
mod poll;
mod processes;
mod requests;
pub mod task;

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signalfd::SignalFd;
use sheave_shim::protocol::{
    Event, Failure, FromShim, Launch, ROOTFS_DIR, Response, SOCKET_FILE, STATE_FILE, Stage, ToShim,
};
use sheave_shim::wire::{Frame, Kind};
use sheave_types::ErrorKind;

use crate::cgroup::OomWatch;
use crate::failure::failure;
use crate::log::{self, Stream};
use crate::sys;
use container::Container;
use control::Control;
use external::External;
use io::Read1;
use peer::{Peer, spill_directory};
use peers::Peers;
use poll::Token;
use processes::Processes;
use task::{Outcome, Progress, TaskId};

/// How long output of a terminal is waited for when its process has ended.
const DRAIN: Duration = Duration::from_millis(500);

/// What came with the network.
#[derive(Default)]
struct Network {
    /// Whether it came, and was not used yet.
    is_ready: bool,
    netns: Option<OwnedFd>,
    dns_sockets: Vec<OwnedFd>,
}

/// The shim.
pub struct Server {
    dir: PathBuf,
    listener: UnixListener,
    signals: SignalFd,
    control: Control,
    peers: Peers,
    processes: Processes,
    external: Option<(Box<Launch>, External)>,
    network: Network,
    finished: bool,
}

impl Server {
    /// A shim that listens.
    pub fn new(dir: PathBuf, listener: UnixListener, signals: SignalFd, control: UnixStream) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut server = Self {
            dir,
            listener,
            signals,
            control: Control::new(control),
            peers: Peers::default(),
            processes: Processes::default(),
            external: None,
            network: Network::default(),
            finished: false,
        };
        server.control.tell(&FromShim::Listening);
        Ok(server)
    }

    /// Serves until the container is released, or cannot be set up.
    pub fn run(mut self) {
        while !self.finished {
            for (token, events) in poll::wait(&self) {
                self.handle(token, events);
            }
            self.end_of_drain();
            self.finished |= self.processes.exit().is_some() && !self.dir.exists();
            self.processes.execs.sweep();
            self.peers.sweep(|peer| self.processes.input_ended(peer));
        }
        self.peers.flush_all();
        let _ = std::fs::remove_file(self.dir.join(SOCKET_FILE));
    }

    fn handle(&mut self, token: Token, events: PollFlags) {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.reap_strays(),
            Token::Control => self.read_control(),
            Token::Oom => self.out_of_memory(),
            Token::Peer(number) => self.serve(number, events),
            Token::Reports(id) => self.take_reports(&id),
            Token::Ended(id) => self.ended(&id),
            Token::Output(id, stream) => {
                self.pump(&id, stream);
            }
            Token::Input(id) => {
                if let Some(task) = self.processes.task_mut(&id) {
                    task.io.write_input();
                }
            }
        }
    }

    fn accept(&mut self) {
        let log = self.processes.container.as_ref().and_then(|container| container.log.as_ref()).map(log::Log::path);
        let spill = spill_directory(log, &self.dir);
        if let Ok((socket, _)) = self.listener.accept()
            && let Ok(peer) = Peer::new(socket, spill)
        {
            self.peers.add(peer);
        }
    }

    /// A signal is only the hint to look: what is reaped here are processes that came to us as a subreaper.
    fn reap_strays(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Some(pid) = sys::any_ended() {
            let found = self.processes.tasks().find(|(_, task)| task.pid == pid && task.ended.is_none());
            match found.map(|(id, _)| id) {
                Some(id) => self.ended(&id),
                None => sys::reap_pid(pid),
            }
        }
    }

    fn read_control(&mut self) {
        let (frames, is_lost) = self.control.receive();
        frames.into_iter().for_each(|frame| self.control_message(frame));
        if is_lost {
            self.control_lost();
        }
    }

    fn control_message(&mut self, mut frame: Frame) {
        match frame.message::<ToShim>() {
            Ok(ToShim::Launch(launch)) => {
                let filter = launch.seccomp.then(|| frame.fds.pop()).flatten();
                self.launch(launch, filter);
            }
            Ok(ToShim::Network(network)) => {
                let mut fds = frame.fds.into_iter();
                let netns = if network.netns { fds.next() } else { None };
                self.network = Network { is_ready: true, netns, dns_sockets: fds.collect() };
            }
            Err(error) => return self.fail(failure(Stage::Protocol, error.to_string())),
        }
        self.go();
        sys::trim_memory();
    }

    fn launch(&mut self, launch: Box<Launch>, filter: Option<OwnedFd>) {
        if self.processes.container.is_some() || self.external.is_some() {
            return self.fail(failure(Stage::Protocol, "a second launch"));
        }
        if let Some(runtime) = &launch.runtime {
            match External::prepare(&self.dir, &launch, runtime) {
                Ok(external) => self.external = Some((launch, external)),
                Err(failed) => self.fail(failed),
            }
            return;
        }
        match Container::launch(&self.dir, &launch, filter) {
            Ok(container) => self.processes.container = Some(container),
            Err(failed) => {
                let _ = std::fs::remove_dir(self.dir.join(ROOTFS_DIR));
                self.fail(failed);
            }
        }
    }

    fn go(&mut self) {
        if !self.network.is_ready {
            return;
        }
        let netns = self.network.netns.take();
        if let Some((launch, external)) = self.external.take() {
            return self.go_external(&launch, &external, netns.as_ref());
        }
        let Some(container) = &mut self.processes.container else {
            self.network.netns = netns;
            return;
        };
        self.network.is_ready = false;
        if let Err(failed) = container.go(&self.dir, netns) {
            container.give_up(failed);
        }
    }

    fn go_external(&mut self, launch: &Launch, external: &External, netns: Option<&OwnedFd>) {
        self.network.is_ready = false;
        match Container::start_external(&self.dir, launch, external, netns) {
            Ok(container) => {
                let started = container.task.started();
                self.processes.container = Some(container);
                self.control.tell(&FromShim::Started(started));
            }
            Err(failed) => {
                external.delete();
                let _ = std::fs::remove_dir(self.dir.join(ROOTFS_DIR));
                self.fail(failed);
            }
        }
    }

    /// The daemon is gone: a container that does not run yet is given up.
    fn control_lost(&mut self) {
        match &mut self.processes.container {
            None => {
                if let Some((_, external)) = self.external.take() {
                    external.delete();
                }
                self.finished = true;
            }
            Some(container) if container.task.progress == Progress::SettingUp => {
                container.give_up(failure(Stage::Protocol, "the daemon went away"));
            }
            Some(_) => {}
        }
    }

    /// Nothing runs and nothing is left: says why, and ends.
    fn fail(&mut self, failed: Failure) {
        let message = failed.message.clone();
        self.control.tell(&FromShim::Failed(failed));
        self.peers.answer_all(&Response::Error { kind: ErrorKind::Internal, message });
        let _ = std::fs::remove_file(self.dir.join(STATE_FILE));
        self.finished = true;
    }

    fn out_of_memory(&mut self) {
        let Some(container) = &self.processes.container else { return };
        match &container.oom {
            Some(OomWatch::Event(event)) => drop(event.read()),
            // Reading it again makes it quiet until it changes.
            Some(OomWatch::File(file)) => drop(nix::sys::uio::pread(file, &mut [0; 256], 0)),
            None => return,
        }
        if matches!(container.oom, Some(OomWatch::Event(_))) || container.oom_killed() {
            self.control.tell(&FromShim::Oom);
            self.peers.event(&Event::Oom);
        }
    }

    fn take_reports(&mut self, id: &TaskId) {
        let Some(task) = self.processes.task_mut(id) else { return };
        if task.take_reports() == Outcome::Started {
            let started = task.started();
            match id {
                TaskId::Init => self.control.tell(&FromShim::Started(started)),
                TaskId::Exec(id) => self.processes.execs.started(id, started, &mut self.peers),
            }
        }
        // A failed child ends by itself, and is done with when it is reaped.
    }

    fn ended(&mut self, id: &TaskId) {
        // What it reported before comes first.
        if self.processes.task(id).is_some_and(|task| task.channel.is_some()) {
            self.take_reports(id);
        }
        let Some(task) = self.processes.task_mut(id) else { return };
        let is_news = matches!(task.progress, Progress::SettingUp | Progress::Running);
        if !task.reap() || !is_news {
            return;
        }
        task.io.drop_input();
        if task.failure.is_some() {
            return self.set_up_failed(id);
        }
        task.progress = Progress::Draining(Instant::now() + DRAIN);
        if let (TaskId::Init, Some(container)) = (id, &self.processes.container) {
            container.kill_rest();
        }
        while self.pump(id, Stream::Stdout) | self.pump(id, Stream::Stderr) {}
        let Some(task) = self.processes.task(id) else { return };
        // All of a pipe is there at once; what a terminal still holds comes in a moment, and then its end.
        if !task.io.is_terminal() || !task.io.is_open() {
            self.announce_end(id);
        }
    }

    fn set_up_failed(&mut self, id: &TaskId) {
        match id {
            TaskId::Init => {
                let Some(container) = &mut self.processes.container else { return };
                container.clean_up(&self.dir);
                let failed = container.task.failure.take();
                self.processes.container = None;
                self.fail(failed.unwrap_or_else(|| failure(Stage::Exec, "the set-up failed")));
            }
            TaskId::Exec(id) => self.processes.execs.failed(id, &mut self.peers),
        }
    }

    fn end_of_drain(&mut self) {
        let now = Instant::now();
        let due: Vec<TaskId> = self
            .processes
            .tasks()
            .filter(|(_, task)| match task.progress {
                Progress::Draining(until) => until <= now || !task.io.is_open(),
                _ => false,
            })
            .map(|(id, _)| id)
            .collect();
        due.iter().for_each(|id| self.announce_end(id));
    }

    fn announce_end(&mut self, id: &TaskId) {
        let Some(task) = self.processes.task_mut(id) else { return };
        if task.progress == Progress::Done {
            return;
        }
        task.progress = Progress::Done;
        match id {
            TaskId::Exec(name) => {
                let oom_killed = self.processes.container.as_ref().is_some_and(Container::oom_killed);
                if let Some(record) = self.processes.execs.ended(name, oom_killed) {
                    self.peers.finish_streams(id, record);
                    self.peers.event(&Event::ExecExited { id: name.clone(), record });
                }
            }
            TaskId::Init => {
                let Some(container) = &mut self.processes.container else { return };
                let record = container.record_exit(&self.dir);
                self.control.tell(&FromShim::Exited(record));
                self.peers.finish_streams(id, record);
                self.peers.event(&Event::Exited(record));
                self.peers.answer_waiting(record);
                self.network.dns_sockets.clear();
                if let Some(container) = &mut self.processes.container {
                    container.clean_up(&self.dir);
                }
            }
        }
    }

    /// Reads once from a stream to the log and the clients; whether there may be more.
    fn pump(&mut self, id: &TaskId, stream: Stream) -> bool {
        let Some(task) = self.processes.task_mut(id) else { return false };
        let mut buffer = [0; io::CHUNK];
        let Read1::Bytes(count) = task.io.read(stream, &mut buffer) else { return false };
        let bytes = &buffer[..count];
        if let (TaskId::Init, Some(log)) =
            (id, self.processes.container.as_mut().and_then(|container| container.log.as_mut()))
        {
            log.write(stream, bytes, log::now());
        }
        let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
        self.peers.stream(id, kind, bytes);
        true
    }
}
