//! From a container's record to the runtime specification of its run.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use sheave_hooks::{Identity, Operation};
use sheave_types::Action;

use crate::error::{Error, Fault};
use crate::parts::Parts;
use crate::record::{Mounted, View};
use crate::spec::modes::{IpcMode, NetworkMode, PidMode};
use crate::spec::parse::{MountRequest, Propagation};
use crate::spec::user::ResolvedUser;
use crate::spec::{self, ContainerMount, MergedConfig, SharedNamespaces, SpecInput};

/// The specification and what of it was cut down.
pub struct Built {
    /// The specification.
    pub spec: Spec,
    /// In words.
    pub warnings: Vec<String>,
}

impl Mounted {
    /// The request that this mount came from.
    fn request(&self) -> MountRequest {
        MountRequest {
            spec: self.spec.clone(),
            destination: self.point.destination.clone(),
            rw: self.point.rw,
            mode: self.point.mode.clone(),
            propagation: Propagation::from_name(&self.point.propagation).unwrap_or_default(),
            create_source: self.create_source,
            copy_up: false,
        }
    }
}

/// A mount with the path that its source has now.
pub fn mount(parts: &Parts, mounted: &Mounted, source: PathBuf) -> Result<ContainerMount, Error> {
    Ok(ContainerMount::resolved(&mounted.request(), source, &parts.host)?)
}

/// Finds the containers whose namespaces this one joins; they have to run.
pub fn shared(parts: &Parts, view: &View) -> Result<SharedNamespaces, Error> {
    let host_config = &view.record.host_config;
    let mut shared = SharedNamespaces::default();
    let pid = |name: &str| {
        let peer = parts.store.find(name)?.now();
        match peer.state.run() {
            Some(run) => Ok((run.pid, peer.id)),
            None => Err(Error::from(Fault::PeerNotRunning(name.to_owned()))),
        }
    };
    if let NetworkMode::Container(name) = NetworkMode::read(&host_config.network_mode)? {
        shared.network = Some(PathBuf::from(format!("/proc/{}/ns/net", pid(&name)?.0)));
    }
    if let PidMode::Container(name) = PidMode::read(&host_config.pid_mode)? {
        shared.pid = Some(PathBuf::from(format!("/proc/{}/ns/pid", pid(&name)?.0)));
    }
    match IpcMode::read(&host_config.ipc_mode)? {
        IpcMode::Container(name) => {
            let (pid, id) = pid(&name)?;
            // A private one has its shared memory in its own mount namespace alone.
            if parts.store.find(&name)?.now().record.host_config.ipc_mode != "shareable" {
                return Err(Fault::NotShareable(id.to_string()).into());
            }
            shared.ipc = Some(PathBuf::from(format!("/proc/{pid}/ns/ipc")));
            shared.shm = Some(parts.settings.paths(&id).shm());
        }
        IpcMode::Shareable => shared.shm = Some(parts.settings.paths(&view.id).shm()),
        _ => {}
    }
    Ok(shared)
}

/// Puts the specification together. It blocks for the time of a few look-ups in the file system.
pub fn build(
    parts: &Parts,
    view: &View,
    rootfs: &Path,
    user: &ResolvedUser,
    mounts: &[ContainerMount],
) -> Result<Built, Error> {
    let record = &view.record;
    let config = MergedConfig { config: record.config.clone() };
    let mount_table = std::fs::read_to_string("/proc/self/mountinfo").map_err(Error::file("read the mount table"))?;
    let input = SpecInput {
        id: &view.id,
        rootfs,
        config: &config,
        host_config: &record.host_config,
        user,
        mounts,
        devices: &spec::resolve_devices(&record.host_config)?,
        shared: &shared(parts, view)?,
        host: &parts.host,
        mount_table: &mount_table,
    };
    let (spec, warnings) = spec::build(&input)?;
    Ok(Built { spec, warnings })
}

/// Shows the specification to the hooks that want to see it, and returns the one to use.
pub async fn ask_hooks(parts: &Parts, view: &View, action: Action, spec: Spec) -> Result<Spec, Error> {
    if !parts.neighbours.hooks.wants(action) {
        return Ok(spec);
    }
    let identity = std::sync::Arc::new(Identity::engine());
    let operation = Operation { action, object: view.id.to_string(), identity };
    let text = serde_json::to_string(&spec).map_err(Error::SpecText)?;
    let text = parts.neighbours.hooks.spec(&operation, text).await.map_err(Error::Neighbour)?;
    serde_json::from_str(&text).map_err(Error::SpecText)
}
