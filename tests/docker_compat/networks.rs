//! Networks, published ports, names.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use sheave_tests::registry::Registry;
use sheave_tests::{Engine, Sandbox, eventually, images, kernel};

/// A server in a container: answers each connection with one line.
const SERVE: &str = "while :; do echo $WORD | nc -l -p 80; done";

fn fetch(sandbox: &Sandbox, address: [u8; 4], port: u16) -> Option<String> {
    let mut stream = sandbox.connect(SocketAddr::new(Ipv4Addr::from(address).into(), port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then(|| text.trim().to_owned())
}

fn soon(sandbox: &Sandbox, address: [u8; 4], port: u16) -> String {
    eventually(&format!("an answer at port {port}"), Duration::from_secs(10), || fetch(sandbox, address, port))
}

/// A second network namespace behind a link: what is outside of the machine. It has 198.51.100.2; the sandbox has 198.51.100.1.
fn outside(sandbox: &Sandbox) {
    sandbox
        .sh("unshare --net sleep 3600 & p=$!; sleep 0.3; ip link add out0 type veth peer name out1 netns $p; ip addr add 198.51.100.1/24 dev out0; \
             ip link set out0 up; nsenter -t $p -n sh -c 'ip addr add 198.51.100.2/24 dev out1; ip link set out1 up; ip link set lo up'; \
             echo $p >/tmp/outside-$(hostname); exec >/dev/null 2>&1")
        .ok();
}

#[test]
fn n1_published_ports() {
    let sandbox = Sandbox::new("n1");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    engine.d("run --rm busybox true").ok();
    let before = kernel::Snapshot::settled(&sandbox);
    let serve = |name: &str, flags: &[&str]| {
        let word = format!("WORD={name}");
        let mut line = vec!["run", "-d", "--name", name, "-e", &word];
        line.extend(flags);
        line.extend(["busybox", "sh", "-c", SERVE]);
        engine.docker(&line)
    };
    serve("fixed", &["-p", "8080:80"]).ok();
    assert_eq!(soon(&sandbox, [127, 0, 0, 1], 8080), "fixed");
    let gateway = engine.inspect("fixed", "{{.NetworkSettings.Networks.bridge.Gateway}}");
    let gateway: Ipv4Addr = gateway.parse().expect("an address");
    assert_eq!(soon(&sandbox, gateway.octets(), 8080), "fixed");
    assert_eq!(engine.d("port fixed").ok().lines().next(), Some("80/tcp -> 0.0.0.0:8080"));
    assert!(engine.docker(&["ps", "--format", "{{.Ports}}"]).ok().contains("0.0.0.0:8080->80/tcp"));

    let conflict = serve("other", &["-p", "8080:80"]).fails(125, "");
    assert!(conflict.contains("port is already allocated"), "{conflict}");
    engine.d("rm -f other").ok();

    serve("local", &["-p", "127.0.0.1::80"]).ok();
    let local = engine.d("port local 80").ok();
    let port: u16 = local.strip_prefix("127.0.0.1:").unwrap_or_else(|| panic!("{local}")).parse().expect("a port");
    assert_eq!(soon(&sandbox, [127, 0, 0, 1], port), "local");
    assert_eq!(fetch(&sandbox, gateway.octets(), port), None);

    serve("exposed", &["-P", "--expose", "80"]).ok();
    let exposed = engine.d("port exposed 80").ok();
    let port =
        exposed.lines().next().and_then(|line| line.rsplit(':').next()).expect("a port").parse().expect("a number");
    assert_eq!(soon(&sandbox, [127, 0, 0, 1], port), "exposed");

    serve("range", &["-p", "9000-9002:80-82"]).ok();
    assert_eq!(soon(&sandbox, [127, 0, 0, 1], 9000), "range");
    assert_eq!(engine.d("port range").ok().lines().filter(|line| line.contains("0.0.0.0")).count(), 3);

    // Debian's busybox has no UDP server.
    engine.docker(&["pull", "-q", images::DEBIAN]).ok();
    let echo = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp'); while ($s->recv(my $m, 99)) { $s->send($m) }";
    engine.docker(&["run", "-d", "--name", "udp", "-p", "5353:53/udp", images::DEBIAN, "perl", "-e", echo]).ok();
    assert_eq!(engine.d("port udp").ok().lines().next(), Some("53/udp -> 0.0.0.0:5353"));
    eventually("the UDP echo", Duration::from_secs(10), || {
        sandbox.in_net(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
            socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
            socket.send_to(b"ping", "127.0.0.1:5353").ok()?;
            let mut buffer = [0; 16];
            let (read, _) = socket.recv_from(&mut buffer).ok()?;
            (&buffer[..read] == b"ping").then_some(())
        })
    });

    // Hairpin: a container reaches another, and itself, at the published port.
    let through = format!("nc {gateway} 8080 </dev/null");
    assert_eq!(engine.docker(&["run", "--rm", "busybox", "sh", "-c", &through]).ok(), "fixed");
    assert_eq!(engine.docker(&["exec", "fixed", "sh", "-c", &through]).ok(), "fixed");

    engine.d("rm -f fixed").ok();
    assert_eq!(fetch(&sandbox, [127, 0, 0, 1], 8080), None);
    serve("again", &["-p", "8080:80"]).ok();
    assert_eq!(soon(&sandbox, [127, 0, 0, 1], 8080), "again");
    engine.d("rm -f again local exposed range udp").ok();
    kernel::back_to(&sandbox, &before);
}

#[test]
fn n1_the_way_out() {
    let sandbox = Sandbox::new("n1out");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    outside(&sandbox);
    let listen = "nsenter -t $(cat /tmp/outside-$(hostname)) -n busybox";
    sandbox.sh(&format!("({listen} sh -c 'while :; do busybox nc -l -p 7 -e busybox sh -c \"echo from-outside\"; done' >/dev/null 2>&1 &) ; sleep 0.2")).ok();
    assert_eq!(
        engine.docker(&["run", "--rm", "busybox", "sh", "-c", "nc 198.51.100.2 7 </dev/null"]).ok(),
        "from-outside"
    );
    // From outside: the published port answers, the container's own address is not routed there.
    engine
        .docker(&["run", "-d", "--name", "web", "-e", "WORD=web", "-p", "8080:80", "busybox", "sh", "-c", SERVE])
        .ok();
    let answer = eventually("an answer outside", Duration::from_secs(10), || {
        let out = sandbox.sh(&format!("{listen} nc -w 2 198.51.100.1 8080 </dev/null"));
        (out.code == 0 && !out.stdout.is_empty()).then_some(out.stdout)
    });
    assert_eq!(answer, "web\n");
    engine.d("network create --internal closed").ok();
    let closed = engine.docker(&[
        "run",
        "--rm",
        "--network",
        "closed",
        "busybox",
        "sh",
        "-c",
        "nc -w 2 198.51.100.2 7 </dev/null",
    ]);
    assert_ne!(closed.code, 0, "{closed}");
    sandbox.sh("rm -f /tmp/outside-$(hostname)").ok();
}

#[test]
fn n2_user_networks() {
    let sandbox = Sandbox::new("n2");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    engine.d("run --rm busybox true").ok();
    engine.d("run --rm --network host busybox true").ok();
    let before = kernel::Snapshot::settled(&sandbox);
    let lookup = |container: &str, name: &str| engine.docker(&["exec", container, "nslookup", name]);
    let ping = |container: &str, to: &str| engine.docker(&["exec", container, "ping", "-c", "1", "-W", "2", to]).code;

    engine.d("network create --subnet 10.77.0.0/24 --label a=b one").ok();
    engine.d("network create two").ok();
    engine.d("network create one").fails(1, "network with name one already exists");
    let overlap = engine.d("network create --subnet 10.77.0.0/25 three").fails(1, "");
    assert!(overlap.contains("overlap"), "{overlap}");
    engine.d("run -d --name aa --hostname host-a --network one --network-alias friend busybox sleep 1000").ok();
    engine.d("run -d --name bb --network one --ip 10.77.0.99 busybox sleep 1000").ok();
    engine.d("run -d --name cc --network two busybox sleep 1000").ok();

    assert_eq!(engine.inspect("bb", "{{.NetworkSettings.Networks.one.IPAddress}}"), "10.77.0.99");
    let address = engine.inspect("aa", "{{.NetworkSettings.Networks.one.IPAddress}}");
    let id = engine.inspect("aa", "{{.Id}}");
    for name in ["aa", "friend", &id[..12]] {
        let found = lookup("bb", name);
        assert!(found.stdout.contains(&address), "{found}");
        assert_eq!(ping("bb", name), 0, "{name}");
    }
    let reverse = engine.docker(&["exec", "bb", "nslookup", &address]);
    assert!(reverse.stdout.contains("aa.one"), "{reverse}");
    assert!(engine.d("exec bb cat /etc/resolv.conf").ok().contains("nameserver 127.0.0.11"));
    assert_ne!(lookup("bb", "cc").code, 0);
    assert_ne!(lookup("bb", "no-such-name").code, 0);
    let other = engine.inspect("cc", "{{.NetworkSettings.Networks.two.IPAddress}}");
    assert_ne!(ping("bb", &other), 0, "networks are apart");

    engine.d("network connect --alias visitor one cc").ok();
    assert_eq!(ping("bb", "visitor"), 0);
    assert_eq!(ping("cc", "aa"), 0);
    assert_eq!(engine.docker(&["exec", "cc", "sh", "-c", "ls /sys/class/net | wc -l"]).ok(), "3");
    engine.d("network connect one cc").fails(1, "already exists in network one");
    engine.d("network disconnect one cc").ok();
    assert_ne!(lookup("bb", "visitor").code, 0);
    assert_eq!(engine.docker(&["exec", "cc", "sh", "-c", "ls /sys/class/net | wc -l"]).ok(), "2");
    engine.d("network disconnect one cc").fails(1, "is not connected to");

    engine.d("network rm one").fails(1, "has active endpoints");
    engine.d("network rm bridge").fails(1, "pre-defined network and cannot be removed");
    engine.d("network create host").fails(1, "");
    let inspected = engine.http().get("/v1.41/networks/one").expect(200);
    assert_eq!(inspected["IPAM"]["Config"][0]["Subnet"], "10.77.0.0/24");
    assert_eq!(
        (&inspected["Driver"], &inspected["Internal"], &inspected["Labels"]["a"]),
        (&json!("bridge"), &json!(false), &json!("b"))
    );
    assert_eq!(inspected["Containers"].as_object().map(serde_json::Map::len), Some(2), "{inspected}");
    let names = engine.docker(&["network", "ls", "--format", "{{.Name}}"]).ok();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["bridge", "host", "none", "one", "two"]);
    assert_eq!(engine.docker(&["network", "ls", "-q", "--filter", "type=custom"]).ok().lines().count(), 2);
    assert_eq!(engine.docker(&["network", "ls", "--filter", "label=a=b", "--format", "{{.Name}}"]).ok(), "one");

    // host and none.
    assert_eq!(engine.docker(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"]).ok(), "lo");
    assert!(engine.docker(&["run", "--rm", "--network", "host", "busybox", "hostname"]).ok().contains("sandbox"));
    assert_eq!(engine.docker(&["run", "--rm", "--network", "container:aa", "busybox", "hostname"]).ok(), "host-a");
    engine.d("run --rm --network no-such-network busybox true").fails(125, "network no-such-network not found");

    engine.d("rm -f aa bb cc").ok();
    let pruned = engine.d("network prune -f").ok();
    assert!(pruned.contains("one") && pruned.contains("two"), "{pruned}");
    engine.d("network inspect one").fails(1, "network one not found");
    kernel::back_to(&sandbox, &before);
}
