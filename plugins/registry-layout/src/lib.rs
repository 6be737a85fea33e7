//! Images served from OCI layout directories: the air-gapped and embedded registry.

mod config;
mod driver;

pub use driver::LayoutRegistry;

sheave_plugin::plugin!(registry: LayoutRegistry);
