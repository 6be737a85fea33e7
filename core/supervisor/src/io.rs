//! Streams between clients and containers.

pub mod keys;
pub mod mux;
pub mod session;
