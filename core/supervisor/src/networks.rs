//! Networks as the supervisor needs them.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use async_trait::async_trait;
use sheave_api::containers::{EndpointSettings, NetworkSettings, PortBinding, PortMap};
use sheave_network::{EndpointRequest, EndpointState, Mode, Networks, PortRequest, SandboxRequest};
use sheave_types::{Id, Result};

use crate::neighbours::{Joined, NetworkSource, Sandbox};
use crate::record::View;
use crate::spec::modes::NetworkMode;

#[async_trait]
impl NetworkSource for Networks {
    async fn open(&self, view: &View, _upstream: &[IpAddr]) -> Result<Sandbox> {
        let request = request(view)?;
        let opened = self.open_sandbox(&request).await?;
        for warning in &opened.warnings {
            tracing::warn!(container = %view.id, warning, "network");
        }
        let addresses = opened.endpoints.iter().flat_map(addresses).collect();
        let mut settings = NetworkSettings {
            sandbox_id: opened.key.as_ref().map(|_| view.id.to_string()).unwrap_or_default(),
            sandbox_key: opened.key.map(|key| key.to_string_lossy().into_owned()).unwrap_or_default(),
            ports: exposed(view),
            networks: view.record.endpoints.clone(),
            ..NetworkSettings::default()
        };
        for port in &opened.ports {
            let (key, binding) = port.binding();
            settings.ports.entry(key).or_default().get_or_insert_default().push(binding);
        }
        for state in &opened.endpoints {
            let wishes = wishes(&mut settings, state);
            settings.networks.insert(state.network.clone(), shown(wishes, state));
        }
        settings.repeat_default_bridge();
        Ok(Sandbox {
            netns: opened.netns,
            settings,
            dns: opened.dns_sockets,
            embedded_dns: opened.own_dns,
            addresses,
            host_gateway: self.host_gateway().first().copied(),
        })
    }

    async fn close(&self, container: &Id) {
        if let Err(error) = self.close_sandbox(container).await {
            tracing::warn!(%container, %error, "the network was not taken down");
        }
    }

    async fn adopt(&self, view: &View, dns: Vec<OwnedFd>) {
        let adopted = resolvers(view).and_then(|resolvers| Networks::adopt(self, &view.id, &dns, &resolvers));
        if let Err(error) = adopted {
            tracing::debug!(container = %view.id, %error, "no name server");
        }
    }

    async fn reconcile(&self, live: &[Id]) {
        if let Err(error) = Networks::reconcile(self, live).await {
            tracing::warn!(%error, "the networks were not compared with the containers");
        }
    }

    async fn renamed(&self, view: &View, from: &str) {
        if let Err(error) = self.rename(&view.id, from, &view.name) {
            tracing::warn!(container = %view.id, %error, "the name server keeps the old name");
        }
    }

    fn check(&self, network: &str, wishes: &EndpointSettings) -> Result<String> {
        Ok(Networks::check(self, network, wishes)?.1)
    }

    async fn join(&self, view: &View, network: &str, wishes: &EndpointSettings) -> Result<Joined> {
        let names = (view.name.as_str(), view.record.config.hostname.as_str());
        let state = self.connect(&view.id, names, &endpoint(network, wishes)?).await?;
        Ok(Joined { network: state.network.clone(), settings: shown(wishes.clone(), &state) })
    }

    async fn leave(&self, container: &Id, network: &str) -> Result<()> {
        self.disconnect(container, network).await
    }
}

fn addresses(state: &EndpointState) -> impl Iterator<Item = IpAddr> {
    state.ipv4.iter().chain(&state.ipv6).map(|prefix| prefix.address()).collect::<Vec<_>>().into_iter()
}

/// What was asked for in the network of an endpoint, under whichever of its names.
fn wishes(settings: &mut NetworkSettings, state: &EndpointState) -> EndpointSettings {
    let key =
        settings.networks.keys().find(|key| **key == state.network || state.network_id.starts_with(*key)).cloned();
    key.and_then(|key| settings.networks.remove(&key)).unwrap_or_default()
}

/// An endpoint as inspect shows it.
fn shown(wishes: EndpointSettings, state: &EndpointState) -> EndpointSettings {
    let text = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    EndpointSettings {
        mac_address: state.mac.clone(),
        network_id: state.network_id.clone(),
        endpoint_id: state.id.clone(),
        gateway: text(state.gateway),
        ip_address: text(state.ipv4.map(|prefix| prefix.address())),
        ip_prefix_len: state.ipv4.map_or(0, |prefix| prefix.length()),
        ipv6_gateway: text(state.gateway6),
        global_ipv6_address: text(state.ipv6.map(|prefix| prefix.address())),
        global_ipv6_prefix_len: state.ipv6.map_or(0, |prefix| prefix.length()),
        dns_names: (!state.names.is_empty()).then(|| state.names.clone()),
        ..wishes
    }
}

fn request(view: &View) -> Result<SandboxRequest> {
    let record = &view.record;
    let mode = match NetworkMode::read(&record.host_config.network_mode)? {
        NetworkMode::Network(_) => Mode::Networks,
        NetworkMode::Host => Mode::Host,
        NetworkMode::None => Mode::None,
        NetworkMode::Container(peer) => Mode::Container(peer.parse()?),
    };
    let networked = mode == Mode::Networks;
    let endpoints = record.endpoints.iter().filter(|_| networked);
    Ok(SandboxRequest {
        container: view.id,
        name: view.name.clone(),
        hostname: record.config.hostname.clone(),
        mode,
        endpoints: endpoints.map(|(network, wishes)| endpoint(network, wishes)).collect::<Result<_>>()?,
        ports: if networked { ports(view)? } else { Vec::new() },
        dns: resolvers(view)?,
    })
}

fn endpoint(network: &str, wishes: &EndpointSettings) -> Result<EndpointRequest> {
    let address = |text: &str| -> Result<Option<IpAddr>> {
        let invalid = |_| sheave_types::Error::invalid(format!("invalid address: {text}"));
        (!text.is_empty()).then(|| text.parse().map_err(invalid)).transpose()
    };
    let asked = wishes.ipam_config.clone().unwrap_or_default();
    Ok(EndpointRequest {
        network: network.to_owned(),
        aliases: wishes.aliases.clone().unwrap_or_default(),
        ipv4: address(&asked.ipv4_address)?,
        ipv6: address(&asked.ipv6_address)?,
        mac: (!wishes.mac_address.is_empty()).then(|| wishes.mac_address.clone()),
        gw_priority: wishes.gw_priority,
        options: wishes.driver_opts.clone().unwrap_or_default(),
    })
}

fn resolvers(view: &View) -> Result<Vec<IpAddr>> {
    let invalid = |text: &str| sheave_types::Error::invalid(format!("invalid DNS server: {text}"));
    let servers = view.record.host_config.dns.iter().flatten();
    servers.map(|text| text.parse().map_err(|_| invalid(text))).collect()
}

/// The ports to publish: those asked for, and with `--publish-all` every exposed one.
fn ports(view: &View) -> Result<Vec<PortRequest>> {
    let host_config = &view.record.host_config;
    let mut requests = Vec::new();
    for (port, bindings) in &host_config.port_bindings {
        let bindings = bindings.clone().unwrap_or_default();
        // A null list is one binding without wishes.
        let bindings = if bindings.is_empty() { vec![PortBinding::default()] } else { bindings };
        for binding in &bindings {
            requests.push(PortRequest::parse(port, binding)?);
        }
    }
    if host_config.publish_all_ports {
        let exposed = view.record.config.exposed_ports.keys();
        for port in exposed.filter(|port| !host_config.port_bindings.contains_key(*port)) {
            requests.push(PortRequest::parse(port, &PortBinding::default())?);
        }
    }
    Ok(requests)
}

/// The exposed ports, without bindings.
fn exposed(view: &View) -> PortMap {
    let ports = view.record.config.exposed_ports.keys().chain(view.record.host_config.port_bindings.keys());
    ports.map(|port| (if port.contains('/') { port.clone() } else { format!("{port}/tcp") }, None)).collect()
}
