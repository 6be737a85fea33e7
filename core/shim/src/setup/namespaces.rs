//! Which namespaces are made and which are joined.

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use sheave_shim::protocol::Stage;

use crate::failure::{At, Step, failure};

/// The namespaces of a container.
#[derive(Debug)]
pub struct Namespaces {
    /// Those to make by clone3.
    pub new: CloneFlags,
    /// Whether to make a cgroup namespace, once the child is in its cgroups.
    pub cgroup: bool,
    /// Those to join by the child.
    pub join: Vec<(CloneFlags, OwnedFd)>,
    /// The pid namespace to join, which is the parent's to do.
    pub join_pid: Option<OwnedFd>,
}

impl Namespaces {
    /// What the specification asks for. A new network namespace is `network`: it comes with the network, if it comes.
    pub fn of(spec: &Spec) -> Step<Self> {
        let mut wanted = Self { new: CloneFlags::empty(), cgroup: false, join: Vec::new(), join_pid: None };
        let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
        for namespace in &list {
            let kind = namespace.typ();
            let flag = match kind {
                LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
                LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
                LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
                LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
                LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
                LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
                LinuxNamespaceType::User | LinuxNamespaceType::Time => {
                    return Err(failure(Stage::Namespaces, format!("{kind} namespaces are not supported")));
                }
            };
            let Some(path) = namespace.path() else {
                match kind {
                    LinuxNamespaceType::Cgroup => wanted.cgroup = true,
                    _ => wanted.new |= flag,
                }
                continue;
            };
            let name = || format!("opening the {kind} namespace {}", path.display());
            let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).at(Stage::Namespaces, name)?;
            match kind {
                LinuxNamespaceType::Pid => wanted.join_pid = Some(fd),
                LinuxNamespaceType::Mount => {
                    return Err(failure(Stage::Namespaces, "a mount namespace cannot be joined"));
                }
                _ => wanted.join.push((flag, fd)),
            }
        }
        if !wanted.new.contains(CloneFlags::CLONE_NEWNS) {
            return Err(failure(Stage::Namespaces, "a container needs a mount namespace of its own"));
        }
        Ok(wanted)
    }

    /// Whether every process of the container dies with its first.
    pub fn own_pids(&self) -> bool {
        self.new.contains(CloneFlags::CLONE_NEWPID)
    }
}
