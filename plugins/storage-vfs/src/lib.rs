//! Snapshots as plain directory copies.
//!
//! The driver for file systems that overlayfs cannot lie on, and the one to read first: every snapshot is a whole tree.

mod config;
mod driver;

pub use config::Config;
pub use driver::Vfs;

sheave_plugin::plugin!(storage: driver::Vfs);
