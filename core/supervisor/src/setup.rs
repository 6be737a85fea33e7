//! A run is set up in stages; each one can undo itself, and only a whole chain of them is a running container.
//!
//! ```text
//! Created ── mount ──► Mounted ── network ──► Networked ── start ──► Up
//!    │ directories, files   │ shim has its      │ sandbox,            │
//!    │ of the engine        │ orders            │ descriptors passed  │
//! ```
//!
//! The shim's child makes the mounts while the network is made: `Mounted` has given the shim its orders, `Networked` gives it
//! the word to go on. A pool of prepared shims or sandboxes belongs behind [`Created::mount`] and [`Mounted::network`].

pub mod files;
pub mod rootfs;
pub mod spec;

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::LinuxCapabilities;
use sheave_shim::protocol::{ExternalRuntime, Launch, LogFile, RootMount, Stdio, TerminalSize};
use sheave_storage::ResolvedMount;
use sheave_types::{Action, ErrorKind, Kinded};

use crate::command::{Pending, SetUpError, Up};
use crate::error::Error;
use crate::neighbours::Sandbox;
use crate::parts::Parts;
use crate::record::View;
use crate::settings::{NATIVE, Paths};
use crate::shim::{Launched, Launching, Process, Shim};
use crate::spec::parse::{LogDriver, log_driver};
use crate::spec::{CapabilitySet, ContainerMount, security_options};
use crate::state::Failure;
use crate::time::Timestamp;

/// A container at rest.
pub struct Created<'a> {
    parts: &'a Parts,
    view: &'a View,
    paths: Paths,
}

/// Its shim has its orders and makes the mounts.
pub struct Mounted<'a> {
    created: Created<'a>,
    launching: Launching,
    warnings: Vec<String>,
}

/// Its network is there, and the shim has the descriptors.
pub struct Networked<'a> {
    mounted: Mounted<'a>,
    sandbox: Sandbox,
}

/// Sets a run up.
pub async fn run(parts: &Parts, view: &View, pending: Vec<Pending>) -> Result<Up, SetUpError> {
    let created = Created { parts, view, paths: parts.settings.paths(&view.id) };
    let mounted = created.mount().await.map_err(failed)?;
    let networked = mounted.network(pending).await.map_err(failed)?;
    networked.start().await
}

/// What a client is told when a stage before the container's own failed.
fn failed(error: Error) -> SetUpError {
    let kind = error.kind();
    SetUpError { failure: Failure { code: 128, message: error.to_string() }, kind }
}

impl<'a> Created<'a> {
    /// Starts a shim, resolves what is mounted, and gives the shim its orders.
    async fn mount(self) -> Result<Mounted<'a>, Error> {
        match self.try_mount().await {
            Ok((launching, warnings)) => Ok(Mounted { created: self, launching, warnings }),
            Err(error) => {
                self.undo().await;
                Err(error)
            }
        }
    }

    async fn try_mount(&self) -> Result<(Launching, Vec<String>), Error> {
        let run = &self.paths.run;
        // What a crash left of an earlier run is no part of this one.
        crate::settings::remove_dir(run)?;
        std::fs::create_dir_all(run).map_err(Error::file(format!("make {}", run.display())))?;
        files::make(self.view, &self.paths)?;
        let spawning = Shim::at(run).spawn(&self.parts.settings.shim);
        let (launching, orders) = tokio::join!(spawning, self.orders());
        let launching = launching?;
        let sent = async {
            let (launch, seccomp, warnings) = orders?;
            launching.launch(launch, seccomp.as_ref()).await?;
            Ok(warnings)
        };
        match sent.await {
            Ok(warnings) => Ok((launching, warnings)),
            Err(error) => {
                launching.process.kill();
                launching.process.ended().await;
                Err(error)
            }
        }
    }

    /// Everything the shim is told.
    async fn orders(&self) -> Result<(Launch, Option<OwnedFd>, Vec<String>), Error> {
        let (parts, view) = (self.parts, self.view);
        let record = &view.record;
        let (config, host_config) = (&record.config, &record.host_config);
        let key = view.id.to_string();
        let snapshots = &parts.neighbours.snapshots;
        let rootfs = snapshots.mounts(&record.driver, &key, false).await?;
        let groups = host_config.group_add.as_deref().unwrap_or_default();
        let user = rootfs::user(snapshots, &record.driver, &key, &rootfs, (&config.user, groups)).await?;
        let mounts = self.mounts().await?;
        let built = spec::build(parts, view, &self.paths.run.join("rootfs"), &user, &mounts)?;
        let spec = spec::ask_hooks(parts, view, Action::ContainerStart, built.spec).await?;
        let seccomp = self.seccomp(spec.process().as_ref().and_then(|p| p.capabilities().as_ref()))?;
        let cgroup = crate::spec::cgroup_path(&view.id, host_config);
        let parent = cgroup.parent().map(|parent| parent.to_string_lossy().into_owned()).unwrap_or_default();
        let launch = Launch {
            id: key.clone(),
            spec,
            rootfs: rootfs.into_iter().map(root_mount).collect(),
            cgroup: parts.hierarchies.placement(&parent, &key),
            seccomp: seccomp.is_some(),
            stdio: stdio(view),
            log: self.log()?,
            runtime: self.runtime()?,
        };
        Ok((launch, seccomp, built.warnings))
    }

    /// The container's own mounts and those of the engine's files.
    async fn mounts(&self) -> Result<Vec<ContainerMount>, Error> {
        let (parts, view) = (self.parts, self.view);
        let mut mounts = Vec::with_capacity(view.record.mounts.len() + 3);
        for mounted in &view.record.mounts {
            let source = match mounted.point.kind.as_str() {
                "volume" => parts.neighbours.volumes.mount(&mounted.point.name, &view.id).await?,
                "bind" => bind_source(mounted)?,
                _ => PathBuf::new(),
            };
            mounts.push(spec::mount(parts, mounted, source)?);
        }
        let host_config = &view.record.host_config;
        let directory = match host_config.network_mode.strip_prefix("container:") {
            Some(peer) => parts.settings.paths(&parts.store.find(peer)?.id).bundle,
            None => self.paths.bundle.clone(),
        };
        let own = crate::spec::etc::mounts(&directory, &mounts, host_config.readonly_rootfs);
        mounts.extend(own);
        if host_config.ipc_mode == "shareable" {
            shm(&self.paths.shm(), host_config.shm_size)?;
        }
        Ok(mounts)
    }

    fn seccomp(&self, capabilities: Option<&LinuxCapabilities>) -> Result<Option<OwnedFd>, Error> {
        let host_config = &self.view.record.host_config;
        let options = host_config.security_opt.as_deref().unwrap_or_default();
        let choice = security_options(options, &self.parts.host, &mut Vec::new())?.seccomp;
        let bounding = capabilities.and_then(|c| c.bounding().as_ref());
        let named = |c: &oci_spec::runtime::Capability| CapabilitySet::named(&format!("CAP_{c}"));
        let set = bounding.into_iter().flatten().filter_map(named).fold(CapabilitySet::default(), CapabilitySet::union);
        match self.parts.seccomp.filter(&choice, host_config.privileged, set)? {
            Some(program) => Ok(Some(memfd(&program).map_err(Error::file("keep the seccomp program"))?)),
            None => Ok(None),
        }
    }

    fn log(&self) -> Result<Option<LogFile>, Error> {
        match log_driver(&self.view.record.host_config.log_config)? {
            LogDriver::None => Ok(None),
            LogDriver::JsonFile(options) => Ok(Some(LogFile {
                path: self.paths.log(),
                max_size: options.max_size,
                max_file: options.max_files,
                attrs: log_attributes(&self.view.record, &options.attributes),
            })),
        }
    }

    fn runtime(&self) -> Result<Option<ExternalRuntime>, Error> {
        let name = &self.view.record.host_config.runtime;
        if name.is_empty() || name == NATIVE {
            return Ok(None);
        }
        match self.parts.settings.runtimes.get(name) {
            Some(runtime) => Ok(Some(ExternalRuntime { path: runtime.path.clone(), args: runtime.args.clone() })),
            None => Err(crate::error::Fault::Runtime(name.clone()).into()),
        }
    }

    async fn undo(&self) {
        unmount_volumes(self.parts, self.view).await;
        unmount_shm(&self.paths);
        if let Err(error) = crate::settings::remove_dir(&self.paths.run) {
            tracing::warn!(container = %self.view.id, %error, "undoing a set-up");
        }
    }
}

impl<'a> Mounted<'a> {
    /// Makes the network while the shim makes the mounts, connects the clients that wait, and lets the shim go on.
    async fn network(self, pending: Vec<Pending>) -> Result<Networked<'a>, Error> {
        let Created { parts, view, paths } = &self.created;
        let sandbox = if view.record.config.network_disabled {
            Ok(Sandbox::default())
        } else {
            parts.neighbours.networks.open(view, &files::upstream(view)).await.map_err(Error::Neighbour)
        };
        let sandbox = match sandbox {
            Ok(sandbox) => sandbox,
            Err(error) => {
                self.undo().await;
                return Err(error);
            }
        };
        let connected = async {
            if !view.record.host_config.network_mode.starts_with("container:") {
                files::fill(view, paths, &sandbox)?;
            }
            for client in pending {
                // Its answer is there before the container's first byte of output.
                let streams = self.launching.shim.attach(client.streams).await;
                let _ = client.reply.send(streams);
            }
            self.launching.network(sandbox.netns.as_ref(), &sandbox.dns).await
        };
        match connected.await {
            Ok(()) => Ok(Networked { mounted: self, sandbox }),
            Err(error) => {
                Networked { mounted: self, sandbox }.undo().await;
                Err(error)
            }
        }
    }

    async fn undo(self) {
        self.launching.process.kill();
        self.launching.process.ended().await;
        let shim = Shim::at(&self.created.paths.run);
        let placement = match shim.state_record() {
            Some(record) => record.cgroup,
            None => placement(self.created.parts, self.created.view),
        };
        crate::cgroup::destroy(&placement).await;
        self.created.undo().await;
    }
}

impl Networked<'_> {
    /// Waits for the outcome.
    async fn start(self) -> Result<Up, SetUpError> {
        let Networked { mounted: Mounted { created, launching, warnings }, sandbox } = self;
        let (outcome, process) = launching.outcome().await;
        let failure = match outcome {
            Ok(Launched::Started(started)) => {
                let at = Shim::at(&created.paths.run).state_record().map(|record| record.started_at);
                let at =
                    at.and_then(|nanos| i64::try_from(nanos).ok()).map_or_else(Timestamp::now, Timestamp::from_nanos);
                let warnings = warnings.into_iter().chain(started.warnings).collect();
                return Ok(Up { pid: started.pid, at, network: sandbox.settings, process, warnings });
            }
            Ok(Launched::Failed(failure)) => {
                let code = failure.exit_code();
                let kind = if code == 128 { ErrorKind::Internal } else { ErrorKind::Invalid };
                SetUpError { failure: Failure { code, message: runtime_text(&failure.message) }, kind }
            }
            Err(error) => failed(error),
        };
        // The shim undoes its own part and ends.
        if tokio::time::timeout(std::time::Duration::from_secs(2), process.ended()).await.is_err() {
            process.kill();
            process.ended().await;
        }
        created.parts.neighbours.networks.close(&created.view.id).await;
        crate::cgroup::destroy(&placement(created.parts, created.view)).await;
        created.undo().await;
        Err(failure)
    }

    async fn undo(self) {
        let id = self.mounted.created.view.id;
        self.mounted.created.parts.neighbours.networks.close(&id).await;
        self.mounted.undo().await;
    }
}

/// Docker's words around what the runtime says; clients look for their exit code in them.
fn runtime_text(message: &str) -> String {
    format!(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: \
         unable to start container process: {message}"
    )
}

/// Where the cgroups of a container are.
pub fn placement(parts: &Parts, view: &View) -> sheave_shim::protocol::CgroupPlacement {
    let path = crate::spec::cgroup_path(&view.id, &view.record.host_config);
    let parent = path.parent().map(|parent| parent.to_string_lossy().into_owned()).unwrap_or_default();
    parts.hierarchies.placement(&parent, &view.id.to_string())
}

/// Takes down what a run used. Each part is tried; what fails is found again by recovery.
pub async fn take_down(parts: &Parts, view: &View) {
    let paths = parts.settings.paths(&view.id);
    let shim = Shim::at(&paths.run);
    let record = shim.state_record();
    let release = async {
        if shim.order(&sheave_shim::protocol::Request::Release).await.is_err() {
            let placement = record.map_or_else(|| placement(parts, view), |record| record.cgroup);
            crate::cgroup::destroy(&placement).await;
        }
    };
    tokio::join!(release, parts.neighbours.networks.close(&view.id), unmount_volumes(parts, view));
    unmount_shm(&paths);
    if let Err(error) = crate::settings::remove_dir(&paths.run) {
        tracing::warn!(container = %view.id, %error, "taking down");
    }
}

async fn unmount_volumes(parts: &Parts, view: &View) {
    for mounted in view.record.mounts.iter().filter(|mounted| mounted.point.kind == "volume") {
        if let Err(error) = parts.neighbours.volumes.unmount(&mounted.point.name, &view.id).await {
            tracing::warn!(container = %view.id, volume = mounted.point.name, %error, "unmounting");
        }
    }
}

fn unmount_shm(paths: &Paths) {
    let shm = paths.shm();
    if shm.exists() {
        // Not mounted is what is wanted.
        let _ = nix::mount::umount2(&shm, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// A tmpfs on the host that is `/dev/shm` of a container and of those that join it.
fn shm(path: &std::path::Path, size: i64) -> Result<(), Error> {
    use nix::mount::{MsFlags, mount};
    std::fs::create_dir(path).map_err(Error::file(format!("make {}", path.display())))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    let options = format!("mode=1777,size={size}");
    mount(Some("shm"), path, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|errno| Error::file(format!("mount {}", path.display()))(errno.into()))
}

fn bind_source(mounted: &crate::record::Mounted) -> Result<PathBuf, Error> {
    let path = PathBuf::from(&mounted.point.source);
    if mounted.create_source && !path.exists() {
        std::fs::create_dir_all(&path).map_err(Error::file(format!("make {}", path.display())))?;
    }
    Ok(path)
}

fn stdio(view: &View) -> Stdio {
    let (config, host_config) = (&view.record.config, &view.record.host_config);
    let [height, width] = host_config.console_size.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    Stdio {
        terminal: config.tty.then_some(TerminalSize { height, width }),
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
    }
}

/// The labels and variables of a container that its log options name.
fn log_attributes(
    record: &crate::record::Record,
    options: &std::collections::BTreeMap<String, String>,
) -> std::collections::BTreeMap<String, String> {
    let names = |key: &str| options.get(key).map(|list| list.split(',').map(str::trim)).into_iter().flatten();
    let pattern = |key: &str| options.get(key).and_then(|pattern| regex_lite::Regex::new(pattern).ok());
    let labels = record.config.labels.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
    let env = record.config.env.iter().flatten().filter_map(|line| line.split_once('='));
    let mut attributes = std::collections::BTreeMap::new();
    let mut take = |pairs: Vec<(&str, &str)>, list: &str, regex: &str| {
        let pattern = pattern(regex);
        for (key, value) in pairs {
            if names(list).any(|name| name == key) || pattern.as_ref().is_some_and(|p| p.is_match(key)) {
                attributes.insert(key.to_owned(), value.to_owned());
            }
        }
    };
    take(labels.collect(), "labels", "labels-regex");
    take(env.collect(), "env", "env-regex");
    attributes
}

fn root_mount(mount: ResolvedMount) -> RootMount {
    match mount {
        ResolvedMount::Overlay { target, lowers, upper, work, options } => {
            RootMount::Overlay { target, lowers, upper, work, options }
        }
        ResolvedMount::Bind { target, source, read_only } => RootMount::Bind { target, source, read_only },
        ResolvedMount::Filesystem { target, fstype, source, options } => {
            RootMount::Filesystem { target, fstype, source, options }
        }
    }
}

/// A sealed file in memory with these bytes.
fn memfd(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    use std::io::{Seek, Write};
    // SAFETY: the name ends with a zero byte; the result is checked.
    let raw = unsafe { libc::memfd_create(c"seccomp".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if raw < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: `raw` is a new descriptor that nobody else owns.
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(raw) });
    file.write_all(bytes)?;
    file.rewind()?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: the descriptor is open; no pointers.
    if unsafe { libc::fcntl(raw, libc::F_ADD_SEALS, seals) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(file.into())
}

/// The shim of an earlier daemon's container, if its process is the one that the record names.
pub fn adopt_process(record: &sheave_shim::protocol::StateRecord) -> Option<Process> {
    let process = Process::open(record.shim_pid).ok()?;
    // Looked at after the descriptor was opened, so that the pid cannot be another's meanwhile.
    (start_time(record.shim_pid)? == record.shim_start_time).then_some(process)
}

/// Field 22 of `/proc/<pid>/stat`.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}
