//! The files that a container has from the engine: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::error::Error;
use crate::neighbours::Sandbox;
use crate::record::View;
use crate::settings::Paths;
use crate::spec::etc::{self, Dns, ExtraHostAddress, Hosts};
use crate::spec::modes::NetworkMode;

/// What the host's own `resolv.conf` says, or that behind `systemd-resolved`.
fn host_resolv() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let own = read("/etc/resolv.conf");
    if etc::is_systemd_stub(&own) { read("/run/systemd/resolve/resolv.conf") } else { own }
}

fn dns(view: &View) -> Dns {
    let host_config = &view.record.host_config;
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    Dns {
        servers: list(&host_config.dns),
        search: list(&host_config.dns_search),
        options: list(&host_config.dns_options),
    }
}

/// The name servers behind the engine's own.
pub fn upstream(view: &View) -> Vec<IpAddr> {
    etc::resolv_conf(&host_resolv(), &dns(view), true, true).upstream
}

/// Makes the files so that they can be mounted; what depends on the network comes with [`fill`].
pub fn make(view: &View, paths: &Paths) -> Result<(), Error> {
    fs::create_dir_all(&paths.bundle).map_err(Error::file(format!("make {}", paths.bundle.display())))?;
    let config = &view.record.config;
    write(&paths.hostname(), &etc::hostname(&config.hostname, &config.domainname))?;
    for path in [paths.hosts(), paths.resolv()] {
        write(&path, "")?;
    }
    Ok(())
}

/// Writes what depends on the network.
pub fn fill(view: &View, paths: &Paths, sandbox: &Sandbox) -> Result<(), Error> {
    let (config, host_config) = (&view.record.config, &view.record.host_config);
    let gateway = sandbox.host_gateway.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut extra = Vec::new();
    for line in host_config.extra_hosts.iter().flatten() {
        let (name, address) = etc::extra_host(line)?;
        let address = match address {
            ExtraHostAddress::Address(address) => address,
            ExtraHostAddress::HostGateway => gateway,
        };
        extra.push((address, name.to_owned()));
    }
    let host_network = matches!(NetworkMode::read(&host_config.network_mode)?, NetworkMode::Host);
    let hosts = if host_network {
        etc::host_network_hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default(), &extra)
    } else {
        let names = etc::own_names(&config.hostname, &config.domainname);
        let own = sandbox.addresses.iter().map(|address| (*address, names.clone())).collect();
        etc::hosts(&Hosts { own, extra, ipv6: sandbox.addresses.iter().any(IpAddr::is_ipv6) })
    };
    write(&paths.hosts(), &hosts)?;
    let ipv6 = host_network || sandbox.addresses.iter().any(IpAddr::is_ipv6);
    let resolv = if host_network && dns(view) == Dns::default() {
        fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
    } else {
        etc::resolv_conf(&host_resolv(), &dns(view), sandbox.embedded_dns, ipv6).file
    };
    write(&paths.resolv(), &resolv)
}

/// In place: the file may be mounted already.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file(format!("write {}", path.display())))
}
