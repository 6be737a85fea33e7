//! Networks as plans: a driver says what is to be there, this crate makes it be there over netlink and nf_tables, and undoes
//! it. Address pools, addresses and host ports are given out here; so are names (the name server of user-defined networks).
//!
//! Everything left in the kernel carries the engine's id: links by their alias, the firewall by its table, namespaces by
//! their place. [`Networks::reconcile`] so finds what no live container owns.
//!
//! Ports are published at IPv4 addresses of the host alone. A client that connects to `::1` or another IPv6 address of the
//! host is refused by the kernel, and no IPv6 entry is shown for the port; an IPv6 address in a request is an error.

mod allocate;
mod catalog;
mod create;
mod dns;
mod error;
mod ipam;
mod kernel;
mod membership;
mod model;
mod networks;
mod recovery;
mod sandbox;
mod shared;

pub use error::{NetworkError, Refused};
pub use ipam::Prefix;
pub use model::{
    EndpointRequest, EndpointState, HostPort, Mode, NetworksConfig, PortRequest, PublishedPort, Sandbox, SandboxRequest,
};
pub use networks::Networks;
