//! The cgroups of one container, in every version 1 hierarchy and in version 2.
//!
//! Source of the meaning of each limit: `libcontainer/cgroups/{fs,fs2}` of runc 1.1.

mod devices;
mod freezer;
mod settings;

use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::Mode;
use oci_spec::runtime::LinuxResources;
use sheave_shim::protocol::{CgroupHierarchy, CgroupPlacement, Stage};

use crate::failure::{At, Step, failure};
use crate::sys;
use settings::Setting;

/// How often a cgroup whose last process is just going is tried again, and how long it is waited in between.
const REMOVE_TRIES: u32 = 200;
const REMOVE_PAUSE_MS: u8 = 5;

/// The cgroups of a container, which exist.
#[derive(Debug)]
pub struct Cgroups {
    hierarchies: Vec<CgroupHierarchy>,
    unified: Option<PathBuf>,
    path: PathBuf,
}

/// Tells when the kernel ran out of memory for the container.
#[derive(Debug)]
pub enum OomWatch {
    /// Version 1: readable.
    Event(EventFd),
    /// Version 2: `memory.events`, with priority data when it changed.
    File(OwnedFd),
}

impl Cgroups {
    /// Makes the cgroups and sets the limits. What was made is removed again on failure.
    pub fn create(placement: &CgroupPlacement, resources: Option<&LinuxResources>) -> Step<Self> {
        if !placement.path.components().all(|part| matches!(part, Component::Normal(_)))
            || placement.path.as_os_str().is_empty()
        {
            return Err(failure(Stage::Cgroup, format!("{} is no cgroup path", placement.path.display())));
        }
        let cgroups = Self::adopt(placement);
        match cgroups.fill(resources) {
            Ok(()) => Ok(cgroups),
            Err(failed) => {
                cgroups.remove();
                Err(failed)
            }
        }
    }

    /// The cgroups that an external runtime made.
    pub fn adopt(placement: &CgroupPlacement) -> Self {
        Self {
            hierarchies: placement.hierarchies.clone(),
            unified: placement.unified.clone(),
            path: placement.path.clone(),
        }
    }

    fn fill(&self, resources: Option<&LinuxResources>) -> Step<()> {
        for hierarchy in &self.hierarchies {
            let has_cpuset = hierarchy.controllers.iter().any(|controller| controller == "cpuset");
            self.make_levels(
                &hierarchy.mount,
                |parent, dir| {
                    if has_cpuset { inherit_cpuset(parent, dir) } else { Ok(()) }
                },
            )?;
        }
        if let Some(mount) = &self.unified {
            let alone = self.hierarchies.is_empty();
            self.make_levels(mount, |parent, _| if alone { enable_controllers(parent) } else { Ok(()) })?;
        }
        if let Some(resources) = resources {
            self.update(resources)?;
        }
        self.set_devices(resources)
    }

    /// Makes the directory with its parents; `made` is called for every one with its parent.
    fn make_levels(&self, mount: &Path, made: impl Fn(&Path, &Path) -> Step<()>) -> Step<()> {
        let mut dir = mount.to_owned();
        for part in self.path.components() {
            let parent = dir.clone();
            dir.push(part);
            match std::fs::create_dir(&dir) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other.at(Stage::Cgroup, || format!("mkdir {}", dir.display()))?,
            }
            made(&parent, &dir)?;
        }
        Ok(())
    }

    /// Sets the limits that are there; others stay.
    pub fn update(&self, resources: &LinuxResources) -> Step<()> {
        if self.hierarchies.is_empty() {
            return self.apply(&settings::version_2(resources)?);
        }
        self.apply(&settings::version_1(resources))?;
        // Of version 2 beside version 1 only what is named as such.
        self.apply(&settings::unified(resources)?)
    }

    fn apply(&self, settings: &[Setting]) -> Step<()> {
        let mut index = 0;
        while let Some(setting) = settings.get(index) {
            let pair = settings.get(index + 1).filter(|next| next.swaps_with(setting));
            match (self.write(setting), pair) {
                // The memory limit may not pass the one with swap: going up, the other has to be first.
                (Err(failed), Some(next)) if matches!(failed.errno, libc::EINVAL | libc::EBUSY) => {
                    self.write(next)?;
                    self.write(setting)?;
                    index += 2;
                }
                (result, _) => {
                    result?;
                    index += 1;
                }
            }
        }
        Ok(())
    }

    fn write(&self, setting: &Setting) -> Step<()> {
        let name = || format!("setting {} to {:?}", setting.files[0], setting.value);
        let Some(dir) = self.dir(setting.controller) else {
            return Err(failure(
                Stage::Cgroup,
                format!("{}: this host has no {} controller", name(), setting.controller),
            ));
        };
        let file = setting.files.iter().map(|file| dir.join(file)).find(|path| path.exists());
        let Some(path) = file else {
            return Err(failure(Stage::Cgroup, format!("{}: this host does not have it", name())));
        };
        write_file(&path, &setting.value).at(Stage::Cgroup, name)
    }

    fn set_devices(&self, resources: Option<&LinuxResources>) -> Step<()> {
        let Some(rules) = resources.and_then(|resources| resources.devices().as_ref()) else { return Ok(()) };
        let rules = devices::with_defaults(rules)?;
        match (self.dir("devices"), &self.unified) {
            (Some(dir), _) if !self.hierarchies.is_empty() => rules.iter().try_for_each(|rule| {
                let file = if rule.allow { "devices.allow" } else { "devices.deny" };
                write_file(&dir.join(file), &rule.to_string()).at(Stage::Cgroup, || format!("{file} {rule}"))
            }),
            (_, Some(mount)) => {
                let cgroup = open_dir(&mount.join(&self.path)).at(Stage::Cgroup, || "opening the cgroup".into())?;
                devices::attach(&cgroup, &rules).at(Stage::Cgroup, || "attaching the device filter".into())
            }
            _ => Err(failure(Stage::Cgroup, "this host cannot limit devices")),
        }
    }

    /// The directory of a controller.
    fn dir(&self, controller: &str) -> Option<PathBuf> {
        let named = |hierarchy: &&CgroupHierarchy| hierarchy.controllers.iter().any(|name| name == controller);
        match self.hierarchies.iter().find(named) {
            Some(hierarchy) => Some(hierarchy.mount.join(&self.path)),
            None => self.unified_dir(),
        }
    }

    fn unified_dir(&self) -> Option<PathBuf> {
        self.unified.as_ref().map(|mount| mount.join(&self.path))
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let mounts = self.hierarchies.iter().map(|hierarchy| &hierarchy.mount).chain(&self.unified);
        mounts.map(|mount| mount.join(&self.path)).collect()
    }

    /// The `tasks` files that a child writes `0` to.
    pub fn open_tasks(&self) -> Step<Vec<OwnedFd>> {
        let paths = self.hierarchies.iter().map(|hierarchy| hierarchy.mount.join(&self.path).join("tasks"));
        paths
            .map(|path| {
                open(&path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
                    .at(Stage::Cgroup, || format!("opening {}", path.display()))
            })
            .collect()
    }

    /// The version 2 cgroup for clone3.
    pub fn open_unified(&self) -> Step<Option<OwnedFd>> {
        let Some(dir) = self.unified_dir() else { return Ok(None) };
        open_dir(&dir).at(Stage::Cgroup, || format!("opening {}", dir.display())).map(Some)
    }

    /// Signals every process in the cgroups.
    pub fn signal_all(&self, signal: i32) -> sys::Result<()> {
        if signal == libc::SIGKILL
            && self.hierarchies.is_empty()
            && self.unified_dir().is_some_and(|dir| write_file(&dir.join("cgroup.kill"), "1").is_ok())
        {
            return Ok(());
        }
        self.processes()?.into_iter().try_for_each(|pid| match sys::kill(pid, signal) {
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        })
    }

    /// The ids of the processes in the cgroups, in those below too.
    pub fn processes(&self) -> sys::Result<Vec<i32>> {
        let Some(dir) = self.dir("freezer").or_else(|| self.dirs().into_iter().next()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        let mut pending = vec![dir];
        while let Some(dir) = pending.pop() {
            let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            pending.extend(children(&dir));
        }
        Ok(found)
    }

    /// How many processes the kernel killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = self.dir("memory") else { return 0 };
        let file = if self.hierarchies.is_empty() { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Watches for want of memory; `None` where this host cannot tell.
    pub fn watch_oom(&self) -> Option<OomWatch> {
        let dir = self.dir("memory")?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        if self.hierarchies.is_empty() {
            return open(&dir.join("memory.events"), flags, Mode::empty()).ok().map(OomWatch::File);
        }
        let control = open(&dir.join("memory.oom_control"), flags, Mode::empty()).ok()?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok()?;
        let line = format!("{} {}", std::os::fd::AsFd::as_fd(&event).as_raw_fd(), control.as_raw_fd());
        write_file(&dir.join("cgroup.event_control"), &line).ok()?;
        Some(OomWatch::Event(event))
    }

    /// Removes the cgroups, with those that the container made below. Waits a moment for processes that are just going.
    pub fn remove(&self) {
        for dir in self.dirs() {
            for _ in 0..REMOVE_TRIES {
                match remove_tree(&dir) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => pause(REMOVE_PAUSE_MS),
                    // Done, or beyond help: recovery finds it by its name.
                    _ => break,
                }
            }
        }
    }
}

/// Waits.
fn pause(milliseconds: u8) {
    // An interrupted wait is only shorter.
    let _ = nix::poll::poll(&mut [], milliseconds);
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir(dir) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            children(dir).iter().try_for_each(|child| remove_tree(child))?;
            std::fs::remove_dir(dir)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open_dir(path: &Path) -> sys::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Without O_CREAT, which cgroupfs refuses with a misleading error.
fn write_file(path: &Path, value: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// A cpuset takes processes only once it has cpus and memory nodes; a new one has none.
fn inherit_cpuset(parent: &Path, dir: &Path) -> Step<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = dir.join(file);
        let name = || format!("filling {}", path.display());
        let now = std::fs::read_to_string(&path).at(Stage::Cgroup, name)?;
        if now.trim().is_empty() {
            let above = std::fs::read_to_string(parent.join(file)).at(Stage::Cgroup, name)?;
            write_file(&path, above.trim()).at(Stage::Cgroup, name)?;
        }
    }
    Ok(())
}

/// Makes the controllers that are there usable below this cgroup.
fn enable_controllers(parent: &Path) -> Step<()> {
    let name = || format!("enabling controllers in {}", parent.display());
    let available = std::fs::read_to_string(parent.join("cgroup.controllers")).at(Stage::Cgroup, name)?;
    for controller in available.split_whitespace() {
        // One that is in use in another way (realtime processes and cpu) must not keep the others off; a limit that
        // needs it fails by name later.
        let _ = write_file(&parent.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
    Ok(())
}
