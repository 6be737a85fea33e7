//! The shim's event loop: one thread, one poll.
//!
//! ```text
//! waiting for Launch ─► setting up ─► running ─► draining ─► ended ─► released
//!        │                  │                                  (clean-up after the announcement)
//!        └── control gone ──┴─► undone, the shim ends
//! ```

pub mod container;
mod execs;
mod external;
pub mod io;
mod peer;
mod peers;
mod requests;
pub mod task;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use sheave_shim::protocol::{
    Event, ExitRecord, Failure, FromShim, Launch, Response, SOCKET_FILE, STATE_FILE, Stage, ToShim,
};
use sheave_shim::wire::{self, Decoder, Frame, Kind};
use sheave_types::ErrorKind;

use crate::cgroup::OomWatch;
use crate::failure::failure;
use crate::log::{self, Stream};
use crate::sys;
use container::Container;
use execs::Execs;
use external::External;
use io::Read1;
use peer::{Peer, Role, spill_directory};
use peers::Peers;
use task::{Outcome, Progress, Task, TaskId};

/// How long output of a terminal is waited for when its process has ended.
const DRAIN: Duration = Duration::from_millis(500);

/// How often an ended container's shim looks whether its directory was removed.
const LOOK: Duration = Duration::from_secs(5);

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
    control: Option<(UnixStream, Decoder)>,
    peers: Peers,
    container: Option<Container>,
    execs: Execs,
    external: Option<(Box<Launch>, External)>,
    network: Network,
    finished: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Listener,
    Signals,
    Control,
    Oom,
    Peer(u64),
    Reports(TaskId),
    Ended(TaskId),
    Output(TaskId, Stream),
    Input(TaskId),
}

impl Server {
    /// A shim that listens.
    pub fn new(dir: PathBuf, listener: UnixListener, signals: SignalFd, control: UnixStream) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut server = Self {
            dir,
            listener,
            signals,
            control: Some((control, Decoder::default())),
            peers: Peers::default(),
            container: None,
            execs: Execs::default(),
            external: None,
            network: Network::default(),
            finished: false,
        };
        server.tell(&FromShim::Listening);
        Ok(server)
    }

    /// Serves until the container is released, or cannot be set up.
    pub fn run(mut self) {
        while !self.finished {
            for (token, events) in self.wait() {
                self.handle(token, events);
            }
            self.end_of_drain();
            self.finished |= self.has_exited() && !self.dir.exists();
            self.execs.sweep();
            self.peers.sweep(|peer| Self::stdin_ended(&mut self.container, &mut self.execs, peer));
        }
        self.peers.flush_all();
        let _ = std::fs::remove_file(self.dir.join(SOCKET_FILE));
    }

    fn wait(&self) -> Vec<(Token, PollFlags)> {
        let mut tokens = vec![Token::Listener, Token::Signals];
        let mut fds = vec![
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let mut add = |token, fd, events| {
            tokens.push(token);
            fds.push(PollFd::new(fd, events));
        };
        if let Some((control, _)) = &self.control {
            add(Token::Control, control.as_fd(), PollFlags::POLLIN);
        }
        match self.container.as_ref().and_then(|container| container.oom.as_ref()) {
            Some(OomWatch::Event(event)) => add(Token::Oom, event.as_fd(), PollFlags::POLLIN),
            Some(OomWatch::File(file)) => add(Token::Oom, file.as_fd(), PollFlags::POLLPRI),
            None => {}
        }
        let tasks = self.container.iter().map(|container| (TaskId::Init, &container.task)).chain(self.execs.tasks());
        let mut deadline: Option<Instant> = None;
        for (id, task) in tasks {
            add_task(&mut add, &id, task);
            if let Progress::Draining(until) = task.progress {
                deadline = Some(deadline.map_or(until, |other| other.min(until)));
            }
        }
        for (number, peer) in self.peers.iter() {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, !peer.input_ended && self.takes_input(peer));
            events.set(PollFlags::POLLOUT, peer.wants_to_write());
            add(Token::Peer(number), peer.fd(), events);
        }
        if self.has_exited() {
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

    fn has_exited(&self) -> bool {
        self.container.as_ref().is_some_and(|container| container.exit.is_some())
    }

    fn takes_input(&self, peer: &Peer) -> bool {
        match &peer.role {
            Role::Requests => true,
            Role::Stream(id, _) => self.task(id).is_none_or(|task| task.io.takes_input()),
            // The end of the connection is still seen as a hang-up.
            Role::Waiting | Role::Events => false,
        }
    }

    fn task(&self, id: &TaskId) -> Option<&Task> {
        match id {
            TaskId::Init => self.container.as_ref().map(|container| &container.task),
            TaskId::Exec(id) => self.execs.task(id),
        }
    }

    fn task_mut<'a>(container: &'a mut Option<Container>, execs: &'a mut Execs, id: &TaskId) -> Option<&'a mut Task> {
        match id {
            TaskId::Init => container.as_mut().map(|container| &mut container.task),
            TaskId::Exec(id) => execs.task_mut(id),
        }
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
                if let Some(task) = Self::task_mut(&mut self.container, &mut self.execs, &id) {
                    task.io.write_input();
                }
            }
        }
    }

    fn accept(&mut self) {
        let log = self.container.as_ref().and_then(|container| container.log.as_ref()).map(log::Log::path);
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
            let known = self.container.iter().map(|container| (TaskId::Init, &container.task));
            let found = known.chain(self.execs.tasks()).find(|(_, task)| task.pid == pid && task.ended.is_none());
            match found.map(|(id, _)| id) {
                Some(id) => self.ended(&id),
                None => sys::reap_pid(pid),
            }
        }
    }

    fn tell(&mut self, message: &FromShim) {
        let Some((control, _)) = &self.control else { return };
        let Ok(bytes) = wire::encode_message(message, 0) else { return };
        // It blocks, but these are a few hundred bytes in all.
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match wire::send(control.as_fd(), rest, &[]) {
                Ok(count) => rest = &rest[count..],
                Err(nix::Error::EINTR) => {}
                Err(_) => {
                    self.control = None;
                    return;
                }
            }
        }
    }

    fn read_control(&mut self) {
        let Some((control, decoder)) = &mut self.control else { return };
        let received = wire::receive(control.as_fd(), decoder);
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = decoder.next_frame() {
            frames.push(frame);
        }
        for frame in frames {
            self.control_message(frame);
        }
        if !matches!(received, Ok(1..) | Err(nix::Error::EINTR | nix::Error::EAGAIN)) {
            self.control = None;
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
        if self.container.is_some() || self.external.is_some() {
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
            Ok(container) => self.container = Some(container),
            Err(failed) => {
                let _ = std::fs::remove_dir(self.dir.join(sheave_shim::protocol::ROOTFS_DIR));
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
        let Some(container) = &mut self.container else {
            self.network.netns = netns;
            return;
        };
        self.network.is_ready = false;
        if let Err(failed) = container.go(&self.dir, netns) {
            container.task.failure = Some(failed);
            self.abort();
        }
    }

    fn go_external(&mut self, launch: &Launch, external: &External, netns: Option<&OwnedFd>) {
        self.network.is_ready = false;
        match Container::start_external(&self.dir, launch, external, netns) {
            Ok(container) => {
                let started = container.task.started();
                self.container = Some(container);
                self.tell(&FromShim::Started(started));
            }
            Err(failed) => {
                external.delete();
                let _ = std::fs::remove_dir(self.dir.join(sheave_shim::protocol::ROOTFS_DIR));
                self.fail(failed);
            }
        }
    }

    /// The daemon is gone: a container that does not run yet is given up.
    fn control_lost(&mut self) {
        match &self.container {
            None => {
                if let Some((_, external)) = self.external.take() {
                    external.delete();
                }
                self.finished = true;
            }
            Some(container) if container.task.progress == Progress::SettingUp => self.abort(),
            Some(_) => {}
        }
    }

    fn abort(&mut self) {
        if let Some(container) = &mut self.container {
            container.task.failure.get_or_insert(failure(Stage::Protocol, "the daemon went away"));
            // It is our child and not reaped: it is there, or has ended by itself.
            let _ = sys::pidfd_send_signal(container.task.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    /// Nothing runs and nothing is left: says why, and ends.
    fn fail(&mut self, failed: Failure) {
        let message = failed.message.clone();
        self.tell(&FromShim::Failed(failed));
        self.peers.answer_all(&Response::Error { kind: ErrorKind::Internal, message });
        let _ = std::fs::remove_file(self.dir.join(STATE_FILE));
        self.finished = true;
    }

    fn out_of_memory(&mut self) {
        let Some(container) = &self.container else { return };
        match &container.oom {
            Some(OomWatch::Event(event)) => drop(event.read()),
            // Reading it again makes it quiet until it changes.
            Some(OomWatch::File(file)) => drop(nix::sys::uio::pread(file, &mut [0; 256], 0)),
            None => return,
        }
        if matches!(container.oom, Some(OomWatch::Event(_))) || container.oom_killed() {
            self.tell(&FromShim::Oom);
            self.peers.event(&Event::Oom);
        }
    }

    fn take_reports(&mut self, id: &TaskId) {
        let Some(task) = Self::task_mut(&mut self.container, &mut self.execs, id) else { return };
        if task.take_reports() == Outcome::Started {
            let started = task.started();
            match id {
                TaskId::Init => self.tell(&FromShim::Started(started)),
                TaskId::Exec(id) => self.execs.started(id, started, &mut self.peers),
            }
        }
        // A failed child ends by itself, and is done with when it is reaped.
    }

    fn ended(&mut self, id: &TaskId) {
        // What it reported before comes first.
        if self.task(id).is_some_and(|task| task.channel.is_some()) {
            self.take_reports(id);
        }
        let Some(task) = Self::task_mut(&mut self.container, &mut self.execs, id) else { return };
        let is_news = matches!(task.progress, Progress::SettingUp | Progress::Running);
        if !task.reap() || !is_news {
            return;
        }
        task.io.drop_input();
        if task.failure.is_some() {
            return self.set_up_failed(id);
        }
        task.progress = Progress::Draining(Instant::now() + DRAIN);
        if let (TaskId::Init, Some(container)) = (id, &self.container) {
            container.kill_rest();
        }
        while self.pump(id, Stream::Stdout) | self.pump(id, Stream::Stderr) {}
        let Some(task) = self.task(id) else { return };
        // All of a pipe is there at once; what a terminal still holds comes in a moment, and then its end.
        if !task.io.is_terminal() || !task.io.is_open() {
            self.announce_end(id);
        }
    }

    fn set_up_failed(&mut self, id: &TaskId) {
        match id {
            TaskId::Init => {
                let Some(container) = &mut self.container else { return };
                container.clean_up(&self.dir);
                let failed = container.task.failure.take();
                self.container = None;
                self.fail(failed.unwrap_or_else(|| failure(Stage::Exec, "the set-up failed")));
            }
            TaskId::Exec(id) => self.execs.failed(id, &mut self.peers),
        }
    }

    fn end_of_drain(&mut self) {
        let now = Instant::now();
        let tasks = self.container.iter().map(|container| (TaskId::Init, &container.task)).chain(self.execs.tasks());
        let due: Vec<TaskId> = tasks
            .filter(|(_, task)| match task.progress {
                Progress::Draining(until) => until <= now || !task.io.is_open(),
                _ => false,
            })
            .map(|(id, _)| id)
            .collect();
        due.iter().for_each(|id| self.announce_end(id));
    }

    fn announce_end(&mut self, id: &TaskId) {
        let Some(task) = Self::task_mut(&mut self.container, &mut self.execs, id) else { return };
        if task.progress == Progress::Done {
            return;
        }
        task.progress = Progress::Done;
        match id {
            TaskId::Exec(name) => {
                let oom_killed = self.container.as_ref().is_some_and(Container::oom_killed);
                if let Some(record) = self.execs.ended(name, oom_killed) {
                    self.peers.finish_streams(id, record);
                    self.peers.event(&Event::ExecExited { id: name.clone(), record });
                }
            }
            TaskId::Init => {
                let Some(container) = &mut self.container else { return };
                let record = container.record_exit(&self.dir);
                self.announce_exit(record);
                if let Some(container) = &mut self.container {
                    container.clean_up(&self.dir);
                }
            }
        }
    }

    fn announce_exit(&mut self, record: ExitRecord) {
        self.tell(&FromShim::Exited(record));
        self.peers.finish_streams(&TaskId::Init, record);
        self.peers.event(&Event::Exited(record));
        self.peers.answer_waiting(record);
        self.network.dns_sockets.clear();
    }

    /// Reads once from a stream to the log and the clients; whether there may be more.
    fn pump(&mut self, id: &TaskId, stream: Stream) -> bool {
        let Some(task) = Self::task_mut(&mut self.container, &mut self.execs, id) else { return false };
        let mut buffer = [0; io::CHUNK];
        let Read1::Bytes(count) = task.io.read(stream, &mut buffer) else { return false };
        let bytes = &buffer[..count];
        if let (TaskId::Init, Some(log)) = (id, self.container.as_mut().and_then(|container| container.log.as_mut())) {
            log.write(stream, bytes, log::now());
        }
        let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
        self.peers.stream(id, kind, bytes);
        true
    }

    /// A client that wrote stdin has half-closed or is gone.
    fn stdin_ended(container: &mut Option<Container>, execs: &mut Execs, peer: &Peer) {
        let Role::Stream(id, attach) = &peer.role else { return };
        let closes = match id {
            TaskId::Init => container.as_ref().is_some_and(|container| container.settings.stdin_once),
            TaskId::Exec(_) => true,
        };
        if attach.stdin
            && closes
            && let Some(task) = Self::task_mut(container, execs, id)
        {
            task.io.close_input();
        }
    }
}

fn add_task<'a>(add: &mut impl FnMut(Token, std::os::fd::BorrowedFd<'a>, PollFlags), id: &TaskId, task: &'a Task) {
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
