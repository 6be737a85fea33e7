//! What container operations refuse, in Docker's words.

use sheave_types::{ErrorKind, Kinded};

use crate::state::Denied;

/// An error of the supervisor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this name, id or prefix.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// No exec has this id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// Several ids begin with this.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The name has characters that names cannot have.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName(String),
    /// Another container has the name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// Without a slash.
        name: String,
        /// Of the container that has it.
        id: String,
    },
    /// The state forbids it.
    #[error("{}", denial(*reason, id))]
    Denied {
        /// Why.
        reason: Denied,
        /// The container.
        id: String,
    },
    /// A running container is not removed without force.
    #[error("cannot remove container \"{name}\": container is {}", advice(status))]
    CannotRemove {
        /// With a slash.
        name: String,
        /// `running`, `paused`, `restarting`.
        status: &'static str,
    },
    /// Only one prune at a time.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// Known, but not offered.
    #[error("{0} is not supported by this engine")]
    Unsupported(&'static str),
    /// A key in a detach sequence that does not exist.
    #[error("Unknown character: '{0}'")]
    DetachKeys(String),
    /// A signal that does not exist.
    #[error("invalid signal: {0}")]
    Signal(String),
    /// A request without something it needs, or with something wrong.
    #[error("{0}")]
    Request(Fault),
    /// A filter value or name that does not exist.
    #[error("invalid filter '{0}'")]
    Filter(String),
    /// The configuration cannot be.
    #[error(transparent)]
    Spec(#[from] crate::spec::SpecError),
    /// A runtime specification that cannot be written or read.
    #[error("the runtime specification: {0}")]
    SpecText(#[source] serde_json::Error),
    /// Images, storage, volumes, networks or hooks.
    #[error("{}", .0.message())]
    Neighbour(#[source] sheave_types::Error),
    /// The start failed; the text is for the client, the code became the container's exit code.
    #[error("{message}")]
    Start {
        /// What went wrong, with the words that make the client exit with 126 or 127.
        message: String,
        /// The container's exit code.
        code: i32,
        /// What kind of failure it was.
        kind: ErrorKind,
    },
    /// The shim did not do what it was asked.
    #[error("{0}")]
    Shim(String),
    /// The shim is not there any more.
    #[error("the shim is gone: {0}")]
    ShimGone(String),
    /// The shim refused a request.
    #[error("{message}")]
    Refused {
        /// Why.
        kind: ErrorKind,
        /// In words.
        message: String,
    },
    /// The shim's protocol was broken.
    #[error(transparent)]
    Protocol(#[from] sheave_shim::Error),
    /// The database.
    #[error(transparent)]
    Database(#[from] sheave_metadata::MetadataError),
    /// A file or directory of the container.
    #[error("{what}: {source}")]
    File {
        /// What was done to which path.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nothing answers for this container any more: it is being removed.
    #[error("container {0} is being removed")]
    Ended(String),
    /// A container did not end although it was killed.
    #[error("container {0} did not end within {1} seconds of being killed")]
    DidNotEnd(String, u64),
}

/// Requests that are wrong in themselves, with the texts that clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Logs need a stream.
    #[error("Bad parameters: you must choose at least one stream")]
    NoStream,
    /// Wait knows three conditions.
    #[error("invalid condition: \"{0}\"")]
    WaitCondition(String),
    /// Exec needs a command.
    #[error("No exec command specified")]
    NoCommand,
    /// An exec is started once.
    #[error("Error: Exec command {0} is already running")]
    ExecRuns(String),
    /// An exec is started once.
    #[error("Error: Exec command {0} has already run")]
    ExecHasRun(String),
    /// An exec that has no terminal to resize now.
    #[error("exec {0} is not running")]
    ExecNotRunning(String),
    /// A bind of something that is not there.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {0}")]
    BindSource(String),
    /// `ps` does not like its arguments.
    #[error("ps: {0}")]
    Ps(String),
    /// Which processes are the container's is told by their ids.
    #[error("Couldn't find PID field in ps output")]
    PsColumn,
    /// A namespace that is another's has the networks of the other.
    #[error(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )]
    SharedNetwork,
    /// A container is in a network once.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyJoined {
        /// Its name.
        container: String,
        /// The network's.
        network: String,
    },
    /// It is not in the network.
    #[error("container {container} is not connected to the network {network}")]
    NotJoined {
        /// Its id.
        container: String,
        /// The network's name.
        network: String,
    },
    /// Both names of a rename are needed.
    #[error("Neither old nor new names may be empty")]
    EmptyName,
    /// The name is its own already.
    #[error("Renaming a container with the same name as its current name")]
    SameName,
    /// A number or time of a query that is none.
    #[error("invalid value {value:?} for {name}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// A runtime that is not configured.
    #[error("unknown or invalid runtime name: {0}")]
    Runtime(String),
    /// A namespace of a container that does not run.
    #[error("cannot join the namespace of a non running container: {0}")]
    PeerNotRunning(String),
    /// IPC objects that are not meant for others.
    #[error("cannot join IPC of {0}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)")]
    NotShareable(String),
    /// The log is kept where it cannot be read.
    #[error("configured logging driver does not support reading")]
    LogDriver,
}

fn advice(status: &str) -> String {
    match status {
        "paused" => "paused and must be unpaused first".to_owned(),
        other => format!("{other}: stop the container before removing or force remove"),
    }
}

fn denial(reason: Denied, id: &str) -> String {
    match reason {
        Denied::AlreadyStarted => "container is already started".to_owned(),
        Denied::AlreadyStopped => "container is already stopped".to_owned(),
        Denied::NotRunning => format!("container {id} is not running"),
        Denied::IsPaused => "cannot start a paused container, try unpause instead".to_owned(),
        Denied::AttachPaused => format!("container {id} is paused, unpause the container before attach"),
        Denied::ExecPaused => format!("container {id} is paused, unpause the container before exec"),
        Denied::AlreadyPaused => format!("container {id} is already paused"),
        Denied::NotPaused => format!("container {id} is not paused"),
        Denied::IsRestarting => format!("container {id} is restarting, wait until the container is running"),
        Denied::MustStop => format!("container {id} is running"),
        Denied::RemovalInProgress => format!("removal of container {id} is already in progress"),
        Denied::IsDead => "container is marked for removal and cannot be started".to_owned(),
        Denied::OutOfOrder => format!("container {id}: an event came out of order"),
    }
}

impl Error {
    /// Docker's words before an error of an operation on a container; what is no failure stays as it is.
    #[must_use]
    pub fn during(self, what: &str, given: &str) -> Self {
        if self.kind() == ErrorKind::NotModified {
            return self;
        }
        let kind = self.kind();
        Error::Neighbour(sheave_types::Error::with_source(kind, format!("{what}: {given}: {self}"), self))
    }

    /// For `map_err`: what was done to which path.
    pub fn file(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Error::File { what: what.to_string(), source }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NoSuchContainer(_) | Error::NoSuchExec(_) => ErrorKind::NotFound,
            Error::Denied { reason: Denied::AlreadyStarted | Denied::AlreadyStopped, .. } => ErrorKind::NotModified,
            Error::Denied { reason: Denied::OutOfOrder, .. } => ErrorKind::Internal,
            Error::Request(Fault::ExecRuns(_) | Fault::ExecHasRun(_) | Fault::PeerNotRunning(_))
            | Error::Denied { .. }
            | Error::NameInUse { .. }
            | Error::CannotRemove { .. }
            | Error::PruneRunning
            | Error::Ended(_) => ErrorKind::Conflict,
            Error::Unsupported(_) => ErrorKind::Unsupported,
            Error::Request(Fault::AlreadyJoined { .. } | Fault::NotJoined { .. }) => ErrorKind::Denied,
            Error::Ambiguous(_)
            | Error::InvalidName(_)
            | Error::DetachKeys(_)
            | Error::Signal(_)
            | Error::Request(_)
            | Error::Filter(_) => ErrorKind::Invalid,
            Error::Spec(error) => error.kind(),
            Error::Neighbour(error) => error.kind(),
            Error::Start { kind, .. } => *kind,
            Error::ShimGone(_) => ErrorKind::Unavailable,
            Error::Refused { kind, .. } => *kind,
            Error::Protocol(error) => error.kind(),
            Error::Database(error) => error.kind(),
            Error::SpecText(_) | Error::Shim(_) | Error::File { .. } | Error::DidNotEnd(..) => ErrorKind::Internal,
        }
    }
}

impl From<sheave_types::Error> for Error {
    fn from(error: sheave_types::Error) -> Self {
        Error::Neighbour(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error::Request(fault)
    }
}
