//! The daemon's side of a container's shim: start one, talk to it, notice when it is gone.

mod connection;
mod process;
mod stream;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sheave_shim::protocol::{
    Attach, EXIT_FILE, Exec, ExitRecord, FromShim, Launch, Network, Request, Response, SOCKET_FILE, STATE_FILE,
    Started, StateRecord, ToShim,
};

use crate::Error;
use connection::Connection;

pub use process::Process;
pub use stream::{Output, StreamReader, StreamWriter};

/// How long an answer on `shim.sock` may take. The shim is single-threaded and answers at once; what can take long
/// (an exec's set-up, a freeze) is bounded by this.
const ANSWER: Duration = Duration::from_secs(30);

/// The shim of one container, known by its directory `<exec-root>/<id>`.
#[derive(Debug, Clone)]
pub struct Shim {
    dir: PathBuf,
}

/// A shim that was started here and waits for its orders.
#[derive(Debug)]
pub struct Launching {
    /// The shim.
    pub shim: Shim,
    /// Its process, a child of the daemon.
    pub process: Process,
    control: Connection,
}

/// What became of a launch.
#[derive(Debug)]
pub enum Launched {
    /// The container's program runs.
    Started(Started),
    /// It does not, and the shim has undone what it did.
    Failed(sheave_shim::protocol::Failure),
}

impl Shim {
    /// The shim of this directory, whether it lives or not.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts `program` for this directory, which must exist, and waits until it listens.
    ///
    /// # Errors
    /// `Internal` when it cannot be run or says something else.
    pub async fn spawn(self, program: &Path) -> Result<Launching, Error> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(Error::file("socketpair"))?;
        let process = sheave_shim::client::spawn(program, &self.dir, theirs.into())?;
        let process = Process::new(process.pidfd).map_err(Error::file("watch the shim"))?;
        let mut control = Connection::new(ours)?;
        match control.message::<FromShim>().await?.0 {
            FromShim::Listening => Ok(Launching { shim: self, process, control }),
            other => Err(Error::Shim(format!("the shim began with {other:?}"))),
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        Connection::open(&self.dir.join(SOCKET_FILE)).await
    }

    /// Sends a request on a connection of its own and waits for the answer.
    ///
    /// # Errors
    /// Those of the shim, with the kind and text it gave; `Unavailable` when it is gone.
    pub async fn request(&self, request: &Request) -> Result<(Response, Vec<OwnedFd>), Error> {
        tokio::time::timeout(ANSWER, async { self.connect().await?.request(request, &[]).await })
            .await
            .map_err(|_| Error::Shim("the shim does not answer".to_owned()))?
    }

    /// Sends a request that is answered by `Done`.
    ///
    /// # Errors
    /// As [`Shim::request`].
    pub async fn order(&self, request: &Request) -> Result<(), Error> {
        match self.request(request).await?.0 {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Attaches to the container's streams; `None` where it has ended already.
    ///
    /// # Errors
    /// As [`Shim::request`].
    pub async fn attach(&self, streams: Attach) -> Result<Option<(StreamReader, StreamWriter)>, Error> {
        let mut connection = self.connect().await?;
        match connection.request(&Request::Attach(streams), &[]).await?.0 {
            Response::Attached => Ok(Some(connection.into_stream())),
            Response::Exited(_) => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a process in the container; the outer error is the shim's, the inner one that of the process.
    ///
    /// # Errors
    /// As [`Shim::request`].
    pub async fn exec(
        &self,
        exec: Exec,
        seccomp: Option<OwnedFd>,
    ) -> Result<Result<(Started, StreamReader, StreamWriter), sheave_shim::protocol::Failure>, Error> {
        let mut connection = self.connect().await?;
        let fds: Vec<OwnedFd> = seccomp.into_iter().collect();
        match connection.request(&Request::Exec(Box::new(exec)), &fds).await?.0 {
            Response::ExecStarted(started) => {
                let (reader, writer) = connection.into_stream();
                Ok(Ok((started, reader, writer)))
            }
            Response::ExecFailed(failure) => Ok(Err(failure)),
            other => Err(unexpected(&other)),
        }
    }

    /// Subscribes to what happens in the container.
    ///
    /// # Errors
    /// As [`Shim::request`].
    pub async fn events(&self) -> Result<Events, Error> {
        let connection = self.connect().await?;
        connection.send(&Request::Events, &[]).await?;
        Ok(Events { connection })
    }

    /// Takes over the sockets of the container's name server.
    ///
    /// # Errors
    /// As [`Shim::request`].
    pub async fn dns_sockets(&self) -> Result<Vec<OwnedFd>, Error> {
        match self.request(&Request::DnsSockets).await? {
            (Response::DnsSockets(_), fds) => Ok(fds),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// What the shim wrote before the container's program ran.
    pub fn state_record(&self) -> Option<StateRecord> {
        read_json(&self.dir.join(STATE_FILE))
    }

    /// What the shim wrote before it announced the end.
    pub fn exit_record(&self) -> Option<ExitRecord> {
        read_json(&self.dir.join(EXIT_FILE))
    }
}

/// What happens in a container, from its shim.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
}

impl Events {
    /// The next event; an error when the shim is gone.
    ///
    /// # Errors
    /// `Unavailable` at the end of the connection.
    pub async fn next(&mut self) -> Result<sheave_shim::protocol::Event, Error> {
        match self.connection.message::<Response>().await?.0 {
            Response::Event(event) => Ok(event),
            other => Err(unexpected(&other)),
        }
    }
}

impl Launching {
    /// Gives the shim its container. It begins at once and waits for [`Launching::network`] where it needs it.
    ///
    /// # Errors
    /// `Unavailable` when it is gone.
    pub async fn launch(&self, launch: Launch, seccomp: Option<&OwnedFd>) -> Result<(), Error> {
        let fds: Vec<&OwnedFd> = seccomp.into_iter().collect();
        self.control.send(&ToShim::Launch(Box::new(launch)), &fds).await
    }

    /// The word "go", with the network namespace and the sockets of the name server.
    ///
    /// # Errors
    /// `Unavailable` when it is gone.
    pub async fn network(&self, netns: Option<&OwnedFd>, dns: &[OwnedFd]) -> Result<(), Error> {
        let count = u8::try_from(dns.len()).map_err(|_| Error::Shim("too many name server sockets".to_owned()))?;
        let fds: Vec<&OwnedFd> = netns.into_iter().chain(dns).collect();
        let network = Network { netns: netns.is_some(), dns_sockets: count };
        self.control.send(&ToShim::Network(network), &fds).await
    }

    /// Waits until the container's program runs or could not be run, or the shim is gone.
    pub async fn outcome(mut self) -> (Result<Launched, Error>, Process) {
        let outcome = match self.control.message::<FromShim>().await {
            Ok((FromShim::Started(started), _)) => Ok(Launched::Started(started)),
            Ok((FromShim::Failed(failure), _)) => Ok(Launched::Failed(failure)),
            Ok((other, _)) => Err(Error::Shim(format!("the shim said {other:?} before the container ran"))),
            Err(error) => Err(error),
        };
        (outcome, self.process)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn unexpected(response: &Response) -> Error {
    match response {
        Response::Error { kind, message } => Error::Refused { kind: *kind, message: message.clone() },
        other => Error::Shim(format!("the shim answered {other:?}")),
    }
}
