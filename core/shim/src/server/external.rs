//! Containers set up by an OCI runtime program (`runc`, `crun`, `youki`, …) in the shim's stead.
//!
//! The shim mounts the root file system in a mount namespace of its own, so that nothing of it is on the host, writes
//! the bundle, and runs `create`, `start`, `exec` and `delete`. It waits for each of them: requests are answered when it
//! is done. Streams, log, exit and cgroups are handled as those of native containers.
//!
//! Source of the commands: <https://github.com/opencontainers/runtime-tools/blob/master/docs/command-line-interface.md>

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use sheave_shim::protocol::{Attach, ExternalRuntime, Failure, FailureKind, Launch, ROOTFS_DIR, Stage};
use sheave_shim::wire::{self, Decoder};

use super::io::Io;
use super::task::Task;
use crate::failure::{At, Step, failure};
use crate::setup::rootfs;
use crate::setup::terminal::Streams;
use crate::sys;

/// The directory of the bundle below the shim's.
const BUNDLE: &str = "bundle";

/// A runtime program with its container.
#[derive(Debug, Clone)]
pub struct External {
    runtime: ExternalRuntime,
    id: String,
    bundle: PathBuf,
    rootfs: PathBuf,
}

/// What one command works with.
struct Job<'a> {
    command: &'a str,
    arguments: Vec<String>,
    io: Io,
    streams: Streams,
}

impl External {
    /// Mounts the root file system and makes the directory of the bundle.
    pub fn prepare(dir: &Path, launch: &Launch, runtime: &ExternalRuntime) -> Step<Self> {
        let (bundle, root) = (dir.join(BUNDLE), dir.join(ROOTFS_DIR));
        unshare(CloneFlags::CLONE_NEWNS).at(Stage::Runtime, || "making a mount namespace".into())?;
        rootfs::set_propagation(None)?;
        for path in [&bundle, &root] {
            std::fs::create_dir_all(path).at(Stage::Runtime, || format!("mkdir {}", path.display()))?;
        }
        rootfs::mount_root(&launch.rootfs, &root)?;
        Ok(Self { runtime: runtime.clone(), id: launch.id.clone(), bundle, rootfs: root })
    }

    /// Creates and starts the container.
    pub fn start(&self, launch: &Launch, netns: Option<&OwnedFd>) -> Step<Task> {
        let name = || "writing the bundle".to_owned();
        let spec = self.specification(launch, netns).map_err(|error| failure(Stage::Runtime, error.to_string()))?;
        std::fs::write(self.bundle.join("config.json"), spec.to_string()).at(Stage::Runtime, name)?;
        let carried = Attach { stdin: launch.stdio.open_stdin, stdout: true, stderr: true };
        let (io, streams) = Io::new(launch.stdio.terminal, carried)?;
        let arguments = vec!["--bundle".into(), self.bundle.display().to_string()];
        let task = self.run_detached(Job { command: "create", arguments, io, streams })?;
        let mut start = self.command("start");
        start.arg(&self.id);
        if let Err(failed) = self.finish(start) {
            // What it left is removed by `delete`.
            let _ = sys::pidfd_send_signal(std::os::fd::AsFd::as_fd(&task.pidfd), libc::SIGKILL);
            return Err(failed);
        }
        Ok(task)
    }

    /// Runs a further process.
    pub fn exec(&self, exec: &sheave_shim::protocol::Exec) -> Step<Task> {
        let carried = if exec.detach { Attach::default() } else { exec.attach };
        let (io, streams) = Io::new(exec.terminal, carried)?;
        let file = self.bundle.join("process.json");
        let mut process = serde_json::to_value(&exec.process).map_err(|e| failure(Stage::Runtime, e.to_string()))?;
        process["terminal"] = json!(exec.terminal.is_some());
        std::fs::write(&file, process.to_string()).at(Stage::Runtime, || "writing the process".into())?;
        let arguments = vec!["--detach".into(), "--process".into(), file.display().to_string()];
        self.run_detached(Job { command: "exec", arguments, io, streams })
    }

    /// Removes what the runtime and we made.
    pub fn delete(&self) {
        let mut delete = self.command("delete");
        delete.args(["--force", &self.id]);
        // It may never have been created; then there is nothing to delete.
        let _ = self.finish(delete);
        let _ = umount2(&self.rootfs, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir_all(&self.bundle);
    }

    fn specification(&self, launch: &Launch, netns: Option<&OwnedFd>) -> serde_json::Result<Value> {
        let mut spec = serde_json::to_value(&launch.spec)?;
        spec["root"]["path"] = json!(self.rootfs);
        spec["process"]["terminal"] = json!(launch.stdio.terminal.is_some());
        spec["linux"]["cgroupsPath"] = json!(Path::new("/").join(&launch.cgroup.path));
        if let Some(netns) = netns {
            let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
            let list = &mut spec["linux"]["namespaces"];
            if let Some(list) = list.as_array_mut() {
                list.retain(|namespace| namespace["type"] != "network");
                list.push(json!({"type": "network", "path": path}));
            }
        }
        Ok(spec)
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("runtime.log")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.runtime.path);
        command.args(&self.runtime.args).arg("--log").arg(self.log()).args(["--log-format", "json", name]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(&self.bundle);
        // What we ignore is not to be ignored in the container.
        let reset = || {
            sys::reset_signals();
            Ok(())
        };
        // SAFETY: the closure makes system calls only, and this program has one thread.
        unsafe { command.pre_exec(reset) };
        command
    }

    /// Runs a command that leaves a process behind, which becomes our child as we are a subreaper.
    fn run_detached(&self, mut job: Job<'_>) -> Step<Task> {
        let pid_file = self.bundle.join("pid");
        let socket = self.bundle.join("console.sock");
        let _ = std::fs::remove_file(&pid_file);
        let mut command = self.command(job.command);
        command.args(&job.arguments).arg("--pid-file").arg(&pid_file);
        let listener = match job.streams {
            Streams::Terminal(_) => {
                let _ = std::fs::remove_file(&socket);
                let listener = UnixListener::bind(&socket).at(Stage::Stdio, || "binding the console socket".into())?;
                command.arg("--console-socket").arg(&socket);
                Some(listener)
            }
            Streams::Pipes([stdin, stdout, stderr]) => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
                None
            }
        };
        self.finish({
            command.arg(&self.id);
            command
        })?;
        if let Some(listener) = listener {
            job.io.set_terminal(receive_terminal(&listener)?);
        }
        let name = || format!("{} {}: its process", self.runtime.path.display(), job.command);
        let text = std::fs::read_to_string(&pid_file).at(Stage::Runtime, name)?;
        let pid: i32 = text.trim().parse().map_err(|_| failure(Stage::Runtime, "the runtime wrote no pid"))?;
        let pidfd = sys::pidfd_open(pid).at(Stage::Runtime, name)?;
        Ok(Task::new(pid, pidfd, None, job.io))
    }

    fn finish(&self, mut command: Command) -> Step<()> {
        let _ = std::fs::remove_file(self.log());
        let program = self.runtime.path.display();
        let status = command.status().at(Stage::Runtime, || format!("running {program}"))?;
        if status.success() { Ok(()) } else { Err(self.explain()) }
    }

    /// The last error of the runtime's log, with the exit code that Docker reads from its words.
    fn explain(&self) -> Failure {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let message = |line: &str| serde_json::from_str::<Value>(line).ok()?["msg"].as_str().map(str::to_owned);
        let last = text.lines().rev().find_map(message);
        let message = last.unwrap_or_else(|| format!("{} failed", self.runtime.path.display()));
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        let kind = match () {
            () if says(&["executable file not found", "no such file or directory", "not a directory"]) => {
                FailureKind::NotFound
            }
            () if says(&["permission denied", "is a directory"]) => FailureKind::NotExecutable,
            () => FailureKind::Setup,
        };
        Failure { stage: Stage::Runtime, kind, errno: 0, message }
    }
}

/// The master side of the terminal, which the runtime sent before it ended.
fn receive_terminal(listener: &UnixListener) -> Step<OwnedFd> {
    use std::os::fd::AsFd;
    let missing = || failure(Stage::Stdio, "the runtime sent no terminal");
    listener.set_nonblocking(true).at(Stage::Stdio, || "the console socket".into())?;
    let (socket, _) = listener.accept().at(Stage::Stdio, || "accepting the terminal".into())?;
    let mut decoder = Decoder::default();
    wire::receive(socket.as_fd(), &mut decoder).at(Stage::Stdio, || "receiving the terminal".into())?;
    let terminal = decoder.take_fd().ok_or_else(missing)?;
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&terminal, flags).at(Stage::Stdio, || "the terminal".into())?;
    Ok(terminal)
}
