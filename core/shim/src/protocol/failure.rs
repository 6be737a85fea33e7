//! Why a process could not be set up.

use serde::{Deserialize, Serialize};

/// Where a set-up failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The message from the daemon.
    Protocol,
    /// Making cgroups, limits, joining.
    Cgroup,
    /// Making or joining namespaces, cloning.
    Namespaces,
    /// The root file system.
    Rootfs,
    /// Mounts, devices, masks.
    Mounts,
    /// The network namespace.
    Network,
    /// Kernel parameters, host name.
    Sysctl,
    /// The standard streams and the terminal.
    Stdio,
    /// Limits, user, capabilities.
    Privileges,
    /// The seccomp program.
    Seccomp,
    /// The working directory.
    Cwd,
    /// Finding and executing the program.
    Exec,
    /// The external runtime.
    Runtime,
}

/// What kind of failure it is; Docker's exit codes 126, 127 and 128 come from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The program does not exist (127).
    NotFound,
    /// The program may not be executed, or is a directory (126).
    NotExecutable,
    /// The set-up failed (128).
    Setup,
}

/// A set-up that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// What kind.
    pub kind: FailureKind,
    /// The system's error number, 0 if there is none.
    pub errno: i32,
    /// In words, as runc has it: `exec: "nope": executable file not found in $PATH`.
    pub message: String,
}

impl Failure {
    /// The exit code that Docker gives a container which failed so.
    ///
    /// Source: <https://docs.docker.com/engine/containers/run/#exit-status>
    pub fn exit_code(&self) -> i32 {
        match self.kind {
            FailureKind::NotFound => 127,
            FailureKind::NotExecutable => 126,
            FailureKind::Setup => 128,
        }
    }
}
