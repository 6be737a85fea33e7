//! Directory trees below a directory that they cannot leave: opening, copying, removing, counting.
//!
//! Every path is resolved by `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, because the trees hold what images and
//! containers wrote. No function recurses: a tree may be deeper than a stack.

mod copy;
mod remove;
mod root;
mod usage;

pub(crate) use copy::copy_tree;
pub(crate) use remove::remove_tree;
pub(crate) use root::{Root, entries, open_dir};
pub(crate) use usage::disk_usage;
