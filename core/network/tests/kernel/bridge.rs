//! Bridge networks in a real kernel: a scratch namespace stands for the host, another one for the world.

use crate::scratch::*;
use sheave_api::Filters;
use sheave_api::networks::{Ipam, IpamPool, NetworkCreateRequest};
use sheave_network::{EndpointRequest, Mode};
use sheave_types::ErrorKind;

#[test]
fn the_default_bridge() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let mut web = request("web", "bridge");
        publish(&mut web, &[("", "8080", "80/tcp")]);
        let sandbox = networks.open_sandbox(&web).await.expect("open");
        let state = &sandbox.endpoints[0];
        assert_eq!((state.interface.as_str(), state.network.as_str()), ("eth0", "bridge"));
        assert_eq!(state.ipv4.expect("ipv4").to_string(), "172.17.0.2/16");
        assert_eq!(state.gateway.expect("gateway").to_string(), "172.17.0.1");
        assert_eq!(state.mac.len(), 17);
        assert!(!sandbox.own_dns);
        tcp_server(netns(&sandbox), "web", 80);
        tcp_server(&scratch.world, "world", 81);
        assert_eq!(tcp_from(netns(&sandbox), "198.51.100.1:81").as_deref(), Some("world 198.51.100.2"), "masquerade");
        assert_eq!(tcp_from(&scratch.world, "198.51.100.2:8080").as_deref(), Some("web 198.51.100.1"), "published");
        assert_eq!(tcp_from(&scratch.host, "127.0.0.1:8080").as_deref(), Some("web 172.17.0.1"), "from loopback");
        assert_eq!(tcp_from(&scratch.host, "198.51.100.2:8080").as_deref(), Some("web 172.17.0.1"), "own address");
        assert_eq!(tcp_from(netns(&sandbox), "198.51.100.2:8080").as_deref(), Some("web 172.17.0.1"), "hairpin");
        let second = networks.open_sandbox(&request("client", "bridge")).await.expect("open");
        assert_eq!(tcp_from(netns(&second), "172.17.0.2:80").as_deref(), Some("web 172.17.0.3"), "within");
        assert_eq!(tcp_from(netns(&second), "172.17.0.1:8080").as_deref(), Some("web 172.17.0.1"), "by the gateway");
        let key = sandbox.key.clone().expect("key");
        assert!(bound(&key));
        drop(sandbox);
        networks.close_sandbox(&web.container).await.expect("close");
        assert!(!bound(&key));
        networks.close_sandbox(&web.container).await.expect("close twice");
        assert_eq!(tcp_from(&scratch.host, "127.0.0.1:8080"), None);
    });
}

fn network(name: &str) -> NetworkCreateRequest {
    NetworkCreateRequest { name: name.to_owned(), ..NetworkCreateRequest::default() }
}

fn pool(subnet: &str, range: &str, gateway: &str) -> Option<Ipam> {
    let pool = IpamPool {
        subnet: subnet.into(),
        ip_range: range.into(),
        gateway: gateway.into(),
        auxiliary_addresses: Default::default(),
    };
    Some(Ipam { config: Some(vec![pool]), ..Ipam::default() })
}

#[test]
fn published_ports() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let mut web = request("web", "bridge");
        publish(
            &mut web,
            &[
                ("", "5353", "53/udp"),
                ("198.51.100.2", "81", "80/tcp"),
                ("127.0.0.1", "82", "80/tcp"),
                ("", "9000-9002", "80/tcp"),
                ("", "9000-9002", "81/tcp"),
                ("", "", "80/tcp"),
            ],
        );
        let sandbox = networks.open_sandbox(&web).await.expect("open");
        let ports: Vec<u16> = sandbox.ports.iter().map(|p| p.host_port).collect();
        assert_eq!(ports[..5], [5353, 81, 82, 9000, 9001]);
        let any = ports[5];
        assert!(any >= 1024, "{any}");
        tcp_server(netns(&sandbox), "eighty", 80);
        tcp_server(netns(&sandbox), "eighty-one", 81);
        udp_server(netns(&sandbox), "dns", 53);
        let from_world = |to: &str| tcp_from(&scratch.world, to).map(|t| t.split(' ').next().unwrap_or("").to_owned());
        let from_host = |to: &str| tcp_from(&scratch.host, to).map(|t| t.split(' ').next().unwrap_or("").to_owned());
        assert_eq!(from_world("198.51.100.2:81").as_deref(), Some("eighty"));
        assert_eq!(from_host("127.0.0.1:81"), None, "bound to the other address");
        assert_eq!(from_host("127.0.0.1:82").as_deref(), Some("eighty"));
        assert_eq!(from_world("198.51.100.2:82"), None, "bound to loopback");
        assert_eq!(from_world("198.51.100.2:9000").as_deref(), Some("eighty"));
        assert_eq!(from_world("198.51.100.2:9001").as_deref(), Some("eighty-one"));
        assert_eq!(from_host(&format!("127.0.0.1:{any}")).as_deref(), Some("eighty"));
        assert_eq!(udp_from(&scratch.world, 4000, "198.51.100.2:5353").as_deref(), Some("dns ping"));
        assert_eq!(udp_from(&scratch.host, 0, "127.0.0.1:5353").as_deref(), Some("dns ping"));
        assert_eq!(udp_from(netns(&sandbox), 0, "198.51.100.2:5353").as_deref(), Some("dns ping"), "hairpin");
        // A neighbour that routes to the container's address is not let in; nor is one that sends to loopback.
        inside(&scratch.world, || run("ip route add 172.17.0.0/16 via 198.51.100.2"));
        assert_eq!(tcp_from(&scratch.world, "172.17.0.2:80"), None, "past the published port");
        // The mapping moves to another container: the client's next datagram from the same port goes there.
        networks.close_sandbox(&web.container).await.expect("close");
        drop(sandbox);
        let mut other = request("other", "bridge");
        publish(&mut other, &[("", "5353", "53/udp")]);
        let sandbox = networks.open_sandbox(&other).await.expect("open");
        udp_server(netns(&sandbox), "second", 53);
        assert_eq!(udp_from(&scratch.world, 4000, "198.51.100.2:5353").as_deref(), Some("second ping"));
    });
}

#[test]
fn loopback_services_of_the_host_stay_its_own() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let sandbox = networks.open_sandbox(&request("web", "bridge")).await.expect("open");
        let service = std::net::UdpSocket::bind("127.0.0.1:7000").expect("bind");
        service.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("timeout");
        inside(netns(&sandbox), || {
            run("sysctl -q -w net.ipv4.conf.all.route_localnet=1");
            run("ip addr flush dev lo");
            run("ip route add 127.0.0.1/32 via 172.17.0.1 src 172.17.0.2");
            let socket = std::net::UdpSocket::bind("172.17.0.2:0").expect("bind");
            socket.send_to(b"hello", "127.0.0.1:7000").expect("send");
        });
        let got = service.recv(&mut [0; 16]).map_err(|e| e.kind());
        assert_eq!(got, Err(std::io::ErrorKind::WouldBlock), "a container reaches a service of the host's loopback");
    });
}

#[test]
fn port_conflicts() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let mut first = request("first", "bridge");
        publish(&mut first, &[("", "80", "80/tcp")]);
        networks.open_sandbox(&first).await.expect("open");
        for ip in ["", "127.0.0.1"] {
            let mut second = request("second", "bridge");
            publish(&mut second, &[(ip, "80", "80/tcp")]);
            let error = networks.open_sandbox(&second).await.expect_err("taken").to_string();
            let address = if ip.is_empty() { "0.0.0.0" } else { ip };
            assert!(error.ends_with(&format!("Bind for {address}:80 failed: port is already allocated")), "{error}");
            let (endpoints, ports) = networks.endpoints(&second.container).expect("endpoints");
            assert!(endpoints.is_empty() && ports.is_empty(), "a failed start leaves nothing");
        }
        let foreign = std::net::TcpListener::bind("0.0.0.0:81").expect("listen");
        let mut third = request("third", "bridge");
        publish(&mut third, &[("", "81", "80/tcp")]);
        let error = networks.open_sandbox(&third).await.expect_err("taken").to_string();
        assert!(error.contains("failed to bind host port for 0.0.0.0:81/tcp: Address already in use"), "{error}");
        drop(foreign);
        networks.open_sandbox(&third).await.expect("free now");
        let taken = std::net::TcpListener::bind("0.0.0.0:81").expect_err("reserved").kind();
        assert_eq!(taken, std::io::ErrorKind::AddrInUse);
        let two = scratch.engine("two", "sv1").await;
        let mut other = request("other", "bridge");
        publish(&mut other, &[("", "81", "80/tcp")]);
        let error = two.open_sandbox(&other).await.expect_err("taken by the other engine").to_string();
        assert!(error.contains("Address already in use"), "{error}");
    });
}

#[test]
fn networks_are_kept_apart() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        networks.create(&network("front")).await.expect("create");
        networks.create(&network("back")).await.expect("create");
        let mut secret = network("inner");
        secret.internal = true;
        networks.create(&secret).await.expect("create");
        let mut apart = network("apart");
        apart.options.insert("com.docker.network.bridge.enable_icc".into(), "false".into());
        networks.create(&apart).await.expect("create");
        let mut sandboxes = Vec::new();
        for (name, net) in [
            ("f1", "front"),
            ("f2", "front"),
            ("b1", "back"),
            ("i1", "inner"),
            ("i2", "inner"),
            ("a1", "apart"),
            ("a2", "apart"),
        ] {
            let sandbox = networks.open_sandbox(&request(name, net)).await.expect("open");
            tcp_server(netns(&sandbox), "it", 80);
            sandboxes.push(sandbox);
        }
        tcp_server(&scratch.world, "world", 80);
        let reach = |from: usize, to: usize| {
            tcp_from(netns(&sandboxes[from]), &format!("{}:80", address(&sandboxes[to]))).is_some()
        };
        for (from, to, reached) in
            [(0, 1, true), (0, 2, false), (2, 0, false), (3, 4, true), (3, 0, false), (0, 3, false), (5, 6, false)]
        {
            assert_eq!(reach(from, to), reached, "{from} to {to}");
        }
        for (from, reached) in [(0, true), (3, false), (5, true)] {
            assert_eq!(tcp_from(netns(&sandboxes[from]), "198.51.100.1:80").is_some(), reached, "{from} to the world");
        }
        let mut shop = request("shop", "back");
        publish(&mut shop, &[("", "8080", "80/tcp")]);
        let shop = networks.open_sandbox(&shop).await.expect("open");
        tcp_server(netns(&shop), "shop", 80);
        assert!(tcp_from(netns(&sandboxes[0]), "198.51.100.2:8080").is_some(), "another network's published port");
        let mut closed = request("closed", "inner");
        publish(&mut closed, &[("", "8081", "80/tcp")]);
        assert!(networks.open_sandbox(&closed).await.expect("open").ports.is_empty(), "no way in");
    });
}

#[test]
fn a_second_engine_on_the_same_host() {
    Scratch::run(|scratch| async move {
        let one = scratch.engine("one", "sv0").await;
        let two = scratch.engine("two", "sv1").await;
        let a = one.open_sandbox(&request("a", "bridge")).await.expect("open");
        let b = two.open_sandbox(&request("b", "bridge")).await.expect("open");
        assert_ne!(address(&a), address(&b), "pools do not overlap");
        tcp_server(&scratch.world, "world", 80);
        for sandbox in [&a, &b] {
            assert!(tcp_from(netns(sandbox), "198.51.100.1:80").is_some());
        }
        one.reconcile(&[]).await.expect("reconcile");
        assert!(tcp_from(netns(&b), "198.51.100.1:80").is_some(), "the other engine's work is left alone");
        drop((one, two));
    });
}

#[test]
fn foreign_forward_chains() {
    Scratch::run(|scratch| async move {
        run("nft add table ip filter");
        run("nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
        let networks = scratch.engine("one", "sv0").await;
        let sandbox = networks.open_sandbox(&request("a", "bridge")).await.expect("open");
        tcp_server(&scratch.world, "world", 80);
        assert!(tcp_from(netns(&sandbox), "198.51.100.1:80").is_some(), "{}", run("nft list ruleset"));
        assert_eq!(networks.warnings().len(), 1);
        let count = |text: &str| run("nft list chain ip filter FORWARD").matches(text).count();
        assert_eq!(count("accept comment"), 2);
        networks.create(&network("more")).await.expect("create");
        assert_eq!(count("accept comment"), 4);
        networks.remove("more").await.expect("remove");
        assert_eq!(count("accept comment"), 2, "{}", run("nft list ruleset"));
    });
}

#[test]
fn a_foreign_forward_chain_that_comes_later() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        run("nft add table ip filter");
        run("nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
        run("nft add chain ip filter DOCKER-USER");
        run("nft add rule ip filter FORWARD jump DOCKER-USER");
        let sandbox = networks.open_sandbox(&request("a", "bridge")).await.expect("open");
        tcp_server(&scratch.world, "world", 80);
        eventually("the accepts", || {
            run("nft list chain ip filter DOCKER-USER").matches("accept comment").count() == 2
        })
        .await;
        assert!(tcp_from(netns(&sandbox), "198.51.100.1:80").is_some(), "{}", run("nft list ruleset"));
    });
}

#[test]
fn fixed_addresses_and_joining() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let mut fixed = network("fixed");
        fixed.ipam = pool("10.77.0.0/16", "10.77.5.0/24", "10.77.0.254");
        networks.create(&fixed).await.expect("create");
        networks.create(&network("other")).await.expect("create");
        let mut web = request("web", "fixed");
        web.endpoints[0].ipv4 = Some("10.77.9.9".parse().expect("address"));
        web.endpoints[0].mac = Some("02:42:ac:11:00:99".into());
        let sandbox = networks.open_sandbox(&web).await.expect("open");
        let state = &sandbox.endpoints[0];
        assert_eq!(state.ipv4.expect("ipv4").to_string(), "10.77.9.9/16");
        assert_eq!(state.mac, "02:42:ac:11:00:99");
        let auto = networks.open_sandbox(&request("auto", "fixed")).await.expect("open");
        assert_eq!(address(&auto), "10.77.5.0", "the range's first");
        let mut again = request("again", "fixed");
        again.endpoints[0].ipv4 = Some("10.77.9.9".parse().expect("address"));
        assert_eq!(networks.open_sandbox(&again).await.expect_err("in use").message(), "Address already in use");
        let mut outside = request("outside", "other");
        outside.endpoints[0].ipv4 = Some("10.77.9.10".parse().expect("address"));
        assert!(
            networks
                .open_sandbox(&outside)
                .await
                .expect_err("no fixed subnet")
                .message()
                .contains("user configured subnets")
        );

        let join =
            EndpointRequest { network: "other".into(), aliases: vec!["nick".into()], ..EndpointRequest::default() };
        let joined = networks.connect(&web.container, ("web", "h"), &join).await.expect("connect");
        assert_eq!(joined.interface, "eth1");
        let shown = networks.inspect("other").expect("inspect");
        assert_eq!(shown.containers[&web.container.to_string()].name, "web");
        let error = networks.remove("other").await.expect_err("in use");
        assert!(error.message().contains("has active endpoints"), "{error}");
        tcp_server(&scratch.world, "world", 80);
        networks.disconnect(&web.container, "fixed").await.expect("disconnect");
        let inner = inside(netns(&sandbox), links);
        assert_eq!(inner, ["lo", "eth1"]);
        assert!(tcp_from(netns(&sandbox), "198.51.100.1:80").is_some(), "the default route moved");
        networks.disconnect(&web.container, "other").await.expect("disconnect");
        assert!(networks.disconnect(&web.container, "other").await.is_err());
        networks.remove("other").await.expect("remove");
        drop(auto);
        for name in ["auto"] {
            let shown = networks.inspect("fixed").expect("inspect");
            let (id, _) = shown.containers.iter().find(|(_, c)| c.name == name).expect("there");
            networks.close_sandbox(&id.parse().expect("id")).await.expect("close");
        }
        networks.remove("fixed").await.expect("remove");
        eventually("all veths are gone", || !links().iter().any(|l| l.starts_with("veth"))).await;
        assert!(!links().iter().any(|l| l.starts_with("br-")), "{:?}", links());
    });
}

#[test]
fn after_kill_9() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        networks.create(&network("front")).await.expect("create");
        let (mut live, mut dead) = (request("live", "front"), request("dead", "front"));
        publish(&mut live, &[("", "8080", "80/tcp")]);
        publish(&mut dead, &[("", "8081", "80/tcp")]);
        let live_box = networks.open_sandbox(&live).await.expect("open");
        let dead_box = networks.open_sandbox(&dead).await.expect("open");
        tcp_server(netns(&live_box), "live", 80);
        let dead_key = dead_box.key.clone().expect("key");
        drop(dead_box);
        drop(networks);
        let networks = scratch.engine("one", "sv0").await;
        assert!(tcp_from(&scratch.world, "198.51.100.2:8080").is_some(), "published while nobody reconciled yet");
        networks.reconcile(&[live.container]).await.expect("reconcile");
        assert!(!bound(&dead_key));
        let ports: Vec<u16> =
            networks.endpoints(&live.container).expect("endpoints").1.iter().map(|p| p.host_port).collect();
        assert_eq!(ports, [8080]);
        assert!(networks.endpoints(&dead.container).expect("endpoints").0.is_empty());
        assert!(tcp_from(&scratch.world, "198.51.100.2:8080").is_some());
        assert!(std::net::TcpListener::bind("0.0.0.0:8080").is_err(), "held again");
        assert!(std::net::TcpListener::bind("0.0.0.0:8081").is_ok(), "free again");
        eventually("the dead one's veth is gone", || links().iter().filter(|l| l.starts_with("veth")).count() == 1)
            .await;
        networks.reconcile(&[]).await.expect("reconcile");
        drop(live_box);
        eventually("all veths are gone", || !links().iter().any(|l| l.starts_with("veth"))).await;
        networks.remove("front").await.expect("nothing is attached");
        assert_eq!(run("nft list tables").lines().filter(|l| l.contains("sheave-")).count(), 1);
    });
}

#[test]
fn other_modes() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let mut none = request("none", "none");
        none.mode = Mode::None;
        let sandbox = networks.open_sandbox(&none).await.expect("open");
        assert_eq!(inside(netns(&sandbox), links), ["lo"]);
        let mut host = request("host", "host");
        host.mode = Mode::Host;
        publish(&mut host, &[("", "80", "80/tcp")]);
        let opened = networks.open_sandbox(&host).await.expect("open");
        assert!(opened.netns.is_none() && opened.ports.is_empty());
        assert_eq!(opened.warnings.len(), 1);
        assert_eq!(networks.inspect("host").expect("inspect").containers.len(), 1);
        let web = request("web", "bridge");
        let sandbox = networks.open_sandbox(&web).await.expect("open");
        let mut guest = request("guest", "bridge");
        guest.mode = Mode::Container(web.container);
        let shared = networks.open_sandbox(&guest).await.expect("open");
        let inode = |n: &std::os::fd::OwnedFd| nix::sys::stat::fstat(n).expect("fstat").st_ino;
        assert_eq!(inode(netns(&shared)), inode(netns(&sandbox)));
        networks.close_sandbox(&host.container).await.expect("close");
        assert!(networks.inspect("host").expect("inspect").containers.is_empty());
    });
}

#[test]
fn creation() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let mut front = network("front");
        front.labels.insert("tier".into(), "web".into());
        let id = networks.create(&front).await.expect("create").id;
        assert_eq!(networks.inspect(&id[..10]).expect("prefix").name, "front");
        for (request, status, text) in [
            (network("front"), ErrorKind::Conflict, "network with name front already exists"),
            (network("host"), ErrorKind::Denied, "operation is not permitted on predefined host network"),
            (network("a b"), ErrorKind::Invalid, "invalid network name"),
            (
                NetworkCreateRequest { driver: "nope".into(), ..network("x") },
                ErrorKind::NotFound,
                "could not find plugin nope",
            ),
            (
                NetworkCreateRequest { driver: "host".into(), ..network("x") },
                ErrorKind::Denied,
                "only one instance of \"host\" network is allowed",
            ),
            (
                NetworkCreateRequest { ipam: pool("172.17.3.0/24", "", ""), ..network("x") },
                ErrorKind::Denied,
                "Pool overlaps with other one on this address space",
            ),
            (
                NetworkCreateRequest { ipam: pool("10.1.0.0/33", "", ""), ..network("x") },
                ErrorKind::Invalid,
                "invalid subnet",
            ),
            (
                NetworkCreateRequest { ipam: pool("10.1.0.0/16", "10.2.0.0/24", ""), ..network("x") },
                ErrorKind::Invalid,
                "doesn't contain",
            ),
            (
                NetworkCreateRequest { ipam: pool("10.1.0.0/16", "", "10.2.0.1"), ..network("x") },
                ErrorKind::Invalid,
                "doesn't contain",
            ),
        ] {
            let error = networks.create(&request).await.expect_err(text);
            assert_eq!(error.kind(), status, "{error}");
            assert!(error.message().contains(text), "{error}");
        }
    });
}

#[test]
fn lists_and_prunes() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let filters = |text: &str| Filters::parse(text).expect(text);
        let names = |text: &str| -> Vec<String> {
            let mut names: Vec<String> =
                networks.list(&filters(text)).expect(text).into_iter().map(|n| n.name).collect();
            names.sort();
            names
        };
        assert_eq!(names(""), ["bridge", "host", "none"]);
        let mut front = network("front");
        front.labels.insert("tier".into(), "web".into());
        let id = networks.create(&front).await.expect("create").id;
        for (filter, expected) in [
            (r#"{"name":["ron"]}"#, vec!["front"]),
            (r#"{"driver":["null"]}"#, vec!["none"]),
            (r#"{"type":["custom"]}"#, vec!["front"]),
            (r#"{"type":{"builtin":true}}"#, vec!["bridge", "host", "none"]),
            (r#"{"label":["tier=web"]}"#, vec!["front"]),
            (r#"{"label":["tier=db"]}"#, vec![]),
            (r#"{"dangling":["true"]}"#, vec!["front"]),
            (r#"{"scope":["swarm"]}"#, vec![]),
        ] {
            assert_eq!(names(filter), expected, "{filter}");
        }
        assert_eq!(networks.list(&filters(r#"{"x":["y"]}"#)).expect_err("unknown").message(), "invalid filter 'x'");
        for (name, text) in
            [("bridge", "bridge is a pre-defined network and cannot be removed"), ("nope", "network nope not found")]
        {
            assert_eq!(networks.remove(name).await.expect_err(name).message(), text);
        }
        drop(networks);
        let networks = scratch.engine("one", "sv0").await;
        assert_eq!(networks.inspect("front").expect("kept").id, id);
        let pruned = networks.prune(&filters(r#"{"label":["tier=web"]}"#), &[]).await.expect("prune");
        assert_eq!(pruned.networks_deleted, Some(vec!["front".to_owned()]));
        assert_eq!(links().iter().filter(|l| l.starts_with("br-")).count(), 0);
    });
}

#[test]
fn many_at_once() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let networks = networks.clone();
            tasks.spawn(async move {
                let mut request = request(&format!("c{n}"), "bridge");
                publish(&mut request, &[("", "", "80/tcp")]);
                let sandbox = networks.open_sandbox(&request).await.expect("open");
                (request.container, sandbox)
            });
        }
        let opened = tasks.join_all().await;
        let addresses: std::collections::BTreeSet<String> = opened.iter().map(|(_, s)| address(s)).collect();
        assert_eq!(addresses.len(), 20);
        for (id, sandbox) in opened {
            drop(sandbox);
            networks.close_sandbox(&id).await.expect("close");
        }
        assert!(networks.inspect("bridge").expect("inspect").containers.is_empty());
        eventually("all veths are gone", || !links().iter().any(|l| l.starts_with("veth"))).await;
    });
}

#[test]
fn ipv6() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        let mut six = network("six");
        six.enable_ipv6 = Some(true);
        networks.create(&six).await.expect("create");
        let a = networks.open_sandbox(&request("a", "six")).await.expect("open");
        let b = networks.open_sandbox(&request("b", "six")).await.expect("open");
        let to = b.endpoints[0].ipv6.expect("ipv6").address();
        let listener = inside(netns(&b), || std::net::TcpListener::bind("[::]:80").expect("listen"));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = std::io::Write::write_all(&mut stream, b"six");
            }
        });
        eventually("IPv6 reaches", || tcp_from(netns(&a), &format!("[{to}]:80")).as_deref() == Some("six")).await;
        let four = networks.open_sandbox(&request("c", "bridge")).await.expect("open");
        let text = inside(netns(&four), || run("ip -6 addr show dev eth0"));
        assert_eq!(text, "", "no IPv6 where it was not asked for");
    });
}

#[test]
fn a_stopped_engine_leaves_nothing_unless_a_container_goes_on() {
    Scratch::run(|scratch| async move {
        let before = inside(&scratch.host, links);
        let networks = scratch.engine("one", "sv0").await;
        let bridge = || inside(&scratch.host, links).iter().any(|l| l == "sv0");
        let tables = || inside(&scratch.host, || run("nft list tables")).contains("sheave-");
        let client = request("client", "bridge");
        let sandbox = networks.open_sandbox(&client).await.expect("open");
        networks.close().await.expect("close");
        assert!(bridge() && tables(), "a connected container keeps its network");
        drop(sandbox);
        networks.close_sandbox(&client.container).await.expect("close the sandbox");
        networks.close().await.expect("close");
        assert!(!bridge() && !tables(), "what is left: {:?}", inside(&scratch.host, links));
        eventually("the links of before", || inside(&scratch.host, links) == before).await;
    });
}
