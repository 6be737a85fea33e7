//! Docker Engine API wire types and the version gates.

pub mod containers;
pub mod images;
pub mod progress;
