//! From what a client asks for to what the runtime does: pure functions over API types, image configuration and facts of
//! the host, and the few readers of files that they need.
//!
//! The order in which a container's creation uses them:
//!
//! 1. [`merge`] the request with the image's configuration;
//! 2. [`apply_defaults`], so that inspect shows what holds;
//! 3. [`validate`]: every field works, is refused by its name with Docker's text, or is warned about;
//! 4. [`parse::requested_mounts`]: what to mount, whose sources the caller resolves.
//!
//! And its start:
//!
//! 5. [`user::resolve`] in the mounted root file system, [`resolve_devices`] on the host;
//! 6. [`etc`]: the contents of `hosts`, `resolv.conf`, `hostname`;
//! 7. [`build`]: the runtime specification, cut down to what the engine may do;
//! 8. [`seccomp::SeccompFilters::filter`] for the capabilities it has.
//!
//! An exec takes [`exec_process`], an update [`validate_limits`] and [`linux_resources`].
//!
//! Isolation and limits follow Docker's. Where they differ, a test beside [`build`] lists the difference and its
//! reason. What the engine's own bounding set, hard limits and `oom_score_adj` do not allow is left out with a warning
//! in the response; it never fails a start, so the engine also runs on hosts that are containers or small virtual
//! machines themselves.

pub mod etc;
pub mod modes;
pub mod parse;
pub mod seccomp;
pub mod user;

mod build;
mod capabilities;
mod defaults;
mod error;
mod host;
mod merge;
mod security;
mod ulimits;
mod validate;

pub use build::{
    ContainerMount, Device, DeviceInput, MountSource, SharedNamespaces, SpecInput, build, cgroup_path, exec_process,
    linux_resources, resolve_devices,
};
pub use capabilities::{CapabilitySet, capabilities};
pub use defaults::apply_defaults;
pub use error::SpecError;
pub use host::{HostFacts, LimitSupport, Programs};
pub use merge::{MergedConfig, merge};
pub use security::{SecurityOptions, security_options};
pub use validate::{validate, validate_limits};

use parse::clean_path as parse_clean;
