//! The container of a shim: launched, running, ended, cleaned up.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use oci_spec::runtime::LinuxNamespaceType;
use sheave_shim::protocol::{
    Attach, CgroupPlacement, EXIT_FILE, ExitRecord, ExternalRuntime, Failure, Launch, ROOTFS_DIR, STATE_FILE, Seccomp,
    Stage, StateRecord,
};

use super::external::External;
use super::io::Io;
use super::task::Task;
use crate::cgroup::{Cgroups, OomWatch};
use crate::failure::{At, Step, failure};
use crate::log::{self, Log};
use crate::record;
use crate::setup::channel::{Channel, Go};
use crate::setup::namespaces::Namespaces;
use crate::setup::{self, Child, Exec, Init, supported};
use crate::sys::{self, Cloned};

/// The largest seccomp program: as many instructions as the kernel takes.
const MAX_FILTER: u64 = 4096 * 8;

/// What stays of the launch message while the container runs.
#[derive(Debug)]
pub struct Settings {
    /// The container's id.
    pub id: String,
    /// Where its cgroups are.
    pub placement: CgroupPlacement,
    /// The seccomp program of its first process.
    pub filter: Option<Vec<u8>>,
    /// The `oom_score_adj` of its first process.
    pub oom_score: Option<i32>,
    /// Whether stdin is closed when a client that writes it goes.
    pub stdin_once: bool,
    /// Whether every process ends with the first.
    pub own_pids: bool,
    /// The runtime program that set it up.
    pub external: Option<(External, ExternalRuntime)>,
}

/// The container.
#[derive(Debug)]
pub struct Container {
    /// What stays of the launch message.
    pub settings: Settings,
    /// Its first process.
    pub task: Task,
    /// Its cgroups, until they are removed.
    pub cgroups: Option<Cgroups>,
    /// Its log.
    pub log: Option<Log>,
    /// Tells of want of memory.
    pub oom: Option<OomWatch>,
    /// How it ended.
    pub exit: Option<ExitRecord>,
    /// Whether it is frozen.
    pub paused: bool,
    /// Holds its mounts until its end was reported: with the last reference in the process, every exit would wait for
    /// the upper file system to be synced.
    mounts: Option<OwnedFd>,
    /// Its pid namespace, in which execs are born.
    pids: Option<OwnedFd>,
}

impl Container {
    /// Makes cgroups and the child, which waits for [`Self::go`].
    pub fn launch(dir: &Path, launch: &Launch, filter: Option<OwnedFd>) -> Step<Self> {
        supported::check(&launch.spec)?;
        let process = setup::process(&launch.spec)?;
        let filter = read_filter(launch.seccomp, filter)?;
        let namespaces = Namespaces::of(&launch.spec)?;
        let log = open_log(launch)?;
        let rootfs = dir.join(ROOTFS_DIR);
        match std::fs::create_dir(&rootfs) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.at(Stage::Rootfs, || format!("mkdir {}", rootfs.display()))?,
        }
        let resources = launch.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let cgroups = Cgroups::create(&launch.cgroup, resources)?;
        let settings = Settings {
            id: launch.id.clone(),
            placement: launch.cgroup.clone(),
            filter,
            oom_score: process.oom_score_adj(),
            stdin_once: launch.stdio.stdin_once,
            own_pids: namespaces.own_pids(),
            external: None,
        };
        let task = match clone_init(launch, &rootfs, &namespaces, &cgroups, settings.filter.clone()) {
            Ok(task) => task,
            Err(failed) => {
                cgroups.remove();
                return Err(failed);
            }
        };
        let mounts = namespace_of(task.pid, "mnt");
        let pids = namespace_of(task.pid, "pid");
        let oom = cgroups.watch_oom();
        let cgroups = Some(cgroups);
        Ok(Self { settings, task, cgroups, log, oom, exit: None, paused: false, mounts, pids })
    }

    /// Has an external runtime set the container up and start it.
    pub fn start_external(dir: &Path, launch: &Launch, external: &External, netns: Option<&OwnedFd>) -> Step<Self> {
        let process = setup::process(&launch.spec)?;
        let log = open_log(launch)?;
        let namespaces = launch.spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
        let own_pids = namespaces.iter().any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none());
        let settings = Settings {
            id: launch.id.clone(),
            placement: launch.cgroup.clone(),
            filter: None,
            oom_score: process.oom_score_adj(),
            stdin_once: launch.stdio.stdin_once,
            own_pids,
            external: launch.runtime.clone().map(|runtime| (external.clone(), runtime)),
        };
        let task = external.start(launch, netns)?;
        let mounts = namespace_of(task.pid, "mnt");
        let cgroups = Cgroups::adopt(&launch.cgroup);
        let oom = cgroups.watch_oom();
        let cgroups = Some(cgroups);
        let mut container = Self { settings, task, cgroups, log, oom, exit: None, paused: false, mounts, pids: None };
        container.go(dir, None)?;
        Ok(container)
    }

    /// Writes the state record, then lets the child go on, into the network namespace if there is one.
    pub fn go(&mut self, dir: &Path, netns: Option<OwnedFd>) -> Step<()> {
        let shim = std::process::id() as i32;
        let name = || "writing the state record".to_owned();
        let state = StateRecord {
            id: self.settings.id.clone(),
            pid: self.task.pid,
            start_time: self.task.start_time,
            boot_id: record::boot_id().at(Stage::Protocol, name)?,
            shim_pid: shim,
            shim_start_time: record::start_time(shim).at(Stage::Protocol, name)?,
            started_at: log::now(),
            cgroup: self.settings.placement.clone(),
            runtime: self.settings.external.as_ref().map(|(_, runtime)| runtime.clone()),
        };
        record::write(dir, STATE_FILE, &state).at(Stage::Protocol, name)?;
        match &self.task.channel {
            // EPIPE: it has failed, and its report says why.
            Some(channel) => match channel.send(&Go, netns.as_ref().map(AsFd::as_fd)) {
                Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => Ok(()),
                other => other.at(Stage::Network, || "handing over the network".into()),
            },
            None => Ok(()),
        }
    }

    /// Makes the child of an exec.
    pub fn exec(&self, exec: &sheave_shim::protocol::Exec, filter: Option<OwnedFd>) -> Step<Task> {
        if let Some((external, _)) = &self.settings.external {
            if exec.seccomp == Seccomp::Passed {
                let text = "an external runtime takes no compiled seccomp program";
                return Err(failure(Stage::Seccomp, text));
            }
            return external.exec(exec);
        }
        supported::check_process(&exec.process)?;
        let filter = match exec.seccomp {
            Seccomp::None => None,
            Seccomp::Init => self.settings.filter.clone(),
            Seccomp::Passed => read_filter(true, filter)?,
        };
        let cgroups = self.cgroups.as_ref().ok_or_else(|| failure(Stage::Cgroup, "the container has ended"))?;
        let carried = if exec.detach { Attach::default() } else { exec.attach };
        let (io, streams) = Io::new(exec.terminal, carried)?;
        let (ours, theirs) = Channel::pair().at(Stage::Protocol, || "making a channel".into())?;
        let unified = cgroups.open_unified()?;
        let child = Child { channel: theirs, tasks: cgroups.open_tasks()?, streams, filter };
        let cloned = clone_in(self.pids.as_ref(), 0, unified.as_ref())?;
        match cloned {
            Cloned::Parent(pid, pidfd) => Ok(Task::new(pid, pidfd, Some(ours), io)),
            Cloned::Child => {
                let (id, oom_score) = (self.settings.id.as_str(), self.settings.oom_score);
                Exec { id, process: &exec.process, init: &self.task.pidfd, oom_score, child }.run()
            }
        }
    }

    /// Ends a set-up, for this reason unless it has one already.
    pub fn give_up(&mut self, failed: Failure) {
        self.task.failure.get_or_insert(failed);
        // It is our child and not reaped: it is there, or has ended by itself.
        let _ = sys::pidfd_send_signal(self.task.pidfd.as_fd(), libc::SIGKILL);
    }

    /// Whether the kernel killed a process of it for want of memory.
    pub fn oom_killed(&self) -> bool {
        self.exit.map_or_else(|| self.cgroups.as_ref().is_some_and(|c| c.oom_kills() > 0), |exit| exit.oom_killed)
    }

    /// Records its end, on disk first. Its processes are gone or killed when this returns.
    pub fn record_exit(&mut self, dir: &Path) -> ExitRecord {
        if let Some(log) = &mut self.log {
            log.finish(log::Stream::Stdout);
            log.finish(log::Stream::Stderr);
        }
        let record = self.task.exit_record(self.oom_killed());
        self.exit = Some(record);
        self.paused = false;
        // Where the file cannot be written the announcement is all there is.
        let _ = record::write(dir, EXIT_FILE, &record);
        record
    }

    /// Kills what may be left, where processes do not end with the first.
    pub fn kill_rest(&self) {
        if !self.settings.own_pids
            && let Some(cgroups) = &self.cgroups
        {
            // A frozen process would not die.
            let _ = cgroups.signal_all(libc::SIGKILL);
            let _ = cgroups.thaw();
        }
    }

    /// Gives back mounts and cgroups; takes its time, so the end is announced before.
    pub fn clean_up(&mut self, dir: &Path) {
        self.mounts = None;
        self.pids = None;
        self.oom = None;
        if let Some((external, _)) = &self.settings.external {
            external.delete();
        }
        if let Some(cgroups) = self.cgroups.take() {
            cgroups.remove();
        }
        // Empty: the mount was in the container's namespace.
        let _ = std::fs::remove_dir(dir.join(ROOTFS_DIR));
    }
}

fn open_log(launch: &Launch) -> Step<Option<Log>> {
    let Some(config) = &launch.log else { return Ok(None) };
    Log::open(config.clone()).at(Stage::Stdio, || format!("opening the log {}", config.path.display())).map(Some)
}

fn clone_init(
    launch: &Launch,
    rootfs: &Path,
    namespaces: &Namespaces,
    cgroups: &Cgroups,
    filter: Option<Vec<u8>>,
) -> Step<Task> {
    let carried = Attach { stdin: launch.stdio.open_stdin, stdout: true, stderr: true };
    let (io, streams) = Io::new(launch.stdio.terminal, carried)?;
    let (ours, theirs) = Channel::pair().at(Stage::Protocol, || "making a channel".into())?;
    let unified = cgroups.open_unified()?;
    let child = Child { channel: theirs, tasks: cgroups.open_tasks()?, streams, filter };
    match clone_in(namespaces.join_pid.as_ref(), namespaces.new.bits(), unified.as_ref())? {
        Cloned::Parent(pid, pidfd) => Ok(Task::new(pid, pidfd, Some(ours), io)),
        Cloned::Child => Init { launch, rootfs, namespaces, child }.run(),
    }
}

/// clone3 into a pid namespace: a process gets that of its children from its parent, so it is ours for a moment.
fn clone_in(pids: Option<&OwnedFd>, flags: i32, unified: Option<&OwnedFd>) -> Step<Cloned> {
    let name = || "cloning".to_owned();
    let unified = unified.map(AsFd::as_fd);
    let Some(pids) = pids else { return sys::clone3(flags, unified).at(Stage::Namespaces, name) };
    let own = open("/proc/self/ns/pid", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .at(Stage::Namespaces, || "opening our pid namespace".into())?;
    setns(pids, CloneFlags::CLONE_NEWPID).at(Stage::Namespaces, || "entering the pid namespace".into())?;
    let cloned = sys::clone3(flags, unified);
    if !matches!(cloned, Ok(Cloned::Child)) {
        setns(&own, CloneFlags::CLONE_NEWPID).at(Stage::Namespaces, || "leaving the pid namespace".into())?;
    }
    cloned.at(Stage::Namespaces, name)
}

fn namespace_of(pid: i32, kind: &str) -> Option<OwnedFd> {
    let path = format!("/proc/{pid}/ns/{kind}");
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

fn read_filter(wanted: bool, file: Option<OwnedFd>) -> Step<Option<Vec<u8>>> {
    let missing = || failure(Stage::Seccomp, "the seccomp program is missing");
    if !wanted {
        return Ok(None);
    }
    let mut file = File::from(file.ok_or_else(missing)?);
    let mut program = Vec::new();
    std::io::Seek::rewind(&mut file)
        .and_then(|()| file.by_ref().take(MAX_FILTER + 1).read_to_end(&mut program))
        .at(Stage::Seccomp, || "reading the seccomp program".into())?;
    if program.is_empty() || program.len() as u64 > MAX_FILTER {
        return Err(failure(Stage::Seccomp, "the seccomp program has a bad length"));
    }
    Ok(Some(program))
}
