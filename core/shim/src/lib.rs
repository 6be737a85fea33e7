//! The protocol of the per-container process `sheave-shim`, and a blocking client of it.

pub mod client;
pub mod error;
mod placement;
pub mod protocol;
mod spawn;
pub mod wire;

pub use error::{Error, Result};
