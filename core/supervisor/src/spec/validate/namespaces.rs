//! Modes of namespaces, and what does not go with them.

use sheave_api::containers::{ContainerConfig, HostConfig};

use crate::spec::error::{Result, SpecError};
use crate::spec::host::HostFacts;
use crate::spec::modes::{CgroupnsMode, IpcMode, NetworkMode, PidMode};

pub(super) fn validate(config: &ContainerConfig, host_config: &HostConfig, host: &HostFacts) -> Result<Vec<String>> {
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
    match NetworkMode::read(&host_config.network_mode)? {
        NetworkMode::Host if !host_config.port_bindings.is_empty() => {
            warnings.push("Published ports are discarded when using host network mode".to_owned());
        }
        NetworkMode::Container(_) => with_container_network(config, host_config)?,
        _ => {}
    }
    if host_config.privileged && host_config.cgroupns_mode == "private" && !host.limits.unified {
        let text = "privileged mode is incompatible with private cgroup namespaces on cgroup v1 hosts.  You must run \
                    the container in the host cgroup namespace when running privileged mode";
        return Err(SpecError::refused("HostConfig.CgroupnsMode", text));
    }
    if host_config.cgroup_parent_escapes() {
        let text = format!("invalid cgroup parent: {}", host_config.resources.cgroup_parent);
        return Err(SpecError::refused("HostConfig.CgroupParent", text));
    }
    Ok(warnings)
}

/// A container that shares another's network has its names, files and ports too.
fn with_container_network(config: &ContainerConfig, host_config: &HostConfig) -> Result<()> {
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
    ];
    for (conflict, field, what) in conflicts {
        if conflict {
            return Err(SpecError::refused(field, format!("conflicting options: {what}")));
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
