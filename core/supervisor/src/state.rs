//! A container's lifecycle as a pure decision: no I/O, no clock, no flags beside the state.
//!
//! ```text
//!             Start                Started
//!  Created ──────────► Starting ────────────► Running ◄──────► Paused
//!     ▲                 │    ▲                   │   Pause/Unpause │
//!     └──── Failed ─────┘    │ Due               │ Ended           │ Ended
//!           (or Exited)      │                   ▼                 ▼
//!                        Restarting ◄──── policy says again? ──────┘
//!                            │                   │ no
//!                            │ Stop, Kill        ▼
//!                            └────────────────► Exited ── Start ──► Starting
//!
//!  Created, Exited, Dead ── Remove ──► Removing ── Removed ──► Gone
//!                                          └────── Stuck ────► Dead
//! ```
//!
//! The driver feeds inputs in the order in which things happened and executes the effects in the order given.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

mod restart;

pub use restart::{Attempt, BACKOFF_MAX, BACKOFF_MIN, BACKOFF_RESET, Policy};

/// Where a container is in its life. Stored with its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It never ran. `failure` is that of the last attempt.
    Created {
        /// Why it could not be started, if that was tried.
        failure: Option<Failure>,
    },
    /// A set-up is going on.
    Starting {
        /// What it is when the set-up fails.
        from: Rest,
        /// Counted restarts and the pause before this one.
        attempt: Attempt,
    },
    /// Its process runs.
    Running(Run),
    /// Its process is frozen.
    Paused(Run),
    /// It ended and starts again at `until`.
    Restarting {
        /// When.
        until: Timestamp,
        /// How it ended.
        last: Exit,
        /// Counted restarts and the pause that is going on.
        attempt: Attempt,
    },
    /// It ended.
    Exited(Exit),
    /// Its parts are being removed.
    Removing {
        /// How it ended, if it ever ran.
        last: Option<Exit>,
    },
    /// Its removal failed half-way; only another removal is possible.
    Dead {
        /// How it ended, if it ever ran.
        last: Option<Exit>,
        /// Why it could not be removed.
        reason: String,
    },
    /// It is no more. Nobody stores this.
    Gone {
        /// How it ended, if it ever ran.
        last: Option<Exit>,
    },
}

/// A state in which nothing of the container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// It never ran.
    Created,
    /// It ended like this.
    Exited(Exit),
}

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// 127 where the command does not exist, 126 where it cannot be run, else 128.
    pub code: i32,
    /// What inspect shows as `State.Error`.
    pub message: String,
}

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Of the container's first process, in the host's numbering.
    pub pid: i32,
    /// When it was started.
    pub started: Timestamp,
    /// What its end will mean.
    pub ending: Ending,
    /// Counted restarts.
    pub attempt: Attempt,
}

/// What the end of a running process means to the restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Nobody asked for it: the policy decides.
    ByItself,
    /// A stop or kill was asked for: it stays down.
    Asked,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + signal for a signal.
    pub code: i32,
    /// When it had been started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Whether the kernel killed it, or a process in it, for memory.
    pub oom_killed: bool,
    /// Whether a person or program asked for it; `unless-stopped` looks at it when the daemon starts.
    pub ending: Ending,
    /// `State.Error`: why its last start failed, or `shim-lost`.
    pub error: String,
    /// Counted restarts.
    pub restarts: u32,
}

/// What happened or is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client asks for a start.
    Start,
    /// The pause before a restart is over.
    Due,
    /// The process runs.
    Started {
        /// Its pid.
        pid: i32,
        /// When.
        at: Timestamp,
    },
    /// The set-up failed and is undone.
    Failed(Failure),
    /// The process ended.
    Ended {
        /// Its exit code.
        code: i32,
        /// When.
        at: Timestamp,
        /// Whether memory ran out.
        oom_killed: bool,
        /// Empty, or why its end is not its own doing.
        error: String,
        /// The restart policy of this moment.
        policy: Policy,
    },
    /// A client asks it to end with this signal, and no policy may start it again.
    Stop {
        /// A signal number.
        signal: i32,
    },
    /// A client sends a signal.
    Kill {
        /// A signal number.
        signal: i32,
        /// Whether this signal means that it is to end: it then stays down.
        ends: bool,
    },
    /// A client asks for it to be frozen.
    Pause,
    /// A client asks for it to go on.
    Unpause,
    /// A client asks for its removal.
    Remove,
    /// All its parts are removed.
    Removed,
    /// Some part could not be removed.
    Stuck {
        /// Which and why.
        reason: String,
    },
}

/// What the driver does after a step, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Set the container up and start its process; then input `Started` or `Failed`.
    SetUp,
    /// Send this signal to its first process.
    Signal(i32),
    /// Freeze its cgroup.
    Freeze,
    /// Thaw its cgroup.
    Thaw,
    /// Publish this event.
    Announce(Happening),
    /// Tell waiters and attached clients that this run ended, then take down what the run used.
    TakeDown,
    /// Input `Due` at this time.
    Arm(Timestamp),
    /// Forget the timer.
    Disarm,
    /// Remove the container's parts; then input `Removed` or `Stuck`.
    Delete,
}

/// Events that a step itself causes; the driver adds the attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// `start`
    Start,
    /// `die`
    Die,
    /// `kill` with its signal
    Kill(i32),
    /// `pause`
    Pause,
    /// `unpause`
    Unpause,
    /// `destroy`
    Destroy,
}

/// Why an input is refused. The texts that clients see are made in `error.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It runs already: 304.
    AlreadyStarted,
    /// It does not run: 304 for a stop.
    AlreadyStopped,
    /// It does not run: 409.
    NotRunning,
    /// It is frozen; thaw it first.
    IsPaused,
    /// It is frozen; clients attach after it is thawed.
    AttachPaused,
    /// It is frozen; programs are run in it after it is thawed.
    ExecPaused,
    /// It is frozen already.
    AlreadyPaused,
    /// It is not frozen.
    NotPaused,
    /// It waits for its restart.
    IsRestarting,
    /// It runs and cannot be removed.
    MustStop,
    /// It is being removed.
    RemovalInProgress,
    /// It is dead or gone; only a removal is possible.
    IsDead,
    /// The driver fed something that cannot have happened in this state.
    OutOfOrder,
}

impl Default for State {
    fn default() -> Self {
        State::Created { failure: None }
    }
}

impl State {
    /// Docker's word for it in `State.Status`.
    pub fn status(&self) -> &'static str {
        match self {
            State::Created { .. } | State::Starting { from: Rest::Created, .. } => "created",
            State::Running(_) => "running",
            State::Paused(_) => "paused",
            State::Restarting { .. } => "restarting",
            State::Exited(_) | State::Starting { from: Rest::Exited(_), .. } => "exited",
            State::Removing { .. } | State::Gone { .. } => "removing",
            State::Dead { .. } => "dead",
        }
    }

    /// The running or frozen process.
    pub fn run(&self) -> Option<&Run> {
        match self {
            State::Running(run) | State::Paused(run) => Some(run),
            _ => None,
        }
    }

    /// How it ended last, if it has and does not run now.
    pub fn last(&self) -> Option<&Exit> {
        match self {
            State::Exited(exit)
            | State::Restarting { last: exit, .. }
            | State::Starting { from: Rest::Exited(exit), .. } => Some(exit),
            State::Removing { last } | State::Dead { last, .. } | State::Gone { last } => last.as_ref(),
            _ => None,
        }
    }

    /// Docker's `Running`: a process exists, or will again without anybody asking.
    pub fn is_running(&self) -> bool {
        matches!(self, State::Running(_) | State::Paused(_) | State::Restarting { .. })
    }

    /// Restarts that the policy made.
    pub fn restarts(&self) -> u32 {
        match self {
            State::Starting { attempt, .. } | State::Restarting { attempt, .. } => attempt.restarts,
            State::Running(run) | State::Paused(run) => run.attempt.restarts,
            _ => self.last().map_or(0, |exit| exit.restarts),
        }
    }
}

/// The next state and what to do, or why not. `state` is unchanged when it is refused.
pub fn step(state: &State, input: Input) -> Result<(State, Vec<Effect>), Denied> {
    match input {
        Input::Start => start(state),
        Input::Due => due(state),
        Input::Started { pid, at } => started(state, pid, at),
        Input::Failed(failure) => failed(state, failure),
        Input::Ended { code, at, oom_killed, error, policy } => {
            let (run, started) = match state {
                State::Running(run) | State::Paused(run) => (run, run.started),
                _ => return Err(Denied::OutOfOrder),
            };
            let restarts = run.attempt.restarts;
            let exit = Exit { code, started, finished: at, oom_killed, ending: run.ending, error, restarts };
            Ok(ended(run, exit, policy))
        }
        Input::Stop { signal } => end(state, signal, Denied::AlreadyStopped),
        Input::Kill { signal, ends: true } => end(state, signal, Denied::NotRunning),
        Input::Kill { signal, ends: false } => match state {
            State::Running(_) | State::Paused(_) => {
                Ok((state.clone(), vec![Effect::Signal(signal), Effect::Announce(Happening::Kill(signal))]))
            }
            State::Restarting { .. } => Ok((state.clone(), Vec::new())),
            _ => Err(Denied::NotRunning),
        },
        Input::Pause => match state {
            State::Running(run) => {
                Ok((State::Paused(run.clone()), vec![Effect::Freeze, Effect::Announce(Happening::Pause)]))
            }
            State::Paused(_) => Err(Denied::AlreadyPaused),
            State::Restarting { .. } => Err(Denied::IsRestarting),
            _ => Err(Denied::NotRunning),
        },
        Input::Unpause => match state {
            State::Paused(run) => {
                Ok((State::Running(run.clone()), vec![Effect::Thaw, Effect::Announce(Happening::Unpause)]))
            }
            State::Running(_) | State::Restarting { .. } => Err(Denied::NotPaused),
            _ => Err(Denied::NotRunning),
        },
        Input::Remove => remove(state),
        Input::Removed => match state {
            State::Removing { last } => {
                Ok((State::Gone { last: last.clone() }, vec![Effect::Announce(Happening::Destroy)]))
            }
            _ => Err(Denied::OutOfOrder),
        },
        Input::Stuck { reason } => match state {
            State::Removing { last } => Ok((State::Dead { last: last.clone(), reason }, Vec::new())),
            _ => Err(Denied::OutOfOrder),
        },
    }
}

fn start(state: &State) -> Result<(State, Vec<Effect>), Denied> {
    let from = match state {
        State::Created { .. } => Rest::Created,
        State::Exited(exit) => Rest::Exited(exit.clone()),
        State::Starting { .. } | State::Running(_) | State::Restarting { .. } => return Err(Denied::AlreadyStarted),
        State::Paused(_) => return Err(Denied::IsPaused),
        State::Removing { .. } => return Err(Denied::RemovalInProgress),
        State::Dead { .. } | State::Gone { .. } => return Err(Denied::IsDead),
    };
    Ok((State::Starting { from, attempt: Attempt::default() }, vec![Effect::SetUp]))
}

fn due(state: &State) -> Result<(State, Vec<Effect>), Denied> {
    let State::Restarting { last, attempt, .. } = state else { return Err(Denied::OutOfOrder) };
    Ok((State::Starting { from: Rest::Exited(last.clone()), attempt: *attempt }, vec![Effect::SetUp]))
}

fn started(state: &State, pid: i32, at: Timestamp) -> Result<(State, Vec<Effect>), Denied> {
    let State::Starting { attempt, .. } = state else { return Err(Denied::OutOfOrder) };
    let run = Run { pid, started: at, ending: Ending::ByItself, attempt: *attempt };
    Ok((State::Running(run), vec![Effect::Announce(Happening::Start)]))
}

fn failed(state: &State, failure: Failure) -> Result<(State, Vec<Effect>), Denied> {
    let State::Starting { from, .. } = state else { return Err(Denied::OutOfOrder) };
    let next = match from {
        Rest::Created => State::Created { failure: Some(failure) },
        Rest::Exited(exit) => State::Exited(Exit { code: failure.code, error: failure.message, ..exit.clone() }),
    };
    Ok((next, Vec::new()))
}

fn ended(run: &Run, exit: Exit, policy: Policy) -> (State, Vec<Effect>) {
    let mut effects = vec![Effect::Announce(Happening::Die), Effect::TakeDown];
    if run.ending == Ending::ByItself && policy.again(exit.code, exit.restarts) {
        let attempt = run.attempt.next(exit.finished.since(exit.started));
        let until = exit.finished.after(attempt.delay);
        effects.push(Effect::Arm(until));
        return (State::Restarting { until, last: exit, attempt }, effects);
    }
    (State::Exited(exit), effects)
}

/// Stop and kill: the process gets the signal and stays down once it has ended.
fn end(state: &State, signal: i32, not_running: Denied) -> Result<(State, Vec<Effect>), Denied> {
    let kill = [Effect::Signal(signal), Effect::Announce(Happening::Kill(signal))];
    match state {
        State::Running(run) => Ok((State::Running(Run { ending: Ending::Asked, ..run.clone() }), kill.to_vec())),
        State::Paused(run) => {
            let mut effects = kill.to_vec();
            effects.extend([Effect::Thaw, Effect::Announce(Happening::Unpause)]);
            Ok((State::Running(Run { ending: Ending::Asked, ..run.clone() }), effects))
        }
        State::Restarting { last, .. } => {
            Ok((State::Exited(Exit { ending: Ending::Asked, ..last.clone() }), vec![Effect::Disarm]))
        }
        _ => Err(not_running),
    }
}

fn remove(state: &State) -> Result<(State, Vec<Effect>), Denied> {
    let last = match state {
        State::Created { .. } => None,
        State::Exited(exit) => Some(exit.clone()),
        State::Dead { last, .. } => last.clone(),
        State::Running(_) | State::Restarting { .. } | State::Starting { .. } => return Err(Denied::MustStop),
        State::Paused(_) => return Err(Denied::IsPaused),
        State::Removing { .. } | State::Gone { .. } => return Err(Denied::RemovalInProgress),
    };
    Ok((State::Removing { last }, vec![Effect::Delete]))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
