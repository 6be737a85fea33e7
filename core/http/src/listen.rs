//! Where the API is served: unix sockets and loopback TCP.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Group, chown};
use sheave_hooks::Identity;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::error::ListenError;

/// The groups that may use a unix socket, the first that exists.
const GROUPS: [&str; 2] = ["sheave", "docker"];

/// An address to serve the API at: `-H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `unix:///run/sheave/sheave.sock`
    Unix(PathBuf),
    /// `tcp://127.0.0.1:2375`
    Tcp(Vec<SocketAddr>),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`ListenError::Address`], [`ListenError::NotLoopback`].
    pub fn parse(text: &str) -> Result<Self, ListenError> {
        let malformed = || ListenError::Address(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(malformed()) };
        }
        let host = text.strip_prefix("tcp://").ok_or_else(malformed)?.trim_end_matches('/');
        let host = if host.starts_with(':') { format!("0.0.0.0{host}") } else { host.to_owned() };
        let addresses: Vec<_> = host.to_socket_addrs().map_err(|_| malformed())?.collect();
        if addresses.is_empty() {
            return Err(malformed());
        }
        if addresses.iter().all(|a| a.ip().is_loopback()) {
            Ok(Self::Tcp(addresses))
        } else {
            Err(ListenError::NotLoopback(text.to_owned()))
        }
    }
}

/// An open listener.
#[derive(Debug)]
pub struct Listener {
    name: String,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix { listener: UnixListener, _file: SocketFile },
    Tcp(TcpListener),
}

pub(crate) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    /// Opens the listeners of an address. Called within a tokio runtime.
    ///
    /// A unix socket gets mode 0660 and `group`; without one, the group `sheave`, else `docker`, else root. A socket that
    /// nobody serves any more is replaced, one that is served is an error.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn open(address: &Address, group: Option<&str>) -> Result<Vec<Self>, ListenError> {
        match address {
            Address::Unix(path) => Ok(vec![open_unix(path, group)?]),
            Address::Tcp(addresses) => addresses.iter().map(open_tcp).collect(),
        }
    }

    /// The address, as the identity of a caller shows it. A TCP port chosen by the kernel is filled in.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn accept(&self) -> io::Result<(Accepted, Identity)> {
        let listener = self.name.clone();
        match &self.socket {
            Socket::Unix { listener: socket, .. } => {
                let (stream, _) = socket.accept().await?;
                let peer = stream.peer_cred()?;
                let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
                let identity = Identity { uid: Some(peer.uid()), gid: Some(peer.gid()), pid, listener, subject: None };
                Ok((Accepted::Unix(stream), identity))
            }
            Socket::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream), Identity { listener, ..Identity::default() }))
            }
        }
    }
}

fn open_tcp(address: &SocketAddr) -> Result<Listener, ListenError> {
    let failed = |source| ListenError::Io { address: format!("tcp://{address}"), source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let name = format!("tcp://{}", listener.local_addr().map_err(failed)?);
    Ok(Listener { name, socket: Socket::Tcp(TcpListener::from_std(listener).map_err(failed)?) })
}

fn open_unix(path: &Path, group: Option<&str>) -> Result<Listener, ListenError> {
    let name = format!("unix://{}", path.display());
    let failed = |source| ListenError::Io { address: name.clone(), source };
    let group = find_group(group)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let lock = lock(path)?;
    refuse_live(path)?;
    // Made under another name with no rights for others, then put in place: nobody meets it half-made.
    let fresh = suffixed(path, ".new");
    let _ = fs::remove_file(&fresh);
    let listener = StdUnixListener::bind(&fresh).map_err(failed)?;
    let placed = fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))
        .and_then(|()| chown(&fresh, None, Some(group)).map_err(io::Error::from))
        .and_then(|()| fs::set_permissions(&fresh, fs::Permissions::from_mode(0o660)))
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| fs::symlink_metadata(path));
    let inode = match placed {
        Ok(metadata) => metadata.ino(),
        Err(source) => {
            let _ = fs::remove_file(&fresh);
            return Err(failed(source));
        }
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    let file = SocketFile { path: path.to_owned(), inode, _lock: lock };
    Ok(Listener { name, socket: Socket::Unix { listener, _file: file } })
}

fn find_group(wanted: Option<&str>) -> Result<Gid, ListenError> {
    let find = |name: &str| Group::from_name(name).ok().flatten().map(|g| g.gid);
    match wanted {
        Some(name) => name
            .parse()
            .ok()
            .map(Gid::from_raw)
            .or_else(|| find(name))
            .ok_or_else(|| ListenError::Group(name.to_owned())),
        None => Ok(GROUPS.iter().find_map(|name| find(name)).unwrap_or_else(|| Gid::from_raw(0))),
    }
}

/// Keeps two daemons from replacing each other's socket while they start.
fn lock(path: &Path) -> Result<Flock<File>, ListenError> {
    let lock_path = suffixed(path, ".lock");
    let failed = |source| ListenError::Io { address: lock_path.display().to_string(), source };
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    Flock::lock(file.map_err(failed)?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => ListenError::InUse(path.to_owned()),
        other => failed(other.into()),
    })
}

/// Whether the path is free or holds a socket that nobody serves.
fn refuse_live(path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(ListenError::NotSocket(path.to_owned())),
        Ok(_) => match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            _ => Err(ListenError::InUse(path.to_owned())),
        },
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes the socket at the end, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
    _lock: Flock<File>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(Address::parse("unix:///run/x.sock").unwrap(), Address::Unix("/run/x.sock".into()));
        for text in ["tcp://127.0.0.1:2375", "tcp://localhost:0", "tcp://[::1]:1", "tcp://127.9.9.9:1/"] {
            assert!(matches!(Address::parse(text), Ok(Address::Tcp(_))), "{text}");
        }
        for (text, part) in [
            ("tcp://0.0.0.0:2375", "TLS"),
            ("tcp://:2375", "TLS"),
            ("tcp://[::]:2375", "TLS"),
            ("tcp://192.0.2.1:2375", "TLS"),
            ("tcp://127.0.0.1", "use unix://"),
            ("fd://", "use unix://"),
            ("unix://relative", "use unix://"),
            ("", "use unix://"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn replaces_stale_sockets_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let address = Address::Unix(path.clone());
        drop(StdUnixListener::bind(&path).unwrap());
        let listener = Listener::open(&address, Some("0")).expect("a stale socket is replaced");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        let error = Listener::open(&address, Some("0")).unwrap_err();
        assert!(matches!(error, ListenError::InUse(_)), "{error}");
        drop(listener);
        assert!(!path.exists());

        let foreign = StdUnixListener::bind(&path).unwrap();
        assert!(matches!(Listener::open(&address, Some("0")), Err(ListenError::InUse(_))));
        drop(foreign);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::open(&address, Some("0")), Err(ListenError::NotSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(matches!(Listener::open(&address, Some("no-such-group")), Err(ListenError::Group(_))));
    }
}
