//! `POST /containers/{id}/wait`: registered before anything is answered, told before anything is taken down.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Error, Fault};
use crate::record::View;
use crate::state::State;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// It does not run: at once where it does not.
    #[default]
    NotRunning,
    /// Its next end.
    NextExit,
    /// Its removal.
    Removed,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// What went wrong with its removal or end.
    pub error: Option<String>,
}

impl Condition {
    /// Reads the parameter; empty is `not-running`.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            other => Err(Fault::WaitCondition(other.to_owned()).into()),
        }
    }

    /// The outcome, if `view` fulfils the condition for one who began to wait after `ends` ends.
    fn fulfilled(self, view: &View, ends: u64) -> Option<Outcome> {
        let code = match &view.state {
            State::Created { failure } => failure.as_ref().map_or(0, |failure| failure.code),
            state => state.last().map_or(0, |exit| exit.code),
        };
        let outcome = Some(Outcome { code, error: None });
        match (&view.state, self) {
            (State::Gone { .. }, _) => outcome,
            (State::Dead { reason, .. }, Condition::Removed) => Some(Outcome { code, error: Some(reason.clone()) }),
            (_, Condition::Removed) => None,
            (_, Condition::NextExit) => (view.ends > ends).then_some(outcome).flatten(),
            (State::Starting { .. }, Condition::NotRunning) => None,
            (state, Condition::NotRunning) => (!state.is_running()).then_some(outcome).flatten(),
        }
    }
}

/// Someone who waits from the moment this was made.
#[derive(Debug)]
pub struct Waiter {
    view: watch::Receiver<Arc<View>>,
    condition: Condition,
    ends: u64,
}

impl Waiter {
    /// Begins to wait.
    pub fn new(view: watch::Receiver<Arc<View>>, condition: Condition) -> Self {
        let ends = view.borrow().ends;
        Self { view, condition, ends }
    }

    /// Waits.
    pub async fn outcome(mut self) -> Outcome {
        loop {
            let now = self.view.borrow_and_update().clone();
            if let Some(outcome) = self.condition.fulfilled(&now, self.ends) {
                return outcome;
            }
            if self.view.changed().await.is_err() {
                // The driver is gone, which happens when the daemon ends: nobody will be told more.
                let last = self.view.borrow().clone();
                let code = last.state.last().map_or(0, |exit| exit.code);
                return Outcome { code, error: Some("the engine is shutting down".to_owned()) };
            }
        }
    }
}
