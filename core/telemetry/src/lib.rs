//! Tracing, metrics, the audit log, the event bus, and their names.

pub mod audit;
pub mod events;
pub mod metrics;
mod trace;

pub use trace::{LogFormat, TraceError, init};
