//! Host ports are held by sockets: a program that wants one later is told that it is in use, and so is the engine.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use sheave_plugin::network::Protocol;
use socket2::{Domain, Socket, Type};

/// The name in Docker's API.
pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// Binds a port of the calling thread's namespace. A TCP port listens too, because a port that does not could be taken by
/// anyone who sets `SO_REUSEADDR`; what is published never gets there, address translation comes first.
///
/// None if the kernel does not have the protocol, so that nobody can hold the port.
pub(crate) fn bind(protocol: Protocol, address: IpAddr, port: u16) -> io::Result<Option<OwnedFd>> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
        Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
        Protocol::Sctp => (Type::STREAM, socket2::Protocol::from(libc::IPPROTO_SCTP)),
    };
    let socket = match Socket::new(domain, kind, Some(number)) {
        Ok(socket) => socket,
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(None),
        Err(error) => return Err(error),
    };
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections of an earlier owner that linger in TIME_WAIT do not matter; listeners still do.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SocketAddr::new(address, port).into())?;
    if kind == Type::STREAM {
        socket.listen(1)?;
    }
    Ok(Some(socket.into()))
}

/// The range of ephemeral ports of the calling thread's namespace, as dockerd uses it.
pub(crate) fn ephemeral_range() -> (u16, u16) {
    let read = || {
        let text = super::sysctl::read("net.ipv4.ip_local_port_range").ok()??;
        let mut numbers = text.split_whitespace().map(str::parse::<u16>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    read().filter(|(first, last)| first <= last && *first > 0).unwrap_or((49153, 65535))
}
