//! Errors of the command line, what they tell the user, and the exit code of each.

use std::process::ExitCode;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The engine answered with an error.
    #[error("{message}")]
    Engine {
        /// HTTP status.
        status: u16,
        /// Its text.
        message: String,
    },
    /// The engine cannot be reached.
    #[error(
        "cannot connect to the engine at {address}: {reason}\nIs sheaved running? Start it with `sheaved`, or name another socket with -H or SHEAVE_HOST."
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The client library's own error.
    #[error("{0}")]
    Client(bollard::errors::Error),
    /// A flag's value is wrong.
    #[error("{flag}: {reason}")]
    Flag {
        /// The flag or argument.
        flag: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// A `--format` template is wrong.
    #[error("--format: {0}")]
    Template(String),
    /// Several things were asked for, and some failed.
    #[error("{}", .0.join("\n"))]
    Several(Vec<String>),
    /// Standard input or output, or a file.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// An answer that is not what the API says.
    #[error("unexpected answer of the engine: {0}")]
    Answer(String),
    /// The runtime could not start.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
    /// An error of a container's start, with the exit code it stands for.
    #[error("{message}")]
    Start {
        /// 125, 126 or 127.
        code: u8,
        /// The engine's text.
        message: String,
    },
    /// A step of the demo.
    #[error("demo: {0}")]
    Demo(String),
}

impl From<bollard::errors::Error> for CliError {
    fn from(error: bollard::errors::Error) -> Self {
        use bollard::errors::Error as Theirs;
        match error {
            Theirs::DockerResponseServerError { status_code, message } => Self::Engine { status: status_code, message },
            Theirs::DockerStreamError { error } => Self::Engine { status: 500, message: error },
            other => Self::Client(other),
        }
    }
}

impl CliError {
    /// The exit code: 125 where the engine refused to start a container, 126 and 127 as a shell has them, 1 otherwise.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Start { code, .. } => *code,
            Self::Flag { .. } => 125,
            _ => 1,
        }
    }

    /// The same as the failure to run a command in a container.
    pub(crate) fn of_start(self) -> Self {
        let message = self.to_string();
        let has = |part: &str| message.contains(part);
        let code = if has("executable file not found")
            || has("no such file or directory")
            || has("system cannot find the file")
        {
            127
        } else if has("permission denied") || has("is a directory") {
            126
        } else {
            125
        };
        Self::Start { code, message }
    }
}

/// Tells the user and returns the exit code.
pub(crate) fn report(error: &CliError) -> ExitCode {
    match error {
        CliError::Engine { message, .. } | CliError::Start { message, .. } => {
            eprintln!("sheave: error from the engine: {message}")
        }
        other => eprintln!("sheave: {other}"),
    }
    ExitCode::from(error.code())
}
