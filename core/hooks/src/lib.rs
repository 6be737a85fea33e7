//! The hook bus: every operation passes through it once, typed, after it was decoded and before it runs.
//!
//! [`HookBus::before`] asks the hooks in the order of the configuration; each may allow, deny or amend. What the last one
//! leaves in the [`Payload`] is what runs: there is no second parse. A mandatory hook that is away, too late or broken
//! denies. [`HookBus::after`] tells them how it went, [`HookBus::spec`] gives them a last look at a runtime spec.
//!
//! Without a subscriber an operation costs one bit test: nothing is serialised.

mod bus;
mod error;
mod operation;
mod plugin;

pub use bus::{Configured, Hook, HookBus, Ruling};
pub use error::HookError;
pub use operation::{Identity, Operation, Outcome, Payload};
pub use sheave_plugin::hook::Verdict;
