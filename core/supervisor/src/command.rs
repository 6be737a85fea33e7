//! What a container's driver is asked and told, and the parts it works with.

use std::sync::Arc;

use async_trait::async_trait;
use sheave_api::containers::{EndpointSettings, Health, NetworkSettings};
use sheave_shim::protocol::{Attach, ExitRecord};
use sheave_types::ErrorKind;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::Error;
use crate::record::View;
use crate::shim::{Process, Shim, StreamReader, StreamWriter};
use crate::state::{Failure, Input};
use crate::time::Timestamp;

/// Both ends of a container's streams, or nothing where it has ended meanwhile.
pub type Streams = Option<(StreamReader, StreamWriter)>;

/// Asks for something and waits for the answer.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A client that attached before the container ran.
#[derive(Debug)]
pub struct Pending {
    /// Which streams it wants.
    pub streams: Attach,
    /// Where they go.
    pub reply: Reply<Streams>,
}

/// What a driver is asked or told.
#[derive(Debug)]
pub enum Command {
    /// A step of the lifecycle that a client asks for; answered once its effects are there.
    Step {
        /// Which.
        input: Input,
        /// Its end.
        reply: Reply<Arc<View>>,
    },
    /// Removal, with anonymous volumes or without.
    Remove {
        /// With them.
        volumes: bool,
        /// Its end.
        reply: Reply<Arc<View>>,
    },
    /// While true, a container that is to be removed when it ends is kept: it is being restarted.
    Keep(bool),
    /// Answered once the last run is taken down: its ports and addresses are free.
    Settle(Reply<()>),
    /// A client attaches; where nothing runs it waits for the next start.
    Attach(Pending),
    /// Another name, which is reserved already.
    Rename {
        /// Without a slash.
        name: String,
        /// Its end.
        reply: Reply<Arc<View>>,
    },
    /// It joined or left a network.
    Network {
        /// Which.
        change: Membership,
        /// Its end.
        reply: Reply<()>,
    },
    /// Its health check has something to say.
    Health {
        /// Of which run.
        run: u64,
        /// What.
        health: Arc<Health>,
    },
    /// Its shim has something to say.
    Report {
        /// Of which run.
        run: u64,
        /// What.
        report: Report,
    },
}

/// A change of the networks that a container is in.
#[derive(Debug)]
pub enum Membership {
    /// It is in one more.
    Joined {
        /// Its name.
        network: String,
        /// What the container asks for in it.
        wishes: Box<EndpointSettings>,
        /// Its place in it, where it runs.
        now: Option<Box<EndpointSettings>>,
    },
    /// It is in one less.
    Left {
        /// Its name.
        network: String,
    },
}

/// What the watcher of a run tells.
#[derive(Debug)]
pub enum Report {
    /// The kernel killed a process for memory.
    Oom,
    /// An exec ended.
    ExecEnded {
        /// Its id.
        id: String,
        /// How.
        record: ExitRecord,
    },
    /// The container's process ended.
    Ended {
        /// Exit code.
        code: i32,
        /// When.
        at: Timestamp,
        /// Whether memory ran out while it ran.
        oom_killed: bool,
        /// Empty, or `shim-lost`.
        error: String,
    },
}

/// A container that was set up.
#[derive(Debug)]
pub struct Up {
    /// Of its first process.
    pub pid: i32,
    /// When it was started.
    pub at: Timestamp,
    /// Its networks.
    pub network: NetworkSettings,
    /// Its shim's process.
    pub process: Process,
    /// What was not as asked for, in words.
    pub warnings: Vec<String>,
}

/// A set-up that failed and was undone.
#[derive(Debug, Clone)]
pub struct SetUpError {
    /// What is kept of it.
    pub failure: Failure,
    /// What kind of failure it was.
    pub kind: ErrorKind,
}

/// What a container is made of: the seam between decisions (here) and the parts that are put together (`setup`).
#[async_trait]
pub trait Resources: Send + Sync + 'static {
    /// Makes everything that a run needs and starts the process. After an error nothing of it is left.
    async fn set_up(&self, view: &View, pending: Vec<Pending>) -> Result<Up, SetUpError>;
    /// Takes down what a run used. Goes on after errors, which it logs; may be called again.
    async fn take_down(&self, view: &View);
    /// Removes what a container at rest consists of.
    async fn delete(&self, view: &View, volumes: bool) -> Result<(), Error>;
    /// The shim of a container.
    fn shim(&self, view: &View) -> Shim;
    /// Its networks while it does not run.
    fn at_rest(&self, view: &View) -> NetworkSettings;
    /// An exec in it ended.
    fn exec_ended(&self, view: &View, id: &str, record: &ExitRecord);
    /// It ended: execs of it are over too.
    fn ended(&self, view: &View);
    /// It has another name than `from`.
    async fn renamed(&self, view: &View, from: &str);
    /// It runs: begins what accompanies a run, for example health checks, which end with the returned task.
    fn accompany(&self, view: &View, run: u64, mailbox: mpsc::Sender<Command>) -> Vec<JoinHandle<()>>;
}
