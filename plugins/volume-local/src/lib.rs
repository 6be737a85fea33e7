//! Volumes as directories and mounts on this host: Docker's `local` driver.

mod config;
mod driver;
mod options;

pub use config::Config;
pub use driver::Local;

sheave_plugin::plugin!(volume: driver::Local);
