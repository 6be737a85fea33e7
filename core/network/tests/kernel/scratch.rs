//! A scratch namespace that stands for the host, one that stands for the world, and engines in it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use sheave_api::containers::PortBinding;
use sheave_host::{Host, Options};
use sheave_metadata::Database;
use sheave_network::{EndpointRequest, Mode, Networks, NetworksConfig, PortRequest, Sandbox, SandboxRequest};
use sheave_telemetry::events::EventBus;
use sheave_types::Id;

/// The address of the world, reached by the default route.
pub const WORLD: &str = "198.51.100.1";
/// The host's address towards it.
pub const HOST: &str = "198.51.100.2";

/// Runs a command that must succeed, in the calling thread's namespaces.
pub fn run(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|e| panic!("{command}: {e}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `f` inside of a namespace, on a thread of its own.
pub fn inside<R: Send>(netns: &OwnedFd, f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns (needs root)");
            f()
        });
        thread.join().expect("inside")
    })
}

fn here() -> OwnedFd {
    std::fs::File::open("/proc/thread-self/ns/net").expect("netns").into()
}

/// A host with an uplink to the world.
pub struct Scratch {
    pub world: OwnedFd,
    pub host: OwnedFd,
    pub dir: tempfile::TempDir,
}

impl Scratch {
    /// Runs a test in a host of its own: every thread of its runtime is in a new network namespace.
    pub fn run<F: Future<Output = ()>>(test: impl FnOnce(Arc<Scratch>) -> F + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (needs root)");
                run("ip link set lo up");
                let world = std::thread::scope(|s| {
                    let other = s.spawn(|| {
                        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (needs root)");
                        here()
                    });
                    other.join().expect("world")
                });
                let scratch = Arc::new(Scratch { world, host: here(), dir: tempfile::tempdir().expect("tempdir") });
                scratch.uplink();
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
                runtime.expect("runtime").block_on(test(scratch.clone()));
            });
            thread.join().expect("test");
        });
    }

    fn uplink(&self) {
        use std::os::fd::AsRawFd;
        let world = self.world.as_raw_fd();
        let path = format!("/proc/{}/fd/{world}", std::process::id());
        // `ip` names namespaces by pid or by file; the file of our descriptor is as good as one in /run/netns.
        run(&format!("ip link add up0 type veth peer name up1 netns {path}"));
        run(&format!("ip addr add {HOST}/24 dev up0"));
        run("ip link set up0 up");
        run(&format!("ip route add default via {WORLD}"));
        inside(&self.world, || {
            run("ip link set lo up");
            run(&format!("ip addr add {WORLD}/24 dev up1"));
            run("ip link set up1 up");
        });
    }

    /// An engine with its data below `name`; opening it again is a restart.
    pub async fn engine(&self, name: &str, bridge: &str) -> Networks {
        let root = self.dir.path().join(name);
        std::fs::create_dir_all(&root).expect("root");
        let database = Database::open(&root.join("db")).expect("database");
        let events = Arc::new(EventBus::default());
        let options = Options {
            data_root: root.clone(),
            database: database.clone(),
            events: events.clone(),
            metrics: Arc::default(),
            plugins: Default::default(),
            secrets: Default::default(),
            hook_order: Vec::new(),
        };
        let plugins = [sheave_network_bridge::linked(), sheave_network_host::linked(), sheave_network_none::linked()];
        let host = Host::load(&plugins, options).await.expect("plugins");
        let mut config = NetworksConfig::new(self.dir.path().join("run"));
        config.bridge = bridge.to_owned();
        config.resolv_conf = self.dir.path().join("resolv.conf");
        std::fs::write(&config.resolv_conf, format!("nameserver {WORLD}\n")).expect("resolv.conf");
        Networks::open(config, host, database, events).await.expect("networks")
    }
}

/// The namespaces are unbound even if the test failed; the directory goes afterwards.
impl Drop for Scratch {
    fn drop(&mut self) {
        if let Ok(entries) = std::fs::read_dir(self.dir.path().join("run/netns")) {
            for entry in entries.flatten() {
                let _ = nix::mount::umount2(&entry.path(), nix::mount::MntFlags::MNT_DETACH);
            }
        }
    }
}

/// A container's request on one network.
pub fn request(name: &str, network: &str) -> SandboxRequest {
    SandboxRequest {
        container: Id::random(),
        name: name.to_owned(),
        hostname: format!("host-of-{name}"),
        mode: Mode::Networks,
        endpoints: vec![EndpointRequest { network: network.to_owned(), ..EndpointRequest::default() }],
        ports: Vec::new(),
        dns: Vec::new(),
    }
}

/// Publishes ports, written `ip:host:container/protocol`.
pub fn publish(request: &mut SandboxRequest, ports: &[(&str, &str, &str)]) {
    for (ip, host, container) in ports {
        let binding = PortBinding { host_ip: (*ip).to_owned(), host_port: (*host).to_owned() };
        request.ports.push(PortRequest::parse(container, &binding).expect("port"));
    }
}

/// The IPv4 address of a sandbox's first endpoint.
pub fn address(sandbox: &Sandbox) -> String {
    sandbox.endpoints[0].ipv4.expect("ipv4").address().to_string()
}

/// The namespace of a sandbox.
pub fn netns(sandbox: &Sandbox) -> &OwnedFd {
    sandbox.netns.as_ref().expect("netns")
}

/// A TCP server inside of a namespace that tells each client who it is and from where it came: `name peer-address`.
pub fn tcp_server(netns: &OwnedFd, name: &'static str, port: u16) {
    let listener = inside(netns, || TcpListener::bind(("0.0.0.0", port)).expect("listen"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
            let _ = write!(stream, "{name} {peer}");
        }
    });
}

/// What a server says; None if it cannot be reached within a moment.
pub fn tcp_from(netns: &OwnedFd, to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().expect("address");
    inside(netns, || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(700)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    })
}

/// A UDP server that sends back its name and what it got.
pub fn udp_server(netns: &OwnedFd, name: &'static str, port: u16) {
    let socket = inside(netns, || UdpSocket::bind(("0.0.0.0", port)).expect("bind"));
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut answer = format!("{name} ").into_bytes();
            answer.extend_from_slice(&buffer[..length]);
            let _ = socket.send_to(&answer, from);
        }
    });
}

/// Sends a datagram and waits for the answer, from a given port if it is not 0.
pub fn udp_from(netns: &OwnedFd, from: u16, to: &str) -> Option<String> {
    inside(netns, || {
        let socket = UdpSocket::bind(("0.0.0.0", from)).expect("bind");
        socket.set_read_timeout(Some(Duration::from_millis(700))).expect("timeout");
        socket.connect(to).ok()?;
        socket.send(b"ping").ok()?;
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
}

/// The names of the links of the calling thread's namespace.
pub fn links() -> Vec<String> {
    let text = run("ip -o link");
    text.lines().filter_map(|l| Some(l.split(": ").nth(1)?.split('@').next()?.to_owned())).collect()
}

/// Waits until something holds, for at most five seconds.
pub async fn eventually(what: &str, test: impl Fn() -> bool) {
    for _ in 0..100 {
        if test() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} does not become true");
}

/// Whether a namespace is bound at this path.
pub fn bound(path: &Path) -> bool {
    path.exists()
}
