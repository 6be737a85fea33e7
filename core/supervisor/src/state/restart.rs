//! When a container that ended starts again, and after which pause.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ending, Exit};

/// A first pause before a restart; it doubles with each one up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A container that ran this long starts again with the shortest pause.
pub const BACKOFF_RESET: Duration = Duration::from_secs(10);

/// Restarts so far, and the pause before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// Restarts that the policy made since the last start by hand.
    pub restarts: u32,
    /// The pause before the latest one; zero before the first.
    pub delay: Duration,
}

/// When a container that ended is started again.
///
/// Docker: <https://docs.docker.com/engine/containers/start-containers-automatically/>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Policy {
    /// Never.
    #[default]
    No,
    /// Whatever its exit code.
    Always,
    /// The same, but not at the daemon's start if it had been stopped.
    UnlessStopped,
    /// If its exit code is not zero, at most this many times (0: without end).
    OnFailure(u32),
}

impl Attempt {
    /// The next restart after a run of this length.
    pub(super) fn next(self, ran: Duration) -> Self {
        let delay =
            if ran >= BACKOFF_RESET || self.delay.is_zero() { BACKOFF_MIN } else { (self.delay * 2).min(BACKOFF_MAX) };
        Self { restarts: self.restarts.saturating_add(1), delay }
    }
}

impl Policy {
    /// Whether a container that ended by itself with this code starts again.
    pub(super) fn again(self, code: i32, restarts: u32) -> bool {
        match self {
            Policy::No => false,
            Policy::Always | Policy::UnlessStopped => true,
            Policy::OnFailure(limit) => code != 0 && (limit == 0 || restarts < limit),
        }
    }

    /// Whether a container that is at rest is started when the daemon starts.
    pub fn at_boot(self, last: &Exit) -> bool {
        match self {
            Policy::No => false,
            Policy::Always => true,
            Policy::UnlessStopped => last.ending == Ending::ByItself,
            Policy::OnFailure(_) => last.ending == Ending::ByItself && self.again(last.code, last.restarts),
        }
    }
}
