//! The name server of user-defined networks, in a real kernel.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::Duration;

use crate::scratch::*;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use sheave_api::networks::NetworkCreateRequest;
use sheave_network::EndpointRequest;

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).expect("name"), kind));
    message.to_vec().expect("query")
}

fn answers(bytes: &[u8]) -> (ResponseCode, Vec<String>) {
    let message = Message::from_vec(bytes).expect("answer");
    assert_eq!(message.metadata.id, 4711);
    let mut records: Vec<String> = message.answers.iter().map(|r| r.data.to_string()).collect();
    records.sort();
    (message.metadata.response_code, records)
}

fn ask(netns: &OwnedFd, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let query = query(name, kind);
    let answer = inside(netns, || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        socket.connect("127.0.0.11:53").expect("connect");
        socket.send(&query).expect("send");
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{name}: {e}"));
        buffer[..length].to_vec()
    });
    answers(&answer)
}

fn ask_tcp(netns: &OwnedFd, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let query = query(name, kind);
    let answer = inside(netns, || {
        let mut stream = TcpStream::connect("127.0.0.11:53").expect("connect");
        stream.write_all(&u16::try_from(query.len()).expect("length").to_be_bytes()).expect("write");
        stream.write_all(&query).expect("write");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("read");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).expect("read");
        answer
    });
    answers(&answer)
}

/// A resolver that answers every query for an address with 203.0.113.7, over UDP and TCP.
fn world_resolver(world: &OwnedFd) {
    fn reply(query: &[u8]) -> Vec<u8> {
        let query = Message::from_vec(query).expect("query");
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.queries = query.queries.clone();
        if query.queries[0].query_type() == RecordType::A {
            let name = query.queries[0].name().clone();
            response.add_answer(Record::from_rdata(name, 5, RData::A(A([203, 0, 113, 7].into()))));
        }
        response.to_vec().expect("response")
    }
    let (udp, tcp) = inside(world, || {
        (UdpSocket::bind("0.0.0.0:53").expect("bind"), TcpListener::bind("0.0.0.0:53").expect("listen"))
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&reply(&buffer[..length]), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                let _ = stream.read_exact(&mut query);
                let reply = reply(&query);
                let _ = stream.write_all(&u16::try_from(reply.len()).unwrap_or(0).to_be_bytes());
                let _ = stream.write_all(&reply);
            }
        }
    });
}

fn network(name: &str, internal: bool) -> NetworkCreateRequest {
    NetworkCreateRequest { name: name.to_owned(), internal, ..NetworkCreateRequest::default() }
}

#[test]
fn names_of_a_network() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        for (name, internal) in [("front", false), ("back", false), ("inner", true)] {
            networks.create(&network(name, internal)).await.expect("create");
        }
        world_resolver(&scratch.world);
        let mut web = request("web", "front");
        web.endpoints[0].aliases = vec!["Site".into()];
        let web_box = networks.open_sandbox(&web).await.expect("open");
        assert!(web_box.own_dns);
        let app = networks.open_sandbox(&request("app", "front")).await.expect("open");
        let lone = networks.open_sandbox(&request("lone", "back")).await.expect("open");
        let inner = networks.open_sandbox(&request("inner", "inner")).await.expect("open");
        let found = |list: &[&str]| (ResponseCode::NoError, list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        let ip = address(&web_box);
        let short = web.container.short();
        for name in ["web", "web.", "WEB", "site", "host-of-web", "web.front", short.as_str()] {
            assert_eq!(ask(netns(&app), name, RecordType::A), found(&[&ip]), "{name}");
        }
        assert_eq!(ask_tcp(netns(&app), "web", RecordType::A), found(&[&ip]), "over TCP");
        assert_eq!(ask(netns(&app), "web", RecordType::AAAA), found(&[]), "no IPv6 address, but the name exists");
        let reverse = |ip: &str| {
            let parts: Vec<&str> = ip.split('.').rev().collect();
            format!("{}.in-addr.arpa.", parts.join("."))
        };
        assert_eq!(ask(netns(&app), &reverse(&ip), RecordType::PTR), found(&["web.front."]));
        assert_eq!(ask(netns(&app), "example.org.", RecordType::A), found(&["203.0.113.7"]), "the world");
        assert_eq!(ask_tcp(netns(&app), "example.org.", RecordType::A), found(&["203.0.113.7"]), "the world over TCP");
        assert_eq!(
            ask(netns(&lone), "web", RecordType::A),
            found(&["203.0.113.7"]),
            "not its network: the world is asked"
        );
        let refused = (ResponseCode::ServFail, Vec::new());
        assert_eq!(ask(netns(&inner), "example.org.", RecordType::A), refused, "internal");

        let id = shown(&networks, "back", "lone");
        let join =
            EndpointRequest { network: "front".into(), aliases: vec!["site".into()], ..EndpointRequest::default() };
        let joined = networks.connect(&id, ("lone", "h"), &join).await.expect("connect");
        let second = joined.ipv4.expect("ipv4").address().to_string();
        let mut both = [ip.clone(), second.clone()];
        both.sort();
        assert_eq!(ask(netns(&app), "site", RecordType::A), found(&[&both[0], &both[1]]), "an alias of two");
        assert_eq!(ask(netns(&lone), "web", RecordType::A), found(&[&ip]), "seen from the joined network");
        networks.disconnect(&id, "front").await.expect("disconnect");
        assert_eq!(ask(netns(&app), "site", RecordType::A), found(&[&ip]));
        networks.rename(&web.container, "web", "shop").expect("rename");
        assert_eq!(ask(netns(&app), "shop", RecordType::A), found(&[&ip]));
        networks.close_sandbox(&web.container).await.expect("close");
        assert_eq!(ask(netns(&app), "shop", RecordType::A), found(&["203.0.113.7"]), "gone");
    });
}

fn shown(networks: &sheave_network::Networks, network: &str, name: &str) -> sheave_types::Id {
    let shown = networks.inspect(network).expect("inspect");
    let (id, _) = shown.containers.iter().find(|(_, c)| c.name == name).expect("there");
    id.parse().expect("id")
}

#[test]
fn the_sockets_outlive_the_daemon() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        networks.create(&network("front", false)).await.expect("create");
        let web = request("web", "front");
        let sandbox = networks.open_sandbox(&web).await.expect("open");
        let kept: Vec<OwnedFd> = sandbox.dns_sockets.iter().map(|s| s.try_clone().expect("dup")).collect();
        let ip = address(&sandbox);
        drop(networks);
        let networks = scratch.engine("one", "sv0").await;
        networks.reconcile(&[web.container]).await.expect("reconcile");
        networks.adopt(&web.container, &kept, &[]).expect("adopt");
        assert_eq!(ask(netns(&sandbox), "web", RecordType::A), (ResponseCode::NoError, vec![ip]));
    });
}

#[test]
fn resolvers_of_the_container_are_asked_from_inside() {
    Scratch::run(|scratch| async move {
        let networks = scratch.engine("one", "sv0").await;
        networks.create(&network("front", false)).await.expect("create");
        let dns = networks.open_sandbox(&request("dns", "front")).await.expect("open");
        world_resolver(netns(&dns));
        let mut app = request("app", "front");
        app.dns = vec![IpAddr::from_str(&address(&dns)).expect("address")];
        let app = networks.open_sandbox(&app).await.expect("open");
        let expected = (ResponseCode::NoError, vec!["203.0.113.7".to_owned()]);
        assert_eq!(ask(netns(&app), "example.org.", RecordType::A), expected);
    });
}
