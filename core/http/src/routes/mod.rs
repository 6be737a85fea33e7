//! One file an area: the trait it needs, its routes, its handlers.

pub mod containers;
pub mod exec;
pub mod images;
pub(crate) mod missing;
pub mod networks;
pub mod system;
pub mod volumes;
