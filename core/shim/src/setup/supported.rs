//! What of the OCI runtime specification is not done, refused by name rather than left out in silence.

use oci_spec::runtime::{LinuxResources, Process, Spec};
use sheave_shim::protocol::Stage;

use crate::failure::{At, Step, failure};

fn refuse(list: &[(&str, bool)]) -> Step<()> {
    match list.iter().find(|(_, asked)| *asked) {
        Some((name, _)) => Err(failure(Stage::Protocol, format!("{name} is not supported by the native runtime"))),
        None => Ok(()),
    }
}

/// Refuses a specification that asks for what is not done.
pub fn check(spec: &Spec) -> Step<()> {
    let linux = spec.linux().as_ref();
    let filled = |is: Option<bool>| is.unwrap_or(false);
    refuse(&[
        ("hooks", spec.hooks().is_some()),
        ("mappings of the root", spec.uid_mappings().is_some() || spec.gid_mappings().is_some()),
        ("linux.uidMappings", filled(linux.map(|l| l.uid_mappings().as_ref().is_some_and(|m| !m.is_empty())))),
        ("linux.gidMappings", filled(linux.map(|l| l.gid_mappings().as_ref().is_some_and(|m| !m.is_empty())))),
        ("linux.netDevices", filled(linux.map(|l| l.net_devices().as_ref().is_some_and(|m| !m.is_empty())))),
        ("linux.mountLabel", filled(linux.map(|l| l.mount_label().as_ref().is_some_and(|m| !m.is_empty())))),
        ("linux.intelRdt", filled(linux.map(|l| l.intel_rdt().is_some()))),
        ("linux.memoryPolicy", filled(linux.map(|l| l.memory_policy().is_some()))),
        ("linux.personality", filled(linux.map(|l| l.personality().is_some()))),
        ("linux.timeOffsets", filled(linux.map(|l| l.time_offsets().is_some()))),
    ])?;
    if let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) {
        check_resources(resources)?;
    }
    spec.process().as_ref().map_or(Ok(()), check_process)
}

/// Refuses limits that are not done.
pub fn check_resources(resources: &LinuxResources) -> Step<()> {
    let network = resources.network().as_ref();
    refuse(&[
        ("resources.network.classID", network.is_some_and(|network| network.class_id().is_some())),
        (
            "resources.network.priorities",
            network.is_some_and(|n| n.priorities().as_ref().is_some_and(|list| !list.is_empty())),
        ),
        ("resources.rdma", resources.rdma().as_ref().is_some_and(|rdma| !rdma.is_empty())),
    ])
}

/// Refuses a process that asks for what is not done.
pub fn check_process(process: &Process) -> Step<()> {
    refuse(&[
        ("process.selinuxLabel", process.selinux_label().as_ref().is_some_and(|label| !label.is_empty())),
        ("process.ioPriority", process.io_priority().is_some()),
        ("process.scheduler", process.scheduler().is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
    ])
}

/// Has the AppArmor profile applied by the next exec. Fails where the kernel has no AppArmor.
pub fn set_apparmor(process: &Process) -> Step<()> {
    let Some(profile) = process.apparmor_profile().as_ref().filter(|profile| !profile.is_empty()) else {
        return Ok(());
    };
    // A procfs of our own: the container's may have anything mounted over it.
    let name = || format!("unable to apply apparmor profile {profile:?}");
    let file = crate::sys::fsopen(c"proc")
        .and_then(|context| crate::sys::fsmount(std::os::fd::AsFd::as_fd(&context)))
        .and_then(|proc| {
            let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_XDEV;
            let path = c"thread-self/attr/apparmor/exec";
            crate::sys::openat2(std::os::fd::AsFd::as_fd(&proc), path, libc::O_WRONLY, 0, resolve)
        })
        .at(Stage::Privileges, name)?;
    nix::unistd::write(&file, format!("exec {profile}").as_bytes()).map(drop).at(Stage::Privileges, name)
}
