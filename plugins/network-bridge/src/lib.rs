//! Bridge networks with address translation and published ports.

mod config;
mod driver;

pub use config::Config;
pub use driver::Bridge;

sheave_plugin::plugin!(network: Bridge);
