//! One file an area: the trait it needs, its routes, its handlers.

pub(crate) mod missing;
pub mod system;
