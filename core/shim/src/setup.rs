//! What a child does between clone3 and execve, for a container's first process and for an exec.
//!
//! It runs in a copy of the shim's memory, in the namespaces that clone3 made. The order is the one that keeps the
//! kernel's slow paths off the way: cgroups by writing `0` to `tasks` files opened before, all mounts that need no
//! network while the daemon makes the network, and one wait.
//!
//! Until `pivot_root` the host's `/proc` and `/dev` are there, and only they are trusted; what lies below the new root
//! is reached through [`crate::root::Root`] alone.

mod cgroupfs;
pub mod channel;
mod devices;
mod masks;
mod mounts;
pub mod namespaces;
mod options;
pub mod privileges;
pub mod program;
pub mod rootfs;
pub mod supported;
pub mod terminal;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{setsid, write};
use oci_spec::runtime::{Mount, Process, Spec};
use sheave_shim::protocol::{Launch, Stage};

use crate::failure::{At, Step, failure, words};
use crate::root::{Missing, Root, clean};
use crate::sys;
use channel::{Channel, Report};
use mounts::Mounter;
use namespaces::Namespaces;
use program::Program;
use terminal::Streams;

/// What every child needs.
pub struct Child {
    /// To the shim.
    pub channel: Channel,
    /// The `tasks` files of the version 1 cgroups.
    pub tasks: Vec<OwnedFd>,
    /// The standard streams.
    pub streams: Streams,
    /// The system call filter.
    pub filter: Option<Vec<u8>>,
}

/// The first process of a container.
pub struct Init<'a> {
    /// What the daemon sent.
    pub launch: &'a Launch,
    /// Where the root file system is mounted.
    pub rootfs: &'a Path,
    /// Namespaces to make and join.
    pub namespaces: &'a Namespaces,
    /// What every child needs.
    pub child: Child,
}

/// A further process of a container.
pub struct Exec<'a> {
    /// The container's id.
    pub id: &'a str,
    /// What to run.
    pub process: &'a Process,
    /// The container's first process, whose namespaces are joined.
    pub init: &'a OwnedFd,
    /// The score if the process has none of its own.
    pub oom_score: Option<i32>,
    /// What every child needs.
    pub child: Child,
}

impl Init<'_> {
    /// Becomes the container; does not return.
    pub fn run(self) -> ! {
        let failed = match self.set_up() {
            Ok(never) => match never {},
            Err(failed) => failed,
        };
        self.child.channel.fail(failed);
        sys::exit_now(1)
    }

    fn set_up(&self) -> Step<std::convert::Infallible> {
        let spec = &self.launch.spec;
        let process = process(spec)?;
        let channel = &self.child.channel;
        sys::reset_signals();
        join_cgroups(&self.child.tasks)?;
        self.join_namespaces()?;
        if let Some(score) = process.oom_score_adj() {
            privileges::set_oom_score(score, channel);
        }
        let propagation = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().clone());
        rootfs::set_propagation(propagation.as_deref())?;
        rootfs::make_parent_private(self.rootfs)?;
        let root = rootfs::mount_root(&self.launch.rootfs, self.rootfs)?;
        let mut mounter = Mounter::new(&root, &self.launch.cgroup, self.namespaces.cgroup);
        let (early, late) = split_mounts(spec);
        early.iter().try_for_each(|mount| mounter.mount(mount))?;
        if sets_up_dev(spec) {
            let devices = spec.linux().as_ref().and_then(|linux| linux.devices().clone()).unwrap_or_default();
            devices::make(&root, &devices)?;
        }
        let terminal = self.open_terminal(&root)?;
        if let Some(netns) = channel.wait_for_network()? {
            setns(netns, CloneFlags::CLONE_NEWNET).at(Stage::Network, || "joining the network namespace".into())?;
        }
        late.iter().try_for_each(|mount| mounter.mount(mount))?;
        let cwd = clean(process.cwd());
        root.find_or_make(&cwd, Missing::Directory).at(Stage::Cwd, || format!("mkdir {}", cwd.display()))?;
        self.close_off(&root, &mut mounter)?;
        rootfs::pivot(&root)?;
        finish(&self.launch.id, process, &self.child, terminal.as_ref())
    }

    fn join_namespaces(&self) -> Step<()> {
        for (flag, fd) in &self.namespaces.join {
            setns(fd, *flag).at(Stage::Namespaces, || "joining a namespace".into())?;
        }
        if self.namespaces.cgroup {
            unshare(CloneFlags::CLONE_NEWCGROUP).at(Stage::Namespaces, || "making the cgroup namespace".into())?;
        }
        Ok(())
    }

    fn open_terminal(&self, root: &Root) -> Step<Option<OwnedFd>> {
        let Streams::Terminal(size) = &self.child.streams else { return Ok(None) };
        let terminal = terminal::open(root, *size, &self.child.channel)?;
        terminal::bind_console(root, terminal.as_fd())?;
        Ok(Some(terminal))
    }

    /// Kernel parameters, names, and what must not be read or written.
    fn close_off(&self, root: &Root, mounter: &mut Mounter<'_>) -> Step<()> {
        let spec = &self.launch.spec;
        if let Some(name) = spec.hostname() {
            nix::unistd::sethostname(name).at(Stage::Sysctl, || "setting the host name".into())?;
        }
        if let Some(name) = spec.domainname() {
            sys::set_domain_name(name).at(Stage::Sysctl, || "setting the domain name".into())?;
        }
        let linux = spec.linux().as_ref();
        for (key, value) in linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten() {
            set_kernel_parameter(key, value)?;
        }
        mounter.finish()?;
        if let Some(paths) = linux.and_then(|linux| linux.readonly_paths().as_ref()) {
            masks::make_read_only(root, paths)?;
        }
        if let Some(paths) = linux.and_then(|linux| linux.masked_paths().as_ref()) {
            masks::mask(root, paths)?;
        }
        if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
            sys::mount_setattr(root.fd(), rootfs::READ_ONLY, false)
                .at(Stage::Rootfs, || "making the root file system read-only".into())?;
        }
        Ok(())
    }
}

impl Exec<'_> {
    /// Becomes the process; does not return.
    pub fn run(self) -> ! {
        let failed = match self.set_up() {
            Ok(never) => match never {},
            Err(failed) => failed,
        };
        self.child.channel.fail(failed);
        sys::exit_now(1)
    }

    fn set_up(&self) -> Step<std::convert::Infallible> {
        sys::reset_signals();
        join_cgroups(&self.child.tasks)?;
        if let Some(score) = self.process.oom_score_adj().or(self.oom_score) {
            privileges::set_oom_score(score, &self.child.channel);
        }
        let all = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET;
        setns(self.init, all).at(Stage::Namespaces, || "joining the container's namespaces".into())?;
        let terminal = match &self.child.streams {
            Streams::Terminal(size) => {
                let root = Root::open(Path::new("/")).at(Stage::Stdio, || "opening /".into())?;
                Some(terminal::open(&root, *size, &self.child.channel)?)
            }
            Streams::Pipes(_) => None,
        };
        finish(self.id, self.process, &self.child, terminal.as_ref())
    }
}

/// The last steps, inside the container, up to the exec.
fn finish(id: &str, process: &Process, child: &Child, terminal: Option<&OwnedFd>) -> Step<std::convert::Infallible> {
    let uid = process.user().uid();
    setsid().at(Stage::Stdio, || "making a session".into())?;
    match (&child.streams, terminal) {
        (Streams::Pipes([stdin, stdout, stderr]), _) => {
            terminal::install([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()], false, uid)?;
        }
        (Streams::Terminal(_), Some(terminal)) => terminal::install([terminal.as_fd(); 3], true, uid)?,
        (Streams::Terminal(_), None) => return Err(failure(Stage::Stdio, "there is no terminal")),
    }
    // Before the filter, which may not allow it. Nothing of the host's stays open beyond the exec.
    sys::close_on_exec_from(3).at(Stage::Privileges, || "closing descriptors".into())?;
    privileges::join_keyring(id)?;
    privileges::limit(process.rlimits().as_deref().unwrap_or_default())?;
    supported::set_apparmor(process)?;
    let later = privileges::drop(process, child.filter.as_deref(), &clean(process.cwd()), &child.channel)?;
    let program = Program::find(process)?;
    child.channel.send(&Report::Executing, None).at(Stage::Exec, || "reporting".into())?;
    if let Some(filter) = later {
        sys::load_seccomp(filter).at(Stage::Seccomp, || "loading the seccomp program".into())?;
    }
    let errno = program.execute();
    // Found and not executable after all (an absent interpreter, another architecture): runc's init has let go of its
    // caller by now, so clients know this as a container that said so and exited with 255.
    let text = format!("exec {}: {}\n", program.path().display(), words(errno));
    let _ = write(std::io::stderr(), text.as_bytes());
    sys::exit_now(255)
}

/// The process of a specification.
pub fn process(spec: &Spec) -> Step<&Process> {
    spec.process().as_ref().ok_or_else(|| failure(Stage::Protocol, "the specification has no process"))
}

/// Attaches this thread, the only one, without the stall that a write of a pid to `cgroup.procs` can have.
fn join_cgroups(tasks: &[OwnedFd]) -> Step<()> {
    tasks.iter().try_for_each(|file| write(file, b"0").map(drop)).at(Stage::Cgroup, || "joining a cgroup".into())
}

/// The mounts that do not need the network, and from `sysfs` on those that do: sysfs shows the network namespace in
/// which it is mounted.
fn split_mounts(spec: &Spec) -> (Vec<Mount>, Vec<Mount>) {
    let mut behind: Vec<PathBuf> = Vec::new();
    let mounts = spec.mounts().clone().unwrap_or_default();
    mounts.into_iter().partition(|mount| {
        let destination = clean(mount.destination());
        let late = mount.typ().as_deref() == Some("sysfs")
            || behind.iter().any(|above| destination.starts_with(above) || above.starts_with(&destination));
        if late {
            behind.push(destination);
        }
        !late
    })
}

/// A `/dev` that is bound from somewhere has what it needs.
fn sets_up_dev(spec: &Spec) -> bool {
    !spec.mounts().iter().flatten().any(|mount| {
        clean(mount.destination()) == Path::new("/dev")
            && (mount.typ().as_deref() == Some("bind")
                || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind"))
    })
}

/// Writes below the host's `/proc/sys`, where it is this process's namespaces that count. Names have dots, or slashes.
fn set_kernel_parameter(key: &str, value: &str) -> Step<()> {
    let path = if key.contains('/') { key.to_owned() } else { key.replace('.', "/") };
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(failure(Stage::Sysctl, format!("{key} is no kernel parameter")));
    }
    let file = Path::new("/proc/sys").join(path);
    std::fs::write(&file, value).at(Stage::Sysctl, || format!("open {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{MountBuilder, SpecBuilder};

    #[test]
    fn sysfs_and_what_touches_it_waits_for_the_network() {
        let mount = |destination: &str, typ: &str| {
            MountBuilder::default().destination(destination).typ(typ).build().expect("mount")
        };
        let list = [
            mount("/proc", "proc"),
            mount("/sys", "sysfs"),
            mount("/sys/fs/cgroup", "cgroup"),
            mount("/dev/../sys/x", "tmpfs"),
            mount("/system", "tmpfs"),
        ];
        let spec = SpecBuilder::default().mounts(list).build().expect("spec");
        let (early, late) = split_mounts(&spec);
        let names = |list: Vec<Mount>| -> Vec<PathBuf> { list.iter().map(|m| m.destination().clone()).collect() };
        assert_eq!(names(early), [Path::new("/proc"), Path::new("/system")]);
        assert_eq!(names(late), ["/sys", "/sys/fs/cgroup", "/dev/../sys/x"].map(PathBuf::from));
    }
}
