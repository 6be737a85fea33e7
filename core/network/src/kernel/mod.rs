//! The kernel's side: namespaces, links, addresses, routes, firewall. Blocking; reached through [`worker::NetworkThread`].

mod attributes;
pub(crate) mod conntrack;
pub(crate) mod executor;
mod foreign;
pub(crate) mod namespace;
pub(crate) mod nft;
pub(crate) mod ports;
pub(crate) mod route;
mod socket;
pub(crate) mod sysctl;
pub(crate) mod worker;
