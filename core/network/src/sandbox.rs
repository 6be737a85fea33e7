//! A container's network: opened and closed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;

use sheave_metadata::Endpoint as Row;
use sheave_plugin::network::{Endpoint, Plan};
use sheave_types::{Error, Id, Result};

use crate::allocate::{take_address, take_ports};
use crate::dns;
use crate::error::NetworkError;
use crate::kernel::executor::{Interface, Sandbox as KernelSandbox, port_rules};
use crate::kernel::namespace;
use crate::model::{
    EndpointDoc, EndpointRequest, EndpointState, Mode, Network, PortRequest, PublishedPort, Sandbox, SandboxRequest,
};
use crate::shared::{Shared, labels, spec};

/// An endpoint on its way from the request to the kernel.
pub(crate) struct Joining {
    pub(crate) network: Arc<Network>,
    pub(crate) row: Row<EndpointDoc>,
    options: BTreeMap<String, String>,
    priority: i64,
}

/// Sets up a container's network. After an error nothing of it is left.
pub(crate) async fn open(shared: &Arc<Shared>, request: &SandboxRequest) -> Result<Sandbox> {
    let result = match &request.mode {
        Mode::Container(other) => return share(shared, other),
        Mode::Host => simple(shared, request, "host").await,
        Mode::None => simple(shared, request, "none").await,
        Mode::Networks => open_networks(shared, request).await,
    };
    if result.is_err()
        && let Err(error) = close(shared, &request.container).await
    {
        tracing::error!(%error, container = %request.container, "the network of a failed start is not undone");
    }
    result
}

fn share(shared: &Shared, other: &Id) -> Result<Sandbox> {
    let key = netns_path(shared, other);
    let netns = namespace::open(&key)?;
    let host = shared.database.endpoints().of_container::<EndpointDoc>(&other.to_string())?;
    if netns.is_none() && !host.iter().any(|e| e.doc.state.network == "host") {
        return Err(NetworkError::forbidden(format!("container {} has no network to share", other.short())).into());
    }
    let own_dns = host.iter().any(|e| e.doc.state.dns);
    Ok(Sandbox {
        key: netns.is_some().then_some(key),
        netns,
        endpoints: Vec::new(),
        ports: Vec::new(),
        dns_sockets: Vec::new(),
        own_dns,
        warnings: Vec::new(),
    })
}

/// Where a container's namespace is bound.
pub(crate) fn netns_path(shared: &Shared, container: &Id) -> std::path::PathBuf {
    shared.config.exec_root.join("netns").join(container.short())
}

/// The modes whose network makes nothing.
async fn simple(shared: &Arc<Shared>, request: &SandboxRequest, name: &str) -> Result<Sandbox> {
    let network = shared.held().find(name)?;
    let settings = EndpointRequest { network: name.to_owned(), ..EndpointRequest::default() };
    let mut joining = reserve(shared, request, &settings, "")?;
    let plan = plan(shared, &joining, &[]).await?;
    let mut sandbox = Sandbox {
        netns: None,
        key: None,
        endpoints: Vec::new(),
        ports: Vec::new(),
        dns_sockets: Vec::new(),
        own_dns: false,
        warnings: Vec::new(),
    };
    if !plan.host_namespace {
        let path = netns_path(shared, &request.container);
        let made = blocking(move || Ok(KernelSandbox::create(&path, false, || Ok(()))?)).await?;
        sandbox.netns = Some(made.0.namespace);
        sandbox.key = Some(netns_path(shared, &request.container));
    } else if !request.ports.is_empty() {
        sandbox.warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    joining.row.doc.plan = Some(plan);
    shared.database.endpoints().put(&joining.row)?;
    shared.event("connect", &network, Some(&request.container.to_string()));
    sandbox.endpoints.push(joining.row.doc.state);
    Ok(sandbox)
}

async fn open_networks(shared: &Arc<Shared>, request: &SandboxRequest) -> Result<Sandbox> {
    let mut joining = Vec::new();
    for settings in in_order(&request.endpoints) {
        let prefix = interface_prefix(shared, settings);
        let name = interface_name(settings, &prefix, &joining_names(&joining));
        joining.push(reserve(shared, request, settings, &name)?);
    }
    choose_default_route(&mut joining);
    let ports = publish_from(shared, request, &joining).await?;
    let mut plans = Vec::new();
    for (n, one) in joining.iter().enumerate() {
        plans.push(plan(shared, one, if Some(n) == ports.0 { &ports.1 } else { &[] }).await?);
    }
    let own_dns = plans.iter().any(|p| p.dns);
    let path = netns_path(shared, &request.container);
    let key = path.clone();
    let no_ipv6 = plans.iter().all(without_ipv6);
    let (made, sockets) = blocking(move || {
        Ok(KernelSandbox::create(&path, no_ipv6, || if own_dns { dns::open_sockets() } else { Ok(Vec::new()) })?)
    })
    .await?;
    let mut sandbox = Sandbox {
        netns: None,
        key: Some(key),
        endpoints: Vec::new(),
        ports: ports.1.clone(),
        dns_sockets: sockets,
        own_dns,
        warnings: Vec::new(),
    };
    let mut made = made;
    for (n, (mut one, plan)) in joining.into_iter().zip(plans).enumerate() {
        let ports = if Some(n) == ports.0 { ports.1.as_slice() } else { &[] };
        made = attach(shared, made, &mut one, plan, ports).await?;
        shared.event("connect", &one.network, Some(&request.container.to_string()));
        sandbox.endpoints.push(one.row.doc.state);
    }
    if own_dns {
        dns::serve(shared, &request.container, &sandbox.dns_sockets, &request.dns, made.namespace.as_fd())?;
    }
    sandbox.netns = Some(made.namespace);
    shared.look_at_foreign_chains();
    Ok(sandbox)
}

/// The endpoints in the order of their interfaces: the highest priority first, then by name.
fn in_order(endpoints: &[EndpointRequest]) -> Vec<&EndpointRequest> {
    let mut list: Vec<_> = endpoints.iter().collect();
    list.sort_by(|a, b| b.gw_priority.cmp(&a.gw_priority).then_with(|| a.network.cmp(&b.network)));
    list
}

fn joining_names(joining: &[Joining]) -> Vec<String> {
    joining.iter().map(|j| j.row.doc.state.interface.clone()).collect()
}

/// What the names of a network's interfaces begin with.
pub(crate) fn interface_prefix(shared: &Shared, settings: &EndpointRequest) -> String {
    const PREFIX: &str = "com.docker.network.container_iface_prefix";
    let network = shared.held().find(&settings.network);
    network.ok().and_then(|n| n.doc.options.get(PREFIX).cloned()).unwrap_or_else(|| "eth".to_owned())
}

/// The name of a new interface beside those in use.
pub(crate) fn interface_name(settings: &EndpointRequest, prefix: &str, used: &[String]) -> String {
    if let Some(name) = settings.options.get("com.docker.network.endpoint.ifname") {
        return name.clone();
    }
    let mut names = (0u32..).map(|n| format!("{prefix}{n}"));
    names.find(|name| !used.contains(name)).unwrap_or_default()
}

/// Writes the endpoint's row and takes its addresses, so that its network cannot vanish from now on.
pub(crate) fn reserve(
    shared: &Shared,
    request: &SandboxRequest,
    settings: &EndpointRequest,
    interface: &str,
) -> Result<Joining> {
    let mut held = shared.held();
    let network = held.find(&settings.network)?;
    if network.doc.config_only {
        return Err(NetworkError::forbidden("configuration only networks cannot be connected to").into());
    }
    let id = Id::random().to_string();
    let default_bridge = network.name == "bridge" && network.doc.predefined;
    if default_bridge && !settings.aliases.is_empty() {
        return Err(NetworkError::invalid("network-scoped aliases are only supported for user-defined networks").into());
    }
    let mut names = vec![request.name.clone()];
    let more = settings.aliases.iter().cloned().chain([request.container.short(), request.hostname.clone()]);
    for name in more {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    let mut state = EndpointState {
        id: id.clone(),
        network_id: network.id.clone(),
        network: network.name.clone(),
        interface: interface.to_owned(),
        mac: settings.mac.clone().unwrap_or_default(),
        ipv4: None,
        ipv6: None,
        gateway: None,
        gateway6: None,
        names: if default_bridge { Vec::new() } else { names },
        dns: false,
    };
    let mut row = Row {
        id: id.clone(),
        network: network.id.clone(),
        container: request.container.to_string(),
        doc: EndpointDoc {
            state: state.clone(),
            container_name: request.name.clone(),
            default_route: false,
            plan: None,
            ports: Vec::new(),
        },
    };
    shared.database.endpoints().put(&row)?;
    let taken = (|| {
        state.ipv4 = take_address(shared, &mut held, &network, &id, true, settings.ipv4)?;
        state.ipv6 = take_address(shared, &mut held, &network, &id, false, settings.ipv6)?;
        Ok::<_, NetworkError>(())
    })();
    if let Err(error) = taken {
        shared.database.endpoints().remove(&id)?;
        return Err(error.into());
    }
    for pool in network.doc.ipam.config.iter().flatten() {
        match pool.gateway.parse::<IpAddr>() {
            Ok(v4 @ IpAddr::V4(_)) if state.ipv4.is_some() => state.gateway = state.gateway.or(Some(v4)),
            Ok(v6 @ IpAddr::V6(_)) if state.ipv6.is_some() => state.gateway6 = state.gateway6.or(Some(v6)),
            _ => {}
        }
    }
    row.doc.state = state;
    drop(held);
    Ok(Joining { network, row, options: settings.options.clone(), priority: settings.gw_priority })
}

/// The first endpoint whose network leads out has the default route.
pub(crate) fn choose_default_route(joining: &mut [Joining]) {
    let leads_out =
        |j: &Joining| !j.network.doc.internal && j.row.doc.state.gateway.or(j.row.doc.state.gateway6).is_some();
    if let Some(first) = joining.iter_mut().find(|j| leads_out(j)) {
        first.row.doc.default_route = true;
    }
}

/// Takes the host ports for the endpoint through which they are published: its index, and the ports.
async fn publish_from(
    shared: &Arc<Shared>,
    request: &SandboxRequest,
    joining: &[Joining],
) -> Result<(Option<usize>, Vec<PublishedPort>)> {
    if request.ports.is_empty() {
        return Ok((None, Vec::new()));
    }
    let usable = |j: &Joining| !j.network.doc.internal && j.row.doc.state.ipv4.is_some();
    let by_route = joining.iter().position(|j| usable(j) && j.row.doc.default_route);
    let Some(index) = by_route.or_else(|| joining.iter().position(usable)) else {
        // As in Docker, ports of a container that has no way in are not published.
        return Ok((None, Vec::new()));
    };
    let endpoint = joining[index].row.id.clone();
    let mut requests = request.ports.clone();
    if let Some(binding) = joining[index].network.doc.options.get("com.docker.network.bridge.host_binding_ipv4")
        && let Ok(address) = binding.parse::<Ipv4Addr>()
    {
        for port in requests.iter_mut().filter(|p| p.host_address.is_unspecified() && p.host_address.is_ipv4()) {
            port.host_address = address.into();
        }
    }
    let ports = hold_ports(shared, &request.name, &endpoint, requests).await?;
    Ok((Some(index), ports))
}

async fn hold_ports(
    shared: &Arc<Shared>,
    container: &str,
    endpoint: &str,
    requests: Vec<PortRequest>,
) -> Result<Vec<PublishedPort>> {
    let (database, name, id) = (shared.database.clone(), container.to_owned(), endpoint.to_owned());
    let taken = shared.thread.run(move |_| take_ports(&database, &name, &id, &requests)).await?;
    shared.held().sockets.insert(endpoint.to_owned(), taken.sockets);
    Ok(taken.ports)
}

/// Asks the driver. What it remembers of the call is committed at once: an endpoint that fails later is detached again.
pub(crate) async fn plan(shared: &Shared, joining: &Joining, ports: &[PublishedPort]) -> Result<Plan> {
    let Joining { network, row, options, priority } = joining;
    let state = &row.doc.state;
    let gateways = if row.doc.default_route { [state.gateway, state.gateway6] } else { [None, None] };
    let endpoint = Endpoint {
        id: row.id.clone(),
        network: network.id.clone(),
        container: row.container.clone(),
        interface_name: state.interface.clone(),
        mac: (!state.mac.is_empty()).then(|| state.mac.clone()),
        addresses: [state.ipv4, state.ipv6].into_iter().flatten().map(|a| a.to_string()).collect(),
        gateways: gateways.into_iter().flatten().map(|g| g.to_string()).collect(),
        gateway_priority: i32::try_from(*priority).unwrap_or(i32::MAX),
        ports: ports.iter().map(PublishedPort::planned).collect(),
        names: state.names.clone(),
        options: labels(options),
    };
    let driver = shared.driver(&network.doc.driver)?;
    let planned = driver.attach(spec(&network.id, &network.name, &network.doc), endpoint).await?;
    let plan = planned.commit()?;
    if plan.host_namespace && !plan.links.is_empty() {
        return Err(Error::invalid(format!("the plan of network {} has links and the host's namespace", network.name)));
    }
    Ok(plan)
}

/// Executes a plan; gives the sandbox back.
pub(crate) async fn attach(
    shared: &Arc<Shared>,
    sandbox: KernelSandbox,
    joining: &mut Joining,
    plan: Plan,
    ports: &[PublishedPort],
) -> Result<KernelSandbox> {
    let doc = &mut joining.row.doc;
    doc.state.dns = plan.dns;
    doc.ports = ports.to_vec();
    doc.plan = Some(plan.clone());
    shared.database.endpoints().put(&joining.row)?;
    let endpoint = joining.row.id.clone();
    let target = joining.row.doc.state.ipv4.map(|p| p.address());
    let (sandbox, interfaces) = shared
        .thread
        .run(move |executor| {
            let mut sandbox = sandbox;
            let interfaces = executor.attach(&mut sandbox, &endpoint, &plan)?;
            if let (false, Some(IpAddr::V4(target))) = (plan.ports.is_empty(), target) {
                executor.publish(&endpoint, port_rules(&plan.ports, target)?)?;
            }
            Ok((sandbox, interfaces))
        })
        .await?;
    settle(&mut joining.row.doc.state, &interfaces);
    shared.database.endpoints().put(&joining.row)?;
    if joining.row.doc.state.dns {
        shared.directory.add(&joining.row.container, &joining.row.doc.state, !joining.network.doc.internal);
    }
    Ok(sandbox)
}

fn settle(state: &mut EndpointState, interfaces: &[Interface]) {
    if let Some(interface) = interfaces.iter().find(|i| i.name == state.interface) {
        let parts: Vec<String> = interface.mac.iter().map(|b| format!("{b:02x}")).collect();
        state.mac = parts.join(":");
    }
}

fn without_ipv6(plan: &Plan) -> bool {
    plan.sysctls
        .iter()
        .any(|s| s.key.starts_with("net.ipv6.conf.") && s.key.ends_with(".disable_ipv6") && s.value == "1")
}

/// Takes down a container's network, as much as there is of it.
pub(crate) async fn close(shared: &Arc<Shared>, container: &Id) -> Result<()> {
    shared.directory.stop(&container.to_string());
    for row in shared.database.endpoints().of_container::<EndpointDoc>(&container.to_string())? {
        release(shared, row, false).await?;
    }
    // The links go with the namespace, when its last process has ended; removing them one by one would take long.
    let path = netns_path(shared, container);
    blocking(move || Ok(namespace::remove(&path)?)).await
}

/// Takes an endpoint's ports, names, addresses and row; `links` too if the namespace lives on.
pub(crate) async fn release(shared: &Arc<Shared>, row: Row<EndpointDoc>, links: bool) -> Result<()> {
    shared.directory.remove(&row.doc.state);
    let network = shared.held().networks.get(&row.network).cloned();
    if let Some(network) = &network
        && row.doc.plan.is_some()
    {
        let driver = shared.driver(&network.doc.driver)?;
        if let Err(error) = driver.detach(spec(&network.id, &network.name, &network.doc), row.id.clone()).await {
            tracing::warn!(%error, endpoint = row.id, "the network driver did not detach");
        }
    }
    let (id, plan) = (row.id.clone(), row.doc.plan.filter(|_| links));
    shared
        .thread
        .run(move |executor| {
            executor.unpublish(&id)?;
            plan.map_or(Ok(()), |plan| executor.detach(&plan))
        })
        .await?;
    shared.held().sockets.remove(&row.id);
    shared.database.endpoints().remove(&row.id)?;
    if let Some(network) = network {
        shared.event("disconnect", &network, Some(&row.container));
    }
    Ok(())
}

/// Runs what blocks on a thread for that.
pub(crate) async fn blocking<R: Send + 'static>(f: impl FnOnce() -> Result<R> + Send + 'static) -> Result<R> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("a task of the network ended early: {error}"))),
    }
}
