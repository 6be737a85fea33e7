//! Docker Engine API wire types and the version gates.

pub mod images;
pub mod progress;
