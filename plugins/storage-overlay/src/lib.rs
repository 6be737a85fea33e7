//! Snapshots as overlayfs layers.
//!
//! A layer is a directory that holds only what it changes; a container's tree is one mount over the directories of its chain.

mod config;
mod driver;

pub use config::Config;
pub use driver::Overlay;

sheave_plugin::plugin!(storage: driver::Overlay);
