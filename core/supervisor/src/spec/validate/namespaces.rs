//! Modes of namespaces, and what does not go with them.

use sheave_api::containers::{ContainerConfig, HostConfig};

use crate::spec::error::{Result, SpecError};
use crate::spec::modes::{CgroupnsMode, IpcMode, NetworkMode, PidMode};

pub(super) fn validate(host_config: &HostConfig) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    IpcMode::read(&host_config.ipc_mode)?;
    PidMode::read(&host_config.pid_mode)?;
    CgroupnsMode::read(&host_config.cgroupns_mode)?;
    if !matches!(host_config.uts_mode.as_str(), "" | "host") {
        let text = format!("invalid UTS mode: {}", host_config.uts_mode);
        return Err(SpecError::refused("HostConfig.UTSMode", text));
    }
    if !matches!(host_config.userns_mode.as_str(), "" | "host") {
        let text = format!("invalid user namespace mode: {}", host_config.userns_mode);
        return Err(SpecError::refused("HostConfig.UsernsMode", text));
    }
    let network = NetworkMode::read(&host_config.network_mode)?;
    if network == NetworkMode::Host && !host_config.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    if host_config.cgroup_parent_escapes() {
        let text = format!("invalid cgroup parent: {}", host_config.resources.cgroup_parent);
        return Err(SpecError::refused("HostConfig.CgroupParent", text));
    }
    Ok(warnings)
}

/// Checks what a client asked for together and does not go together. What comes from the image or by default is not its
/// wish, so this is told from the request alone.
///
/// # Errors
/// `conflicting options: …`, as Docker: a container that shares another's network has its names, files and ports too.
pub(in crate::spec) fn conflicts(config: &ContainerConfig, host_config: &HostConfig) -> Result<()> {
    let refuse = |field, what: &str| Err(SpecError::refused(field, format!("conflicting options: {what}")));
    if host_config.uts_mode == "host" && !config.hostname.is_empty() {
        return refuse("Hostname", "hostname and the UTS mode");
    }
    if !matches!(NetworkMode::read(&host_config.network_mode)?, NetworkMode::Container(_)) {
        return Ok(());
    }
    let has = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let conflicts = [
        (!config.hostname.is_empty(), "Hostname", "hostname and the network mode"),
        (has(&host_config.dns), "HostConfig.Dns", "dns and the network mode"),
        (has(&host_config.extra_hosts), "HostConfig.ExtraHosts", "custom host-to-IP mapping and the network mode"),
        (!config.mac_address.is_empty(), "MacAddress", "mac-address and the network mode"),
        (
            !host_config.port_bindings.is_empty() || host_config.publish_all_ports,
            "HostConfig.PortBindings",
            "port publishing and the container type network mode",
        ),
        (!config.exposed_ports.is_empty(), "ExposedPorts", "port exposing and the container type network mode"),
    ];
    for (conflict, field, what) in conflicts {
        if conflict {
            return refuse(field, what);
        }
    }
    Ok(())
}

trait CgroupParent {
    fn cgroup_parent_escapes(&self) -> bool;
}

impl CgroupParent for HostConfig {
    fn cgroup_parent_escapes(&self) -> bool {
        let parent = &self.resources.cgroup_parent;
        parent.contains('\0') || parent.split('/').any(|part| part == "..")
    }
}
