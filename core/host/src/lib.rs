//! The plugin host: manifests, grants, registry, lifecycle, carriers.
//!
//! [`Host::load`] takes the plugins that are linked into an engine, checks their manifests, gives each its directory and grants,
//! and makes its drivers. The typed clients ([`StoragePlugin`], [`NetworkPlugin`], …) call them: each call runs on a bounded
//! number of threads under a deadline, and a plugin that panics, blocks or fails costs its caller one named error.

mod client;
mod context;
mod error;
mod grants;
mod lifecycle;
mod outgoing;
mod plugin;
mod registry;

pub use client::{BuildPlugin, HookPlugin, NetworkPlugin, RegistryPlugin, StoragePlugin, VolumePlugin};
pub use error::HostError;
pub use grants::{Grants, host_matches};
pub use lifecycle::{Input, State};
pub use plugin::{Planned, Plugin};
pub use registry::{Host, Options, PluginInfo, PluginOptions};
