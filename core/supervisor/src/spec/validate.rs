//! Whether a container can be what is asked for; each field works, is refused by its name, or is warned about.

mod limits;
mod namespaces;

use sheave_api::containers::{ContainerConfig, HealthConfig, HostConfig};

use super::capabilities::capabilities;
use super::error::{Result, SpecError};
use super::host::HostFacts;
use super::parse::{env_key, host_ports, log_driver, port, requested_mounts, restart_policy, volumes_from};
use super::security::security_options;
use super::ulimits;

pub use limits::validate_limits;
pub(super) use namespaces::conflicts;

/// The shortest interval of a health check in nanoseconds: below it a client has mistaken the unit.
const SHORTEST_INTERVAL: i64 = 1_000_000;

/// Checks a container's configuration before it is made, and takes out of it what this host cannot do but Docker lets
/// pass with a warning.
///
/// The configuration is the merged one, the host configuration has its defaults.
///
/// # Errors
/// What cannot be, with Docker's text; what this engine has not, by the field's name.
pub fn validate(config: &ContainerConfig, host_config: &mut HostConfig, host: &HostFacts) -> Result<Vec<String>> {
    container(config)?;
    let mut warnings = validate_limits(&mut host_config.resources, host, false)?;
    warnings.append(&mut namespaces::validate(host_config)?);
    refuse_unsupported(host_config, host)?;
    restart_policy(&host_config.restart_policy, host_config.auto_remove)?;
    log_driver(&host_config.log_config)?;
    capabilities(
        host_config.cap_add.as_deref().unwrap_or_default(),
        host_config.cap_drop.as_deref().unwrap_or_default(),
        host_config.privileged,
        host.bounding,
    )?;
    security_options(host_config.security_opt.as_deref().unwrap_or_default(), host, &mut warnings)?;
    ulimits::resolve(host_config.resources.ulimits.as_deref().unwrap_or_default(), host, &mut warnings)?;
    if !(-1000..=1000).contains(&host_config.oom_score_adj) {
        let text = format!("Invalid value {}, range for oom score adj is [-1000, 1000]", host_config.oom_score_adj);
        return Err(SpecError::refused("HostConfig.OomScoreAdj", text));
    }
    if host_config.oom_score_adj < host.oom_score_floor {
        warnings.push(oom_score_warning(host_config.oom_score_adj, host.oom_score_floor));
    }
    if host_config.shm_size < 0 {
        return Err(SpecError::refused("HostConfig.ShmSize", "SHM size can not be less than 0"));
    }
    storage(config, host_config)?;
    network(host_config)?;
    super::build::check_sysctls(config, host_config)?;
    super::build::check_device_rules(host_config)?;
    Ok(warnings)
}

pub(super) fn oom_score_warning(asked: i64, floor: i64) -> String {
    format!("This engine has no CAP_SYS_RESOURCE: OomScoreAdj {asked} was raised to {floor}.")
}

fn container(config: &ContainerConfig) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        let text =
            format!("the working directory '{}' is invalid, it needs to be an absolute path", config.working_dir);
        return Err(SpecError::refused("WorkingDir", text));
    }
    if !config.stop_signal.is_empty() {
        crate::signal::parse(&config.stop_signal)
            .map_err(|error| SpecError::refused("StopSignal", error.to_string()))?;
    }
    for line in config.env.iter().flatten() {
        env_key(line)?;
    }
    if config.hostname.len() > 64 || config.hostname.contains(['\0', '/', '\n', ' ']) {
        return Err(SpecError::refused("Hostname", format!("invalid hostname format: {}", config.hostname)));
    }
    if config.domainname.len() > 64 || config.domainname.contains(['\0', '/', '\n', ' ']) {
        return Err(SpecError::refused("Domainname", format!("invalid domainname format: {}", config.domainname)));
    }
    super::parse::exposed_ports(&config.exposed_ports)?;
    config.healthcheck.as_ref().map_or(Ok(()), health)
}

fn health(check: &HealthConfig) -> Result<()> {
    let refuse = |text: String| Err(SpecError::refused("Healthcheck", text));
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if value != 0 && value < SHORTEST_INTERVAL {
            return refuse(format!("{name} in Healthcheck cannot be less than 1ms"));
        }
    }
    if check.retries < 0 {
        return refuse("Retries in Healthcheck cannot be negative".to_owned());
    }
    match check.test.first().map(String::as_str) {
        None | Some("NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(other) => refuse(format!("Unknown healthcheck type '{other}' (expected 'CMD')")),
    }
}

fn storage(config: &ContainerConfig, host_config: &HostConfig) -> Result<()> {
    requested_mounts(config, host_config)?;
    for other in host_config.volumes_from.iter().flatten() {
        volumes_from(other)?;
    }
    for (path, options) in &host_config.tmpfs {
        if !path.starts_with('/') {
            let text = format!("invalid mount path: '{path}' mount path must be absolute");
            return Err(SpecError::refused("HostConfig.Tmpfs", text));
        }
        if super::parse_clean(path) == "/" {
            let text = "invalid specification: destination can't be '/'";
            return Err(SpecError::refused("HostConfig.Tmpfs", text));
        }
        super::build::tmpfs_mount_options(options)?;
    }
    Ok(())
}

fn network(host_config: &HostConfig) -> Result<()> {
    for (container_port, bindings) in &host_config.port_bindings {
        port(container_port)?;
        for binding in bindings.iter().flatten() {
            host_ports(&binding.host_port)?;
            if !binding.host_ip.is_empty() && binding.host_ip.parse::<std::net::IpAddr>().is_err() {
                let text = format!("invalid IP address in port binding: {}", binding.host_ip);
                return Err(SpecError::refused("HostConfig.PortBindings", text));
            }
        }
    }
    for line in host_config.extra_hosts.iter().flatten() {
        super::etc::extra_host(line)?;
    }
    for server in host_config.dns.iter().flatten() {
        if server.parse::<std::net::IpAddr>().is_err() {
            return Err(SpecError::refused("HostConfig.Dns", format!("bad nameserver address: {server}")));
        }
    }
    Ok(())
}

/// What this engine knows of and does not do.
fn refuse_unsupported(host_config: &HostConfig, host: &HostFacts) -> Result<()> {
    let unsupported = |field: &'static str, value: String| Err(SpecError::Unsupported { field, value });
    if host_config.init == Some(true) && host.programs.init.is_none() {
        return unsupported("HostConfig.Init", "true".to_owned());
    }
    if let Some(links) = host_config.links.as_ref().filter(|links| !links.is_empty()) {
        return unsupported("HostConfig.Links", links.join(", "));
    }
    if !host_config.cgroup.is_empty() {
        return unsupported("HostConfig.Cgroup", host_config.cgroup.clone());
    }
    if host_config.resources.cpu_realtime_period != 0 || host_config.resources.cpu_realtime_runtime != 0 {
        return unsupported("HostConfig.CpuRealtimePeriod", host_config.resources.cpu_realtime_period.to_string());
    }
    if let Some(request) = host_config.resources.device_requests.iter().flatten().next() {
        let capabilities: Vec<_> =
            request.capabilities.iter().flatten().map(|all| format!("[{}]", all.join(" "))).collect();
        let text = format!(
            "could not select device driver {:?} with capabilities: [{}]",
            request.driver,
            capabilities.join(" ")
        );
        return Err(SpecError::refused("HostConfig.DeviceRequests", text));
    }
    if !matches!(host_config.isolation.to_ascii_lowercase().as_str(), "" | "default") {
        let text = format!("invalid isolation: {:?} - linux only supports 'default'", host_config.isolation);
        return Err(SpecError::refused("HostConfig.Isolation", text));
    }
    if !host_config.runtime.is_empty() && !host.programs.runtimes.contains(&host_config.runtime) {
        let text = format!("unknown or invalid runtime name: {}", host_config.runtime);
        return Err(SpecError::refused("HostConfig.Runtime", text));
    }
    if let Some(key) = host_config.storage_opt.keys().next() {
        // A quota needs a storage driver that has one; none of this engine's has.
        let text = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";
        return Err(SpecError::refused("HostConfig.StorageOpt", format!("{text} (asked for: {key})")));
    }
    if host_config.annotations.contains_key("") {
        let text = "invalid Annotations: the empty string is not permitted as an annotation key";
        return Err(SpecError::refused("HostConfig.Annotations", text));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
