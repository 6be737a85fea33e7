//! A process that the shim made: the container's first, or an exec.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use sheave_shim::protocol::{ExitRecord, Failure, Stage, Started};

use super::io::Io;
use crate::failure::{failure, words};
use crate::log;
use crate::record;
use crate::setup::channel::{Channel, Report};
use crate::sys::{self, Ended};

/// Names a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskId {
    /// The container's first.
    Init,
    /// The exec with this id.
    Exec(String),
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is being set up.
    SettingUp,
    /// It runs its program.
    Running,
    /// It ended; output may still come, until then.
    Draining(Instant),
    /// Its end was announced.
    Done,
}

/// What came of the set-up.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Pending,
    /// The program runs.
    Started,
    /// It failed; the process is ending.
    Failed,
}

/// A process that the shim made.
#[derive(Debug)]
pub struct Task {
    /// Its id in the host's pid namespace.
    pub pid: i32,
    /// Its descriptor.
    pub pidfd: OwnedFd,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// Its standard streams.
    pub io: Io,
    /// How far it is.
    pub progress: Progress,
    /// How it ended, once it is reaped.
    pub ended: Option<(Ended, u64)>,
    /// Why it could not be set up.
    pub failure: Option<Failure>,
    /// Until the program runs.
    pub channel: Option<Channel>,
    warnings: Vec<String>,
    executing: bool,
}

impl Task {
    /// A process that was just made.
    pub fn new(pid: i32, pidfd: OwnedFd, channel: Option<Channel>, io: Io) -> Self {
        // It is our child and not reaped, so it is there.
        let start_time = record::start_time(pid).unwrap_or(0);
        let progress = if channel.is_some() { Progress::SettingUp } else { Progress::Running };
        Self {
            pid,
            pidfd,
            start_time,
            io,
            progress,
            ended: None,
            failure: None,
            channel,
            warnings: Vec::new(),
            executing: false,
        }
    }

    /// What is told of its start.
    pub fn started(&self) -> Started {
        Started { pid: self.pid, start_time: self.start_time, warnings: self.warnings.clone() }
    }

    /// Takes what the child reports.
    pub fn take_reports(&mut self) -> Outcome {
        while let Some(channel) = &self.channel {
            match channel.receive::<Report>() {
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Outcome::Pending,
                Ok(Some((Report::Terminal, Some(master)))) => self.io.set_terminal(master),
                Ok(Some((Report::Terminal, None))) => {}
                Ok(Some((Report::Warning(text), _))) => self.warnings.push(text),
                Ok(Some((Report::Executing, _))) => self.executing = true,
                Ok(Some((Report::Failed(failed), _))) => self.failure = Some(failed),
                Ok(None) => self.channel = None,
                // It ended before it read all; what it sent is still there.
                Err(nix::Error::ECONNRESET) => {}
                Err(errno) => {
                    self.channel = None;
                    let text = format!("reading the child's report: {}", words(errno));
                    self.failure.get_or_insert(failure(Stage::Protocol, text));
                }
            }
        }
        if self.failure.is_none() && self.executing {
            if self.progress == Progress::SettingUp {
                self.progress = Progress::Running;
                return Outcome::Started;
            }
            return Outcome::Pending;
        }
        self.failure.get_or_insert_with(|| {
            failure(Stage::Exec, "the process was killed while it was set up (its memory limit may be too low)")
        });
        Outcome::Failed
    }

    /// Takes its end, if it has come.
    pub fn reap(&mut self) -> bool {
        if self.ended.is_none()
            && let Ok(Some(ended)) = sys::reap(self.pidfd.as_fd())
        {
            self.ended = Some((ended, log::now()));
        }
        self.ended.is_some()
    }

    /// The record of its end.
    pub fn exit_record(&self, oom_killed: bool) -> ExitRecord {
        let (ended, finished_at) = self.ended.unwrap_or((Ended::Signal(libc::SIGKILL), log::now()));
        match ended {
            Ended::Code(code) => ExitRecord { code, signal: None, oom_killed, finished_at },
            Ended::Signal(signal) => ExitRecord { code: 128 + signal, signal: Some(signal), oom_killed, finished_at },
        }
    }
}
