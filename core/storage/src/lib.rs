//! Executes the plans of storage and volume drivers: actions, mounts, copy-up, usage, undo, recovery.
//!
//! [`Snapshots`] and [`Volumes`] ask a driver for a plan, check all of it, perform it, and commit the driver's state; a plan
//! that fails is undone and the driver never knows. A crash between the last action and the commit leaves a directory that
//! the driver's `check` calls unknown, and [`Snapshots::recover`] removes it.

mod claims;
mod error;
mod mounts;
mod path;
mod perform;
mod plan;
mod probe;
mod quota;
mod recovery;
mod snapshots;
mod sweeper;
mod tree;
mod volumes;

pub use error::StorageError;
pub use mounts::{MountGuard, ResolvedMount, mount_at};
pub use recovery::{Lost, Recovery};
pub use snapshots::{Options, Snapshots};
pub use volumes::Volumes;
