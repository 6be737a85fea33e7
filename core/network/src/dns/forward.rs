//! Asking the world.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::error::NetworkError;
use crate::kernel::namespace;

/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many resolvers are asked.
const RESOLVERS: usize = 3;
/// Where to ask if the host names nobody; Docker's choice.
const DEFAULT: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// The resolvers of one container.
#[derive(Clone)]
pub(crate) enum Upstreams {
    /// Those of the host's resolv.conf, read at each query because they change, asked from the host.
    Host(PathBuf),
    /// The container's own, asked from within its namespace.
    Inside(Vec<IpAddr>, Arc<OwnedFd>),
}

impl Upstreams {
    /// The host's.
    pub(crate) fn of_host(resolv_conf: PathBuf) -> Self {
        Self::Host(resolv_conf)
    }

    /// A container's own.
    pub(crate) fn inside(resolvers: Vec<IpAddr>, netns: OwnedFd) -> Self {
        Self::Inside(resolvers, Arc::new(netns))
    }

    /// Asks the resolvers in order; the first answer that is neither SERVFAIL nor REFUSED, or the last one of those.
    pub(crate) async fn ask(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let resolvers = match self {
            Self::Host(path) => read_resolvers(&tokio::fs::read_to_string(path).await.unwrap_or_default()),
            Self::Inside(list, _) => list.clone(),
        };
        let mut last = None;
        for resolver in resolvers.into_iter().take(RESOLVERS) {
            let to = SocketAddr::new(resolver, 53);
            let asked = timeout(PATIENCE, async {
                if tcp { self.ask_tcp(to, query).await } else { self.ask_udp(to, query).await }
            });
            match asked.await {
                Ok(Ok(answer)) if !matches!(answer.get(3).map(|b| b & 15), Some(2 | 5)) => return Some(answer),
                Ok(Ok(answer)) => last = Some(answer),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver cannot be asked"),
                Err(_) => tracing::debug!(%resolver, "a resolver did not answer"),
            }
        }
        last
    }

    async fn socket(&self, to: SocketAddr, kind: Type) -> io::Result<Socket> {
        let make = move || {
            let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, kind, None)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        match self {
            Self::Host(_) => make(),
            Self::Inside(_, netns) => {
                let netns = netns.clone();
                let inside =
                    move || namespace::inside(netns.as_fd(), || make().map_err(|e| NetworkError::kernel("socket", e)));
                tokio::task::spawn_blocking(inside).await.map_err(io::Error::other)?.map_err(io::Error::other)
            }
        }
    }

    async fn ask_udp(&self, to: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let socket = self.socket(to, Type::DGRAM).await?;
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        socket.bind(&SocketAddr::new(any, 0).into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.connect(to).await?;
        socket.send(query).await?;
        let mut buffer = vec![0; 65535];
        loop {
            let length = socket.recv(&mut buffer).await?;
            // The socket hears the resolver alone; the id tells an answer from one to somebody's earlier query.
            if length >= 12 && buffer[..2] == query[..2] {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }

    async fn ask_tcp(&self, to: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let socket = self.socket(to, Type::STREAM).await?;
        let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
        let mut stream = socket.connect(to).await?;
        write_message(&mut stream, query).await?;
        read_message(&mut stream).await
    }
}

/// Reads a message with its length before it.
pub(crate) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length before it.
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// The name servers of a resolv.conf. Addresses of loopback stay: they are asked from the host.
fn read_resolvers(text: &str) -> Vec<IpAddr> {
    let found: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            if words.next() == Some("nameserver") { words.next()?.split('%').next()?.parse().ok() } else { None }
        })
        .collect();
    if found.is_empty() { DEFAULT.map(IpAddr::from).to_vec() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers() {
        for (text, expected) in [
            ("", "8.8.8.8 8.8.4.4"),
            ("# nameserver 1.1.1.1\nsearch x\n", "8.8.8.8 8.8.4.4"),
            ("nameserver 127.0.0.53\noptions edns0\nnameserver\t10.0.0.1 # x\n", "127.0.0.53 10.0.0.1"),
            ("nameserver fe80::1%eth0\nnameserver nonsense\n", "fe80::1"),
        ] {
            let got: Vec<String> = read_resolvers(text).iter().map(ToString::to_string).collect();
            assert_eq!(got.join(" "), expected, "{text:?}");
        }
    }
}
