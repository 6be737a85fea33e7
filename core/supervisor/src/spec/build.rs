//! From a container's configuration to the [OCI runtime specification](https://github.com/opencontainers/runtime-spec).

mod devices;
mod mounts;
mod process;
mod resources;
mod sysctls;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, RootBuilder, Spec, SpecBuilder,
};
use sheave_api::containers::HostConfig;
use sheave_types::Id;

use super::error::Result;
use super::host::HostFacts;
use super::merge::MergedConfig;
use super::modes::{CgroupnsMode, IpcMode, NetworkMode, PidMode};
use super::security::security_options;
use super::user::ResolvedUser;

pub use devices::{Device, DeviceInput, resolve_devices};
pub use mounts::{ContainerMount, MountSource};
pub use process::exec_process;
pub use resources::linux_resources;

pub(super) use devices::check_rules as check_device_rules;
pub(super) use mounts::tmpfs_mount_options;
pub(super) use sysctls::check as check_sysctls;

/// The cgroup that those of all containers are in.
const CGROUP_PARENT: &str = "/sheave";

/// The version of the runtime specification that is followed.
const VERSION: &str = "1.2.0";

/// Everything a runtime specification is made of; what has to be looked up was looked up.
#[derive(Debug, Clone, Copy)]
pub struct SpecInput<'a> {
    /// The container's id.
    pub id: &'a Id,
    /// Host path of the root file system.
    pub rootfs: &'a Path,
    /// Its configuration.
    pub config: &'a MergedConfig,
    /// Its host configuration, validated, with its defaults.
    pub host_config: &'a HostConfig,
    /// Its user.
    pub user: &'a ResolvedUser,
    /// What is mounted beside the default file systems and `Tmpfs`: binds, volumes, the files in `/etc`.
    pub mounts: &'a [ContainerMount],
    /// Devices and their numbers.
    pub devices: &'a DeviceInput,
    /// Namespaces it shares with another container.
    pub shared: &'a SharedNamespaces,
    /// What the host offers.
    pub host: &'a HostFacts,
    /// The host's `/proc/self/mountinfo`; read only when a bind is `shared` or `slave`.
    pub mount_table: &'a str,
}

/// Paths of the namespaces of other containers, for the modes `container:<id>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedNamespaces {
    /// Its network.
    pub network: Option<PathBuf>,
    /// Its processes.
    pub pid: Option<PathBuf>,
    /// Its IPC objects.
    pub ipc: Option<PathBuf>,
    /// Host path of the directory that is `/dev/shm` here: that of another container, or this one's own that others may
    /// share.
    pub shm: Option<PathBuf>,
}

/// Makes the runtime specification of a container, and tells what of it was cut down to what the engine may do.
///
/// A seccomp filter is not in it: it is compiled by [`super::seccomp`] for the capabilities in it.
///
/// # Errors
/// What [`super::validate`] refuses, and modes without the input they need.
pub fn build(input: &SpecInput<'_>) -> Result<(Spec, Vec<String>)> {
    let mut warnings = Vec::new();
    let host_config = input.host_config;
    let options = host_config.security_opt.as_deref().unwrap_or_default();
    // What concerns security modules was told when the container was made.
    let security = security_options(options, input.host, &mut Vec::new())?;
    let (mounts, rootfs_propagation) = mounts::build(input, security.writable_cgroups)?;
    let mut limits = linux_resources(&host_config.resources, input.devices)?;
    let (devices, rules) = devices::build(input)?;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(input)?)
        .sysctl(sysctls::build(input)?)
        .cgroups_path(cgroup_path(input.id, host_config))
        .masked_paths(host_config.masked_paths.clone().unwrap_or_default())
        .readonly_paths(host_config.readonly_paths.clone().unwrap_or_default());
    if let Some(propagation) = rootfs_propagation {
        linux = linux.rootfs_propagation(propagation);
    }
    let mut linux = linux.build()?;
    limits.set_devices(Some(rules));
    linux.set_resources(Some(limits)).set_devices((!devices.is_empty()).then_some(devices));
    let root = RootBuilder::default().path(input.rootfs).readonly(host_config.readonly_rootfs).build()?;
    let mut spec = SpecBuilder::default()
        .version(VERSION)
        .root(root)
        .process(process::build(input, security.no_new_privileges, &mut warnings)?)
        .mounts(mounts)
        .linux(linux)
        .build()?;
    spec.set_uid_mappings(None).set_gid_mappings(None);
    let own_uts = host_config.uts_mode != "host";
    spec.set_hostname(own_uts.then(|| input.config.config.hostname.clone()).filter(|name| !name.is_empty()));
    let domain = Some(input.config.config.domainname.clone());
    spec.set_domainname(domain.filter(|name| own_uts && !name.is_empty()));
    let annotations = &host_config.annotations;
    spec.set_annotations((!annotations.is_empty()).then(|| annotations.clone().into_iter().collect()));
    Ok((spec, warnings))
}

/// Path of the container's cgroup below each hierarchy's root.
pub fn cgroup_path(id: &Id, host_config: &HostConfig) -> PathBuf {
    let parent = match host_config.resources.cgroup_parent.as_str() {
        "" => CGROUP_PARENT,
        given => given,
    };
    Path::new("/").join(parent.trim_start_matches('/')).join(id.to_string())
}

/// The namespaces that are made or joined; what is not listed is the host's.
fn namespaces(input: &SpecInput<'_>) -> Result<Vec<LinuxNamespace>> {
    let host_config = input.host_config;
    let shared = |field, path: &Option<PathBuf>| {
        path.clone().map(Some).ok_or(super::SpecError::Refused {
            field,
            text: "cannot join the namespace of a container that is not running".to_owned(),
        })
    };
    let own = Some(None);
    let network = match NetworkMode::read(&host_config.network_mode)? {
        NetworkMode::Host if !input.config.config.network_disabled => None,
        NetworkMode::Container(_) => Some(shared("HostConfig.NetworkMode", &input.shared.network)?),
        _ => own.clone(),
    };
    let pid = match PidMode::read(&host_config.pid_mode)? {
        PidMode::Host => None,
        PidMode::Container(_) => Some(shared("HostConfig.PidMode", &input.shared.pid)?),
        PidMode::Private => own.clone(),
    };
    let ipc = match IpcMode::read(&host_config.ipc_mode)? {
        IpcMode::Host => None,
        IpcMode::Container(_) => Some(shared("HostConfig.IpcMode", &input.shared.ipc)?),
        _ => own.clone(),
    };
    let cgroup = match CgroupnsMode::read(&host_config.cgroupns_mode)? {
        Some(CgroupnsMode::Private) => own.clone(),
        _ => None,
    };
    let uts = (host_config.uts_mode != "host").then_some(None);
    [
        (LinuxNamespaceType::Mount, own),
        (LinuxNamespaceType::Network, network),
        (LinuxNamespaceType::Uts, uts),
        (LinuxNamespaceType::Pid, pid),
        (LinuxNamespaceType::Ipc, ipc),
        (LinuxNamespaceType::Cgroup, cgroup),
    ]
    .into_iter()
    .filter_map(|(kind, namespace)| namespace.map(|path: Option<PathBuf>| (kind, path)))
    .map(|(kind, path)| {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        let builder = if let Some(path) = path { builder.path(path) } else { builder };
        Ok(builder.build()?)
    })
    .collect()
}

#[cfg(test)]
mod tests;
