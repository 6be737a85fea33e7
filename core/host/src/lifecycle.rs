//! The life of a plugin, as a pure state machine.
//!
//! ```text
//! Discovered ─ verified ─► Verified ─ made ─► Ready ⇄ Degraded{faults}
//!                                              ▲          │ too many faults in a row
//!                                              │          ▼
//!                                  probe ok ───┴── Quarantined{until, rests}
//! Ready | Degraded | Quarantined ─ drain ─► Draining ─ idle ─► Unloaded
//! ```

use std::time::Duration;

/// Faults in a row after which a plugin rests.
const FAULTS: u32 = 5;
/// The first rest; each further one is twice as long.
const REST: Duration = Duration::from_secs(1);
/// The longest rest.
const LONGEST: Duration = Duration::from_secs(60);

/// Where a plugin is in its life. Times are since an origin that the caller chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its artifact is known.
    Discovered,
    /// Manifest, digest and grants are in order.
    Verified,
    /// Its driver is made and answers.
    Ready,
    /// It answers, but its last calls were faults.
    Degraded {
        /// Faults in a row.
        faults: u32,
        /// How often it has rested since it last answered.
        rests: u32,
    },
    /// It rests; calls fail at once.
    Quarantined {
        /// When one call is let through again.
        until: Duration,
        /// How often it has rested since it last answered.
        rests: u32,
        /// The fault that led here.
        reason: String,
    },
    /// It gets no new calls.
    Draining,
    /// Its driver is gone.
    Unloaded,
}

/// What happens to a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Its manifest and grants are in order.
    Verified,
    /// Its constructor succeeded.
    Made,
    /// A call was answered, be it with an error of the plugin's own.
    Answered,
    /// A call trapped, panicked or missed its deadline.
    Fault(String),
    /// It is to be unloaded.
    Drain,
    /// Its last call has ended.
    Idle,
}

impl State {
    /// Its name in events and listings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Verified => "verified",
            Self::Ready => "ready",
            Self::Degraded { .. } => "degraded",
            Self::Quarantined { .. } => "quarantined",
            Self::Draining => "draining",
            Self::Unloaded => "unloaded",
        }
    }

    /// Whether a call may be made at `now`.
    pub fn admits(&self, now: Duration) -> bool {
        match self {
            Self::Ready | Self::Degraded { .. } => true,
            Self::Quarantined { until, .. } => now >= *until,
            Self::Discovered | Self::Verified | Self::Draining | Self::Unloaded => false,
        }
    }

    /// The state after `input` at `now`. An input that does not fit changes nothing.
    #[must_use]
    pub fn step(self, input: Input, now: Duration) -> Self {
        match (self, input) {
            (Self::Discovered, Input::Verified) => Self::Verified,
            (Self::Verified, Input::Made) => Self::Ready,
            (Self::Ready | Self::Degraded { .. } | Self::Quarantined { .. }, Input::Answered) => Self::Ready,
            (Self::Ready, Input::Fault(_)) => Self::Degraded { faults: 1, rests: 0 },
            (Self::Degraded { faults, rests }, Input::Fault(reason)) if faults + 1 >= FAULTS => {
                rest(now, rests, reason)
            }
            (Self::Degraded { faults, rests }, Input::Fault(_)) => Self::Degraded { faults: faults + 1, rests },
            // Calls that were under way when it was quarantined fail too; only the probe after the rest counts.
            (Self::Quarantined { until, rests, .. }, Input::Fault(reason)) if now >= until => rest(now, rests, reason),
            (Self::Verified | Self::Ready | Self::Degraded { .. } | Self::Quarantined { .. }, Input::Drain) => {
                Self::Draining
            }
            (Self::Draining, Input::Idle) => Self::Unloaded,
            (state, _) => state,
        }
    }
}

fn rest(now: Duration, rests: u32, reason: String) -> State {
    let time = REST.saturating_mul(2_u32.saturating_pow(rests)).min(LONGEST);
    State::Quarantined { until: now + time, rests: rests + 1, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault() -> Input {
        Input::Fault("trap".into())
    }

    #[test]
    fn rests_longer_each_time_and_recovers() {
        let mut now = Duration::ZERO;
        let mut state = State::Discovered.step(Input::Verified, now).step(Input::Made, now);
        for _ in 0..FAULTS {
            assert!(state.admits(now));
            state = state.step(fault(), now);
        }
        for rest in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!state.admits(now), "{state:?}");
            now += Duration::from_secs(rest);
            assert!(state.admits(now), "{state:?} at {now:?}");
            state = state.step(fault(), now);
        }
        assert_eq!(state.step(Input::Answered, now), State::Ready);
    }

    proptest! {
        #[test]
        fn unloaded_is_final_and_only_the_loaded_admit(inputs in prop::collection::vec(0_u8..6, 0..60)) {
            let mut state = State::Discovered;
            let mut now = Duration::ZERO;
            let mut made = false;
            for input in inputs {
                now += Duration::from_millis(400);
                let input = match input {
                    0 => Input::Verified, 1 => Input::Made, 2 => Input::Answered, 3 => fault(), 4 => Input::Drain, _ => Input::Idle,
                };
                let before = state.clone();
                made |= before == State::Verified && input == Input::Made;
                state = state.step(input, now);
                prop_assert!(before != State::Unloaded || state == State::Unloaded);
                prop_assert!(made || !state.admits(now));
            }
        }
    }
}
