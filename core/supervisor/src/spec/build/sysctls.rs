//! Kernel parameters of a container's own namespaces.

use std::collections::HashMap;

use sheave_api::containers::{ContainerConfig, HostConfig};

use super::SpecInput;
use crate::spec::error::{Result, SpecError};
use crate::spec::modes::{IpcMode, NetworkMode};

/// Parameters of the IPC namespace, beside `fs.mqueue.*`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks that each parameter asked for belongs to a namespace that is the container's own.
///
/// # Errors
/// The runtime's texts: others would change the host.
pub(in crate::spec) fn check(config: &ContainerConfig, host_config: &HostConfig) -> Result<()> {
    let refuse = |text: String| Err(SpecError::refused("HostConfig.Sysctls", text));
    let ipc = IpcMode::read(&host_config.ipc_mode)?;
    let network = NetworkMode::read(&host_config.network_mode)?;
    for (key, value) in &host_config.sysctls {
        if value.contains('\0') || key.contains('\0') {
            return refuse(format!("sysctl {key:?} has a NUL"));
        }
        if IPC.contains(&key.as_str()) || key.starts_with("fs.mqueue.") {
            if matches!(ipc, IpcMode::Host | IpcMode::Container(_)) {
                return refuse(format!("sysctl {key:?} is not allowed in the hosts ipc namespace"));
            }
        } else if key.starts_with("net.") {
            if !network.is_private() && !config.network_disabled {
                return refuse(format!("sysctl {key:?} not allowed in host network namespace"));
            }
        } else {
            return refuse(format!("sysctl {key:?} is not in a separate kernel namespace"));
        }
    }
    Ok(())
}

/// The parameters that are set. In a network namespace of its own a container may open any port and send pings without
/// a capability, as Docker's may.
pub(super) fn build(input: &SpecInput<'_>) -> Result<HashMap<String, String>> {
    let host_config = input.host_config;
    check(&input.config.config, host_config)?;
    let mut sysctls = HashMap::new();
    if NetworkMode::read(&host_config.network_mode)?.is_private() {
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    }
    sysctls.extend(host_config.sysctls.clone());
    Ok(sysctls)
}
