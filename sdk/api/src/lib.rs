//! The wire types of the Docker Engine API at version 1.51, and how older versions are made from and into it.
//!
//! Requests tolerate `null` and missing fields; responses have exactly the fields that Docker writes, `null` and `[]`
//! included. Everything but [`version`] knows the newest version only.

pub mod containers;
pub mod events;
pub mod filters;
pub mod images;
pub mod networks;
pub mod progress;
pub mod system;
pub mod timestamp;
pub mod version;
pub mod volumes;

pub use filters::Filters;
pub use version::Version;
