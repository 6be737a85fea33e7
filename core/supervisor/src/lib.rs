//! Containers: state, set-up, exec, logs, recovery.

mod cgroup;
mod command;
mod driver;
mod error;
pub mod exec;
pub mod io;
pub mod list;
pub mod logs;
mod names;
mod operations;
pub mod record;
mod settings;
pub mod shim;
mod signal;
pub mod spec;
pub mod state;
mod store;
mod summary;
pub mod time;
pub mod wait;
mod watcher;

pub use error::{Error, Fault};
pub use operations::attach::Attachment;
pub use operations::logs::LogStream;
pub use settings::{NATIVE, Runtime, Settings};
