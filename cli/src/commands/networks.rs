//! `sheave network …`

use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ps::{lines, text};
use super::{each, filters, inspect, pairs, short};
use crate::connection::{Connection, segment};
use crate::error::CliError;
use crate::table;

#[derive(Subcommand)]
pub(crate) enum Network {
    /// List networks
    Ls(Ls),
    /// Create a network
    Create(Create),
    /// Show everything known of networks
    Inspect(Inspect),
    /// Connect a container to a network
    Connect(Connect),
    /// Disconnect a container from a network
    Disconnect(Disconnect),
    /// Remove networks
    Rm(Rm),
    /// Remove all networks that are not used
    Prune(Prune),
}

#[derive(Args)]
pub(crate) struct Ls {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Only those that match
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Template for each line, or json
    #[arg(long)]
    format: Option<String>,
}

#[derive(Args)]
pub(crate) struct Create {
    /// Driver
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Subnet
    #[arg(long, value_name = "PREFIX")]
    subnet: Vec<String>,
    /// Gateway of the subnet at the same place
    #[arg(long)]
    gateway: Vec<String>,
    /// Range of the subnet that addresses are taken from
    #[arg(long, value_name = "PREFIX")]
    ip_range: Vec<String>,
    /// No way out and no way in
    #[arg(long)]
    internal: bool,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Set metadata
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Name
    name: String,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// Template, or json
    #[arg(short, long)]
    format: Option<String>,
    /// Networks
    #[arg(required = true)]
    networks: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Connect {
    /// Further name in the network
    #[arg(long)]
    alias: Vec<String>,
    /// Fixed IPv4 address
    #[arg(long)]
    ip: Option<String>,
    /// Network
    network: String,
    /// Container
    container: String,
}

#[derive(Args)]
pub(crate) struct Disconnect {
    /// Also where the container is broken
    #[arg(short, long)]
    force: bool,
    /// Network
    network: String,
    /// Container
    container: String,
}

#[derive(Args)]
pub(crate) struct Rm {
    /// Networks
    #[arg(required = true)]
    networks: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Prune {
    /// Only those that match
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Asks for consent unless `force`; nothing but y or yes gives it.
pub(crate) fn confirmed(force: bool, warning: &str) -> Result<bool, CliError> {
    if force {
        return Ok(true);
    }
    eprint!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

impl Network {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        match self {
            Self::Ls(c) => c.run(engine).await,
            Self::Create(c) => c.run(engine).await,
            Self::Inspect(c) => {
                let (mut found, mut errors) = (Vec::new(), Vec::new());
                for name in &c.networks {
                    match inspect::find(engine, name, Some("network"), false).await {
                        Ok(value) => found.push(value),
                        Err(e) => errors.push(e.to_string()),
                    }
                }
                inspect::show(found, errors, c.format.as_deref())
            }
            Self::Connect(c) => c.run(engine).await,
            Self::Disconnect(c) => {
                let request = NetworkDisconnectRequest { container: c.container, force: Some(c.force) };
                Ok(engine.docker().await?.disconnect_network(&c.network, request).await?)
            }
            Self::Rm(c) => {
                each(&c.networks, async |name| {
                    engine
                        .request("DELETE", &format!("/networks/{}", segment(name)), &[])
                        .await
                        .map(|_| name.to_owned())
                })
                .await
            }
            Self::Prune(c) => {
                if !confirmed(c.force, "This will remove all custom networks not used by at least one container.")? {
                    return Ok(());
                }
                let filters = filters(&c.filter)?;
                let answer = engine.request("POST", "/networks/prune", &[("filters", &filters)]).await?;
                answer["NetworksDeleted"].as_array().into_iter().flatten().for_each(|n| println!("{}", text(n)));
                Ok(())
            }
        }
    }
}

impl Ls {
    async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let filters = filters(&self.filter)?;
        let answer = engine.get("/networks", &[("filters", &filters)]).await?;
        let row = |n: &Value| {
            let id = text(&n["Id"]);
            json!({
                "ID": if self.no_trunc { id } else { short(&id) },
                "Name": n["Name"], "Driver": n["Driver"], "Scope": n["Scope"], "Internal": n["Internal"], "CreatedAt": n["Created"],
            })
        };
        let mut rows: Vec<Value> = answer.as_array().into_iter().flatten().map(row).collect();
        rows.sort_by_key(|r| text(&r["Name"]));
        if self.quiet {
            rows.iter().for_each(|r| println!("{}", text(&r["ID"])));
            return Ok(());
        }
        if let Some(format) = &self.format {
            return lines(format, &rows);
        }
        let keys = ["ID", "Name", "Driver", "Scope"];
        let cells: Vec<Vec<String>> = rows.iter().map(|r| keys.iter().map(|k| text(&r[*k])).collect()).collect();
        print!("{}", table::render(&["NETWORK ID", "NAME", "DRIVER", "SCOPE"], &cells));
        Ok(())
    }
}

impl Create {
    async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let pool = |(n, subnet): (usize, &String)| IpamConfig {
            subnet: Some(subnet.clone()),
            gateway: self.gateway.get(n).cloned(),
            ip_range: self.ip_range.get(n).cloned(),
            auxiliary_addresses: None,
        };
        let pools: Vec<IpamConfig> = self.subnet.iter().enumerate().map(pool).collect();
        let request = NetworkCreateRequest {
            name: self.name.clone(),
            driver: Some(self.driver.clone()),
            internal: Some(self.internal),
            ipam: Some(Ipam { config: (!pools.is_empty()).then_some(pools), ..Ipam::default() }),
            options: Some(pairs(&self.opt)),
            labels: Some(pairs(&self.label)),
            ..NetworkCreateRequest::default()
        };
        let created = engine.docker().await?.create_network(request).await?;
        println!("{}", created.id);
        Ok(())
    }
}

impl Connect {
    async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let ipam = self.ip.map(|ip| EndpointIpamConfig { ipv4_address: Some(ip), ..EndpointIpamConfig::default() });
        let aliases = (!self.alias.is_empty()).then_some(self.alias);
        let endpoint = EndpointSettings { aliases, ipam_config: ipam, ..EndpointSettings::default() };
        let request = NetworkConnectRequest { container: self.container, endpoint_config: Some(endpoint) };
        Ok(engine.docker().await?.connect_network(&self.network, request).await?)
    }
}
