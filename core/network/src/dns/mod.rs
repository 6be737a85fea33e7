//! The name server of user-defined networks, at 127.0.0.11 inside of each container.
//!
//! Its sockets are bound to random ports of the container's namespace, and rules in that namespace lead queries there: a
//! container may so run a name server of its own on port 53. The sockets belong to the shim as well, so that they outlive
//! the daemon; queries made while it is away are answered when it is back.

mod answer;
mod directory;
mod forward;
mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use sheave_types::Id;
use socket2::{Domain, Socket, Type};

use crate::error::{NetworkError, Result};
use crate::ipam::Prefix;
use crate::kernel::nft::{Batch, Family, Hook, NftSocket, Rule, Table};
use crate::shared::Shared;

pub(crate) use directory::Directory;
pub(crate) use forward::Upstreams;

/// Where containers ask.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Opens the sockets in the calling thread's namespace, UDP first, and leads queries to them.
pub(crate) fn open_sockets() -> Result<Vec<OwnedFd>> {
    let open = |kind: Type| -> std::io::Result<(OwnedFd, u16)> {
        let socket = Socket::new(Domain::IPV4, kind, None)?;
        socket.bind(&SocketAddr::from((ADDRESS, 0)).into())?;
        if kind == Type::STREAM {
            socket.listen(64)?;
        }
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.as_socket().map_or(0, |a| a.port());
        Ok((socket.into(), port))
    };
    let fail = |e| NetworkError::kernel("name server socket", e);
    let (udp, udp_port) = open(Type::DGRAM).map_err(fail)?;
    let (tcp, tcp_port) = open(Type::STREAM).map_err(fail)?;
    let table = Table { family: Family::Ipv4 as u8, name: "sheave-dns".to_owned() };
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.add_chain(&table, "output", Some(Hook { kind: "nat", number: 3, priority: -100 }));
    if let Some(own) = Prefix::new(IpAddr::from(ADDRESS), 32) {
        for (protocol, port) in [(17, udp_port), (6, tcp_port)] {
            let rule = Rule::new().destination(own).transport(protocol, 53).translate_to(ADDRESS, port);
            batch.add_rule(&table, "output", rule);
        }
    }
    NftSocket::open()?.commit(batch, "name server")?;
    Ok(vec![udp, tcp])
}

/// Answers at these sockets until [`Directory::stop`]. `resolvers` are asked from within the namespace; none takes the
/// host's.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    container: &Id,
    sockets: &[OwnedFd],
    resolvers: &[IpAddr],
    netns: BorrowedFd<'_>,
) -> Result<()> {
    let fail = |e| NetworkError::kernel("name server socket", e);
    let [udp, tcp] = sockets else {
        return Err(NetworkError::invalid(format!("a name server has two sockets, not {}", sockets.len())));
    };
    let upstreams = if resolvers.is_empty() {
        Upstreams::of_host(shared.config.resolv_conf.clone())
    } else {
        Upstreams::inside(resolvers.to_vec(), netns.try_clone_to_owned().map_err(fail)?)
    };
    let udp = udp.try_clone().map_err(fail)?;
    let tcp = tcp.try_clone().map_err(fail)?;
    let container = container.to_string();
    let server = server::Server::new(container.clone(), shared.directory.clone(), upstreams);
    let task = server.start(udp.into(), tcp.into()).map_err(fail)?;
    shared.directory.started(&container, task);
    Ok(())
}
