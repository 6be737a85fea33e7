//! Executes network plans: netlink, nftables, DNS; address pools and host ports; undo.

mod error;
mod ipam;
mod kernel;

pub use error::{NetworkError, Refused};
pub use ipam::Prefix;
