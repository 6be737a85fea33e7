//! A network is a bridge of the host; a container's end is a veth pair.

use sheave_plugin::network::{
    Address, Bridge as BridgeLink, Capabilities, Driver, Endpoint, Forwarding, Link, Masquerade, Plan, Policy, Route,
    Spec, Status, Sysctl, Veth,
};
use sheave_plugin::{Error, Label, label};

use crate::Config;

const NAME: &str = "com.docker.network.bridge.name";
const DEFAULT: &str = "com.docker.network.bridge.default_bridge";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const INHIBIT: &str = "com.docker.network.bridge.inhibit_ipv4";
const GATEWAY_MODE: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";
const PREFIX: &str = "com.docker.network.container_iface_prefix";
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// The driver.
pub struct Bridge(Config);

/// An option that is a boolean in Docker's spelling.
fn flag(options: &[Label], key: &str, default: bool) -> Result<bool, Error> {
    match label(options, key) {
        None => Ok(default),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(Error::invalid(key, format!("{key}: {other:?} is neither true nor false"))),
    }
}

fn bridge_name(spec: &Spec) -> String {
    match label(&spec.options, NAME) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => format!("br-{}", spec.id.get(..12).unwrap_or(&spec.id)),
    }
}

fn prefix_length(subnet: &str) -> Result<&str, Error> {
    let length = subnet.split_once('/').map(|(_, length)| length);
    length.ok_or_else(|| Error::invalid("subnet", format!("invalid subnet {subnet}")))
}

impl Bridge {
    fn mtu(&self, spec: &Spec) -> Result<u32, Error> {
        match label(&spec.options, MTU) {
            None => Ok(self.0.mtu),
            Some(text) => text.parse().map_err(|_| Error::invalid(MTU, format!("invalid MTU {text:?}"))),
        }
    }

    fn forwarding(spec: &Spec) -> Result<Forwarding, Error> {
        let together = flag(&spec.options, ICC, true)?;
        Ok(match (spec.internal, together) {
            (false, true) => match label(&spec.options, GATEWAY_MODE) {
                Some("nat-unprotected") => Forwarding::Open,
                _ => Forwarding::Isolated,
            },
            (true, true) => Forwarding::Internal,
            (false, false) => Forwarding::NoIntercommunication,
            (true, false) => Forwarding::Sealed,
        })
    }
}

fn empty() -> Plan {
    Plan {
        links: Vec::new(),
        addresses: Vec::new(),
        routes: Vec::new(),
        sysctls: Vec::new(),
        masquerade: Vec::new(),
        policies: Vec::new(),
        ports: Vec::new(),
        dns: false,
        host_namespace: false,
    }
}

impl Driver for Bridge {
    fn new(config: String) -> Result<Self, Error> {
        sheave_plugin::config(&config).map(Self)
    }

    fn capabilities(&self) -> Result<Capabilities, Error> {
        let known = [NAME, DEFAULT, ICC, MASQUERADE, HOST_BINDING, INHIBIT, GATEWAY_MODE, MTU, PREFIX, SYSCTLS];
        let mut options: Vec<String> = known.map(str::to_owned).to_vec();
        options.push("com.docker.network.endpoint.ifname".to_owned());
        Ok(Capabilities { addresses: true, ports: true, creatable: true, options })
    }

    fn create(&self, spec: Spec) -> Result<Plan, Error> {
        if let Some(mode) = label(&spec.options, GATEWAY_MODE)
            && !matches!(mode, "nat" | "nat-unprotected")
        {
            return Err(Error::of(
                sheave_plugin::ErrorKind::Unsupported,
                format!("{GATEWAY_MODE}={mode} is not supported"),
            ));
        }
        let name = bridge_name(&spec);
        let mut plan = empty();
        plan.links.push(Link::Bridge(BridgeLink { name: name.clone(), mtu: self.mtu(&spec)? }));
        let masquerade = flag(&spec.options, MASQUERADE, true)? && !spec.internal;
        for pool in &spec.pools {
            let v6 = pool.subnet.contains(':');
            if let Some(gateway) = &pool.gateway
                && (v6 || !flag(&spec.options, INHIBIT, false)?)
            {
                let address = format!("{gateway}/{}", prefix_length(&pool.subnet)?);
                plan.addresses.push(Address { link: name.clone(), address });
            }
            if masquerade {
                plan.masquerade.push(Masquerade { subnet: pool.subnet.clone(), except_link: name.clone() });
            }
        }
        plan.policies.push(Policy { link: name, forwarding: Self::forwarding(&spec)? });
        Ok(plan)
    }

    fn delete(&self, _id: String) -> Result<(), Error> {
        Ok(())
    }

    fn attach(&self, spec: Spec, endpoint: Endpoint) -> Result<Plan, Error> {
        let mut plan = empty();
        let inside = endpoint.interface_name.clone();
        plan.links.push(Link::Veth(Veth {
            host_name: format!("veth{}", endpoint.id.get(..11).unwrap_or(&endpoint.id)),
            master: Some(bridge_name(&spec)),
            container_name: inside.clone(),
            mac: endpoint.mac.clone(),
            mtu: self.mtu(&spec)?,
            hairpin: self.0.hairpin.unwrap_or(true),
        }));
        plan.addresses =
            endpoint.addresses.iter().map(|a| Address { link: inside.clone(), address: a.clone() }).collect();
        if !spec.internal {
            plan.routes = endpoint
                .gateways
                .iter()
                .map(|gateway| Route {
                    destination: if gateway.contains(':') { "::/0" } else { "0.0.0.0/0" }.to_owned(),
                    via: Some(gateway.clone()),
                    link: inside.clone(),
                    metric: 0,
                })
                .collect();
            plan.ports = endpoint.ports.clone();
        }
        if !spec.ipv6 {
            plan.sysctls.push(Sysctl { key: format!("net.ipv6.conf.{inside}.disable_ipv6"), value: "1".to_owned() });
        }
        for pair in label(&endpoint.options, SYSCTLS).into_iter().flat_map(|s| s.split(',')) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Error::invalid(SYSCTLS, format!("invalid sysctl {pair:?}")))?;
            plan.sysctls.push(Sysctl { key: key.replace("IFNAME", &inside), value: value.to_owned() });
        }
        plan.dns = !flag(&spec.options, DEFAULT, false)?;
        Ok(plan)
    }

    fn detach(&self, _spec: Spec, _endpoint: String) -> Result<(), Error> {
        Ok(())
    }

    fn status(&self, spec: Spec) -> Result<Status, Error> {
        let details = vec![Label { key: "bridge".to_owned(), value: bridge_name(&spec) }];
        Ok(Status { network: spec.id, healthy: true, details })
    }
}
