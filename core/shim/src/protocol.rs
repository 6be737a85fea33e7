//! What the daemon and a shim say to each other.
//!
//! Both ways in use the frames of [`crate::wire`]: a JSON message, or a piece of a stream, with descriptors beside it
//! (`SCM_RIGHTS`) where a message's documentation says so.
//!
//! **The control socket** is descriptor 3 of the shim, one end of a `SOCK_STREAM` socketpair. In order:
//!
//! ```text
//! daemon                                     shim
//!        ◄── FromShim::Listening                  shim.sock accepts connections; attach from here on
//!   ──► ToShim::Launch      [seccomp program]     cgroups, clone3, mounts
//!   ──► ToShim::Network     [netns, dns sockets…] always sent, even for the host's network: it is the word "go"
//!        ◄── FromShim::Started | FromShim::Failed
//!        ◄── FromShim::Oom …  FromShim::Exited
//! ```
//!
//! `Network` may follow `Launch` at once: the child waits for it only where it needs the namespace. Where the set-up has failed by
//! then it finds nobody (`EPIPE`); `Failed` is there to be read. A client that
//! must not miss the first byte of output connects to `shim.sock`, sends [`Request::Attach`] and has its
//! [`Response::Attached`] before `Network` is sent. End of file on the control socket before `Started` makes the shim
//! undo everything and end; afterwards it is of no consequence.
//!
//! **`<dir>/shim.sock`** takes any number of connections. A connection carries requests one after the other, each
//! answered by one [`Response`]. Three requests change it for good: [`Request::Attach`] and [`Request::Exec`] make it
//! a stream (frames of stdin one way, stdout and stderr the other, then one [`Response::Exited`] and end of file), and
//! [`Request::Events`] makes it a list of [`Response::Event`]s.

mod failure;

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::{Deserialize, Serialize};
use sheave_types::ErrorKind;

pub use failure::{Failure, FailureKind, Stage};

/// The descriptor number of the control socket in a new shim.
pub const CONTROL_FD: i32 = 3;

/// The name of the request socket in the shim's directory.
pub const SOCKET_FILE: &str = "shim.sock";

/// The name of the file with the [`StateRecord`], written before the container's program runs.
pub const STATE_FILE: &str = "state.json";

/// The name of the file with the [`ExitRecord`], written (temporary file, rename) before the exit is announced.
pub const EXIT_FILE: &str = "exit.json";

/// The directory below the shim's one where the root file system appears, in the container's mount namespace only.
pub const ROOTFS_DIR: &str = "rootfs";

/// What the daemon sends on the control socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToShim {
    /// Set this container up. Descriptors: the seccomp program if [`Launch::seccomp`] says so.
    Launch(Box<Launch>),
    /// The network is ready: go on. Descriptors: the namespace if [`Network::netns`], then the DNS sockets.
    Network(Network),
}

/// What the shim sends on the control socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromShim {
    /// `shim.sock` accepts connections.
    Listening,
    /// The container's program was executed.
    Started(Started),
    /// It was not; everything is undone and the shim ends.
    Failed(Failure),
    /// The kernel killed a process of the container for want of memory.
    Oom,
    /// The container ended; the record is on disk.
    Exited(ExitRecord),
}

/// A container to set up and run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// The container's id: 64 hexadecimal digits in the daemon; any file name will do.
    pub id: String,
    /// The OCI runtime specification to honour. Not used from it: `root.path` (the root comes from [`Launch::rootfs`]),
    /// `linux.cgroupsPath` (from [`Launch::cgroup`]), `linux.seccomp` (from [`Launch::seccomp`]) and the daemon's own
    /// hooks. What the shim does not do (user and time namespaces, hooks, rdma, …) fails by name.
    pub spec: Spec,
    /// The root file system: the first mount has the target `""`, later ones may lie below it.
    pub rootfs: Vec<RootMount>,
    /// Where the container's processes are accounted and limited.
    pub cgroup: CgroupPlacement,
    /// Whether the frame carries a seccomp program: a file (best a sealed memfd) of `struct sock_filter`s.
    pub seccomp: bool,
    /// How the container's standard streams are made.
    pub stdio: Stdio,
    /// Where its output is kept; `None` keeps nothing.
    pub log: Option<LogFile>,
    /// An OCI runtime program that sets the container up in the shim's stead. It compiles `linux.seccomp` of the
    /// specification itself, [`Launch::seccomp`] has no effect on it.
    pub runtime: Option<ExternalRuntime>,
}

/// A mount of the root file system; the same as the storage crate's resolved mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootMount {
    /// An overlay.
    Overlay {
        /// Relative to the root of the container; empty for the root itself.
        target: PathBuf,
        /// Absolute directories, the topmost first.
        lowers: Vec<PathBuf>,
        /// The writable directory; without it the overlay is read-only.
        upper: Option<PathBuf>,
        /// The work directory that `upper` needs.
        work: Option<PathBuf>,
        /// Further options of the file system (`userxattr`, `volatile`, `index=off`).
        options: Vec<String>,
    },
    /// A directory or file of the host.
    Bind {
        /// Relative to the root of the container.
        target: PathBuf,
        /// An absolute path of the host.
        source: PathBuf,
        /// Whether it cannot be written through this mount.
        read_only: bool,
    },
    /// Any other file system.
    Filesystem {
        /// Relative to the root of the container.
        target: PathBuf,
        /// The kernel's name of the type, for example `erofs`.
        fstype: String,
        /// The device or other source.
        source: String,
        /// Mount options as `mount -o` takes them, flags and data mixed.
        options: Vec<String>,
    },
}

/// The cgroups of a container. The shim makes them (with missing parents), and removes the last component of `path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlacement {
    /// The version 1 hierarchies, named ones included; empty on a host with version 2 alone.
    pub hierarchies: Vec<CgroupHierarchy>,
    /// The mount point of version 2: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1.
    pub unified: Option<PathBuf>,
    /// The cgroup relative to every mount point, for example `sheave/<id>`.
    pub path: PathBuf,
}

/// A cgroup version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupHierarchy {
    /// Its controllers (`["cpu", "cpuacct"]`), or its name alone as `["name=systemd"]`.
    pub controllers: Vec<String>,
    /// Where it is mounted on the host.
    pub mount: PathBuf,
}

/// The standard streams of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stdio {
    /// A terminal with this size, or `None` for pipes.
    pub terminal: Option<TerminalSize>,
    /// Whether stdin is a pipe that stays open; otherwise it is `/dev/null`. A terminal always reads.
    pub open_stdin: bool,
    /// Whether stdin is closed when the first client that writes it half-closes or goes.
    pub stdin_once: bool,
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines; 0 leaves the kernel's default.
    pub height: u16,
    /// Columns; 0 leaves the kernel's default.
    pub width: u16,
}

/// A log in Docker's json-file format: one `{"log":…,"stream":…,"time":…}` a line, records of 16 KiB without a
/// newline where a line is longer.
///
/// Source: <https://docs.docker.com/engine/logging/drivers/json-file/>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// An absolute path; its directory exists. Appended to.
    pub path: PathBuf,
    /// Rotated once it has this many bytes; `None` never.
    pub max_size: Option<u64>,
    /// How many files are kept, this one included (`path`, `path.1`, …); 0 counts as 1.
    pub max_file: u32,
    /// Put into every record as `attrs` unless empty.
    pub attrs: BTreeMap<String, String>,
}

/// An OCI runtime program: `runc`, `crun`, `youki`, `runsc`, …
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalRuntime {
    /// The program.
    pub path: PathBuf,
    /// Global arguments before the command.
    pub args: Vec<String>,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// Whether the first descriptor is a network namespace to join. Otherwise the specification decides: its network
    /// namespace has a path, or is new and empty, or is absent (the host's).
    pub netns: bool,
    /// How many sockets follow, to be kept for [`Request::DnsSockets`].
    pub dns_sockets: u8,
}

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its id in the shim's pid namespace (the host's).
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`, in clock ticks since boot: tells it from a later process with the same id.
    pub start_time: u64,
    /// What was not as asked for, in words for the user (`oom_score_adj` refused, …).
    pub warnings: Vec<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Its exit code, or 128 plus the signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container for want of memory while it ran.
    pub oom_killed: bool,
    /// Nanoseconds since 1970.
    pub finished_at: u64,
}

/// What a restarted daemon needs to recognise the container: `<dir>/state.json`.
///
/// A process is identified by (pid, start time, boot id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    /// The container.
    pub id: String,
    /// Its first process in the host's pid namespace.
    pub pid: i32,
    /// The start time of that process, as in [`Started::start_time`].
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The shim.
    pub shim_pid: i32,
    /// The shim's own start time.
    pub shim_start_time: u64,
    /// Nanoseconds since 1970 when this was written, just before the program ran.
    pub started_at: u64,
    /// The cgroups, so that what is left without a shim can be found and killed.
    pub cgroup: CgroupPlacement,
    /// The external runtime, if one set the container up.
    pub runtime: Option<ExternalRuntime>,
}

/// A request on `shim.sock`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Stream the container's standard streams; answered by `Attached`, or `Exited` at once where it has ended.
    Attach(Attach),
    /// Run another process; answered by `ExecStarted` or `ExecFailed`. Descriptors: the seccomp program if
    /// [`Seccomp::Passed`].
    Exec(Box<Exec>),
    /// How an exec stands; answered by `ExecState`, or `NotFound`. Kept until the shim ends, unless forgotten.
    ExecState {
        /// The exec's id.
        id: String,
    },
    /// Forget an ended exec's state; answered by `Done`.
    ExecForget {
        /// The exec's id.
        id: String,
    },
    /// Set the size of a terminal; answered by `Done`. `Conflict` where there is no terminal.
    Resize {
        /// An exec's id, or `None` for the container.
        exec: Option<String>,
        /// The size.
        size: TerminalSize,
    },
    /// Send a signal; answered by `Done`. `Conflict` where nothing runs. `SIGKILL` resumes a paused container.
    Kill {
        /// The number of the signal.
        signal: i32,
        /// To every process of the container's cgroup, not only its first.
        all: bool,
    },
    /// Send a signal to an exec's process; answered by `Done`.
    KillExec {
        /// The exec's id.
        id: String,
        /// The number of the signal.
        signal: i32,
    },
    /// Freeze every process; answered by `Done` when all are frozen.
    Pause,
    /// Thaw them; answered by `Done`.
    Resume,
    /// Change limits of the running container; fields that are absent stay. Answered by `Done`.
    Update {
        /// The new limits.
        resources: Box<LinuxResources>,
    },
    /// How the container stands; answered by `State`.
    State,
    /// Answered by `Exited` when the container has ended (at once if it has); requests sent after it wait so long.
    Wait,
    /// Every [`Event`] from now on, the end of the container as the last one (at once if it has ended).
    Events,
    /// The DNS sockets; answered by `DnsSockets` with the descriptors beside it.
    DnsSockets,
    /// The record has been taken over: end, and remove `shim.sock`. Answered by `Done`; `Conflict` while it runs.
    Release,
}

/// Which streams an attached client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attach {
    /// To write stdin: frames of kind [`crate::wire::Kind::Stdin`], an empty one is the half-close.
    pub stdin: bool,
    /// To read stdout. All output of a terminal is stdout.
    pub stdout: bool,
    /// To read stderr.
    pub stderr: bool,
}

/// Where the seccomp program of an exec comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// None (`--privileged`, `seccomp=unconfined`).
    None,
    /// The one of the container's first process; none if that had none.
    Init,
    /// The descriptor beside the request.
    Passed,
}

/// Another process in the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// Names it in later requests; must be new.
    pub id: String,
    /// What to run, as in the OCI runtime specification. It joins the container's namespaces and cgroups and takes the
    /// same steps to drop its privileges as the first process.
    pub process: Process,
    /// Its system call filter.
    pub seccomp: Seccomp,
    /// A terminal with this size, or `None` for pipes.
    pub terminal: Option<TerminalSize>,
    /// The streams that this connection carries. What it does not carry is `/dev/null`, and so is everything when
    /// `detach`ed.
    pub attach: Attach,
    /// Do not stream: the connection takes further requests after `ExecStarted`.
    pub detach: bool,
}

/// How an exec stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecPhase {
    /// It is being set up.
    Starting,
    /// It runs.
    Running {
        /// Its id in the host's pid namespace.
        pid: i32,
    },
    /// It could not be run.
    Failed(Failure),
    /// It ended.
    Exited(ExitRecord),
}

/// How the container stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It is being set up.
    Starting,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It ended.
    Exited(ExitRecord),
}

/// The answer to [`Request::State`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// The container's id.
    pub id: String,
    /// How it stands.
    pub phase: Phase,
    /// Its first process in the host's pid namespace; 0 before there is one.
    pub pid: i32,
    /// The start time of that process.
    pub start_time: u64,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// How many clients are attached to the container (not to execs).
    pub attached: u32,
    /// Records that could not be written to the log (no space, …).
    pub lost_log_records: u64,
    /// The execs that are known, ended ones too.
    pub execs: BTreeMap<String, ExecPhase>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The kernel killed a process of the container for want of memory.
    Oom,
    /// An exec ended.
    ExecExited {
        /// The exec's id.
        id: String,
        /// How.
        record: ExitRecord,
    },
    /// The container ended; the last event.
    Exited(ExitRecord),
}

/// An answer on `shim.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It was done.
    Done,
    /// It was not.
    Error {
        /// Why.
        kind: ErrorKind,
        /// In words.
        message: String,
    },
    /// Frames of the streams follow.
    Attached,
    /// The exec runs; frames follow unless detached.
    ExecStarted(Started),
    /// The exec could not be run; the connection takes further requests.
    ExecFailed(Failure),
    /// How an exec stands.
    ExecState(ExecPhase),
    /// How the container stands.
    State(Box<ContainerState>),
    /// What was attached to or waited for ended; after a stream all its output was sent before this.
    Exited(ExitRecord),
    /// Something happened.
    Event(Event),
    /// This many descriptors are beside this message.
    DnsSockets(u8),
}
