//! No network but loopback.

mod config;
mod driver;

pub use config::Config;
pub use driver::Isolated;

sheave_plugin::plugin!(network: Isolated);
