//! Registries of the OCI distribution specification.
//!
//! It serves every host (`*`), so a plugin for one vendor's registry takes its hosts over by naming them.

mod challenge;
mod config;
mod driver;
mod endpoints;
mod token;

pub use driver::OciRegistry;

sheave_plugin::plugin!(registry: OciRegistry);
