//! The suite of the kind `network`: what `network.wit` promises, one function a promise. Drivers are pure here: nothing is
//! executed, the plans themselves are checked as the core checks them.

use std::net::IpAddr;
use std::sync::Arc;

use sheave_plugin::network::{AnyDriver, Endpoint, Link, Plan, Pool, PortMap, Protocol, Spec};
use sheave_plugin::{ErrorKind, Make, host};

use crate::{FakeHost, rule};

/// Makes one test of each promise of the network interface, over a linked plugin: `network_suite!(my_plugin::linked());`
#[macro_export]
macro_rules! network_suite {
    ($linked:expr) => {
        $crate::network_suite! { $linked; configuration same_plan created attached internal ports unknown }
    };
    ($linked:expr; $($promise:ident)+) => {
        $(#[test]
        fn $promise() {
            let make = $linked.network.expect("a network plugin");
            if stringify!($promise) == "configuration" {
                $crate::network::configuration(make);
                return;
            }
            let driver = make(String::new()).expect("a driver without configuration");
            $crate::network::by_name(stringify!($promise), driver.as_ref(), &$crate::FakeHost::new());
        })+
    };
}

type Promise = fn(&Bench<'_>);

const PROMISES: &[(&str, Promise)] = &[
    ("same_plan", same_plan),
    ("created", created),
    ("attached", attached),
    ("internal", internal),
    ("ports", ports),
    ("unknown", unknown),
];

struct Bench<'a> {
    driver: &'a dyn AnyDriver,
    host: &'a Arc<FakeHost>,
}

impl Bench<'_> {
    fn call<R>(&self, f: impl FnOnce(&dyn AnyDriver) -> R) -> R {
        host::scope(self.host.clone(), || f(self.driver))
    }

    fn create(&self, spec: &Spec) -> Plan {
        let plan = self.call(|d| d.create(spec.clone())).expect("create");
        rule!(
            !plan.host_namespace && plan.ports.is_empty(),
            "A network's plan neither publishes ports nor is a namespace."
        );
        plan
    }

    fn attach(&self, spec: &Spec, endpoint: &Endpoint) -> Plan {
        let plan = self.call(|d| d.attach(spec.clone(), endpoint.clone())).expect("attach");
        check_attach(&plan, endpoint);
        plan
    }
}

/// Runs every promise over drivers made by `make`, for carriers that have no linked plugin.
pub fn all(make: &mut dyn FnMut(Arc<FakeHost>) -> Box<dyn AnyDriver>) {
    for (_, promise) in PROMISES {
        let host = FakeHost::new();
        let driver = make(host.clone());
        promise(&Bench { driver: driver.as_ref(), host: &host });
    }
}

/// Runs one promise.
///
/// # Panics
/// If the promise is broken, or there is none of this name.
pub fn by_name(name: &str, driver: &dyn AnyDriver, host: &Arc<FakeHost>) {
    let (_, promise) = PROMISES.iter().find(|(n, _)| *n == name).expect("a promise of this suite");
    promise(&Bench { driver, host });
}

/// A network of one IPv4 pool.
pub fn spec() -> Spec {
    Spec {
        id: "5e".repeat(32),
        name: "front".to_owned(),
        pools: vec![Pool {
            subnet: "10.9.0.0/24".to_owned(),
            ip_range: None,
            gateway: Some("10.9.0.1".to_owned()),
            reserved: Vec::new(),
        }],
        internal: false,
        ipv4: true,
        ipv6: false,
        options: Vec::new(),
        labels: Vec::new(),
    }
}

/// An endpoint of that network.
pub fn endpoint() -> Endpoint {
    Endpoint {
        id: "ab".repeat(32),
        network: "5e".repeat(32),
        container: "c0".repeat(32),
        interface_name: "eth0".to_owned(),
        mac: Some("02:42:0a:09:00:02".to_owned()),
        addresses: vec!["10.9.0.2/24".to_owned()],
        gateways: vec!["10.9.0.1".to_owned()],
        gateway_priority: 0,
        ports: Vec::new(),
        names: vec!["web".to_owned()],
        options: Vec::new(),
    }
}

fn port() -> PortMap {
    PortMap {
        protocol: Protocol::Tcp,
        host_address: "0.0.0.0".to_owned(),
        host_port: 8080,
        container_port: 80,
        count: 1,
    }
}

/// A constructor given a key that it does not know.
///
/// # Panics
/// If it takes it.
pub fn configuration(make: Make<dyn AnyDriver>) {
    rule!(make("{}".to_owned()).is_ok(), "Makes a driver from its configuration.");
    let error = make(r#"{"no-such-key": 1}"#.to_owned()).err();
    let named = error.as_ref().is_some_and(|e| e.kind == ErrorKind::Invalid && e.message.contains("no-such-key"));
    rule!(named, "Unknown keys become an `invalid` error that names them.", "{error:?}");
}

/// The names of the links as containers see them.
fn inside(plan: &Plan) -> Vec<&str> {
    plan.links
        .iter()
        .map(|link| match link {
            Link::Veth(veth) => veth.container_name.as_str(),
            Link::Macvlan(macvlan) => macvlan.container_name.as_str(),
            Link::Bridge(bridge) => bridge.name.as_str(),
            Link::Vxlan(vxlan) => vxlan.name.as_str(),
            Link::MoveExisting(name) | Link::Adopted(name) => name.as_str(),
        })
        .collect()
}

fn check_names(plan: &Plan) {
    for name in inside(plan) {
        rule!((1..=15).contains(&name.len()), "A link's name has 1 to 15 bytes.", "{name}");
    }
    for address in &plan.addresses {
        rule!(inside(plan).contains(&address.link.as_str()), "An address is on a link of this plan.", "{address:?}");
        let parsed = address.address.split_once('/').map(|(a, l)| (a.parse::<IpAddr>(), l.parse::<u8>()));
        rule!(matches!(parsed, Some((Ok(_), Ok(_)))), "An address has a prefix length.", "{address:?}");
    }
    for change in &plan.sysctls {
        rule!(change.key.starts_with("net."), "Sysctls are of the network (net.* only).", "{change:?}");
    }
}

fn check_attach(plan: &Plan, endpoint: &Endpoint) {
    check_names(plan);
    rule!(!plan.host_namespace || plan.links.is_empty(), "The host's namespace goes with no link.");
    rule!(
        plan.masquerade.is_empty() && plan.policies.is_empty(),
        "What holds for a network is in the plan of `create`."
    );
    for route in &plan.routes {
        rule!(inside(plan).contains(&route.link.as_str()), "A route is on a link of this plan.", "{route:?}");
    }
    for address in &plan.addresses {
        rule!(endpoint.addresses.contains(&address.address), "Addresses are allocated by the core.", "{address:?}");
    }
    for port in &plan.ports {
        rule!(endpoint.ports.contains(port), "Host ports are allocated by the core.", "{port:?}");
    }
}

fn same_plan(bench: &Bench<'_>) {
    let (first, second) = (bench.create(&spec()), bench.create(&spec()));
    rule!(first == second, "The same spec must give the same plan.", "{first:?}\n{second:?}");
}

fn created(bench: &Bench<'_>) {
    let plan = bench.create(&spec());
    check_names(&plan);
    rule!(plan.routes.is_empty(), "A route is in the container.", "{:?}", plan.routes);
    for masquerade in &plan.masquerade {
        rule!(masquerade.subnet == "10.9.0.0/24", "A driver masquerades its own subnets.", "{masquerade:?}");
    }
    let status = bench.call(|d| d.status(spec())).expect("status");
    rule!(status.network == spec().id, "A status names its network.");
}

fn attached(bench: &Bench<'_>) {
    let capabilities = bench.call(|d| d.capabilities()).expect("capabilities");
    bench.create(&spec());
    let mut endpoint = endpoint();
    if !capabilities.addresses {
        endpoint.addresses.clear();
        endpoint.gateways.clear();
    }
    let plan = bench.attach(&spec(), &endpoint);
    if capabilities.addresses {
        let addresses: Vec<&String> = plan.addresses.iter().map(|a| &a.address).collect();
        rule!(addresses == [&endpoint.addresses[0]], "An endpoint gets the addresses that the core allocated.");
        rule!(inside(&plan).contains(&"eth0"), "The name inside the container is the endpoint's.");
    }
    let mut other = endpoint.clone();
    other.id = "cd".repeat(32);
    let names = |plan: &Plan| -> Vec<String> {
        let host =
            plan.links.iter().filter_map(|l| if let Link::Veth(v) = l { Some(v.host_name.clone()) } else { None });
        host.collect()
    };
    let (one, two) = (names(&plan), names(&bench.attach(&spec(), &other)));
    rule!(one.iter().all(|n| !two.contains(n)), "Two endpoints have different links.", "{one:?} {two:?}");
    rule!(one.iter().all(|n| n.len() <= 15), "A link's name has 1 to 15 bytes.", "{one:?}");
    let mut second = endpoint.clone();
    second.gateways.clear();
    let routes = bench.attach(&spec(), &second).routes;
    let default = routes.iter().any(|r| matches!(r.destination.as_str(), "default" | "0.0.0.0/0" | "::/0"));
    rule!(!default, "Gateways are empty where another network has the default route.", "{routes:?}");
    bench.call(|d| d.detach(spec(), endpoint.id.clone())).expect("detach");
    bench.call(|d| d.delete(spec().id)).expect("delete");
}

fn internal(bench: &Bench<'_>) {
    let mut spec = spec();
    spec.internal = true;
    if !bench.call(|d| d.capabilities()).expect("capabilities").addresses {
        return;
    }
    let plan = bench.create(&spec);
    rule!(plan.masquerade.is_empty(), "No way out and no way in.", "{:?}", plan.masquerade);
    let mut endpoint = endpoint();
    endpoint.ports.push(port());
    let plan = bench.attach(&spec, &endpoint);
    rule!(plan.ports.is_empty() && plan.routes.is_empty(), "No way out and no way in.", "{plan:?}");
}

fn ports(bench: &Bench<'_>) {
    let mut endpoint = endpoint();
    endpoint.ports.push(port());
    if bench.call(|d| d.capabilities()).expect("capabilities").ports {
        let plan = bench.attach(&spec(), &endpoint);
        rule!(plan.ports == endpoint.ports, "It can publish ports.", "{:?}", plan.ports);
    } else {
        let refused = bench.call(|d| d.attach(spec(), endpoint)).err().map(|e| e.kind);
        rule!(refused == Some(ErrorKind::Unsupported), "It can publish ports, or refuses them.", "{refused:?}");
    }
}

fn unknown(bench: &Bench<'_>) {
    let deleted = bench.call(|d| d.delete("77".repeat(32)));
    rule!(deleted.is_ok(), "A network that is not known is not an error.", "{deleted:?}");
    let detached = bench.call(|d| d.detach(spec(), "77".repeat(32)));
    rule!(detached.is_ok(), "An endpoint that is not known is not an error.", "{detached:?}");
}
