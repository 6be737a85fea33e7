//! What containers are put together from.

use std::sync::Arc;

use sheave_hooks::HookBus;
use sheave_storage::Snapshots;

use crate::cgroup::Hierarchies;
use crate::error::Error;
use crate::exec::Execs;
use crate::neighbours::{ImageSource, NetworkSource, VolumeSource};
use crate::settings::Settings;
use crate::spec::seccomp::SeccompFilters;
use crate::spec::{HostFacts, Programs};
use crate::store::Store;

/// What the daemon gives to the supervisor.
pub struct Neighbours {
    /// Images.
    pub images: Arc<dyn ImageSource>,
    /// Writable layers.
    pub snapshots: Snapshots,
    /// Volumes.
    pub volumes: Arc<dyn VolumeSource>,
    /// Networks.
    pub networks: Arc<dyn NetworkSource>,
    /// Hooks, for their last look at the runtime specification.
    pub hooks: Arc<HookBus>,
}

/// Everything that a container's set-up and removal need.
pub struct Parts {
    pub(crate) settings: Settings,
    pub(crate) neighbours: Neighbours,
    pub(crate) host: HostFacts,
    pub(crate) hierarchies: Hierarchies,
    pub(crate) seccomp: SeccompFilters,
    pub(crate) execs: Arc<Execs>,
    pub(crate) store: Arc<Store>,
}

impl Parts {
    /// Looks at the host.
    pub(crate) fn new(settings: Settings, neighbours: Neighbours, store: Arc<Store>) -> Result<Self, Error> {
        let mut runtimes = vec![settings.default_runtime.clone()];
        let named = settings.runtimes.keys().map(String::as_str).chain([crate::settings::NATIVE]);
        runtimes.extend(named.filter(|name| *name != settings.default_runtime).map(str::to_owned));
        let host = HostFacts::detect(Programs { runtimes, init: settings.init.clone() });
        let seccomp = SeccompFilters::new(host.kernel);
        let hierarchies = Hierarchies::detect().map_err(Error::file("read the mount table"))?;
        Ok(Self { settings, neighbours, host, hierarchies, seccomp, execs: Arc::default(), store })
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}
