//! The host's own network namespace.

mod config;
mod driver;

pub use config::Config;
pub use driver::Host;

sheave_plugin::plugin!(network: Host);
