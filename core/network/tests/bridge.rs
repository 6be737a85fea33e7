//! Bridge networks in a real kernel: a scratch namespace stands for the host, another one for the world. Needs root.

mod scratch;

use scratch::*;

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
