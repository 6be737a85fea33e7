//! Content store, pull, unpack, image records.

mod error;
pub mod unpack;

pub use error::LayerError;
