//! What is mounted in a container, in the order in which it is mounted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::SpecInput;
use crate::spec::error::{Result, SpecError};
use crate::spec::host::HostFacts;
use crate::spec::modes::IpcMode;
use crate::spec::parse::{MountRequest, Propagation};
use crate::spec::parse_clean;

/// A mount whose source is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerMount {
    /// Path in the container.
    pub destination: String,
    /// What is mounted.
    pub source: MountSource,
    /// Whether it is read-only.
    pub read_only: bool,
    /// How it propagates; `None` leaves it as the bind makes it, for volumes.
    pub propagation: Option<Propagation>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Its path, resolved.
        path: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// Read-only is meant for what is mounted below it too.
        recursive_read_only: bool,
    },
    /// A file system in memory, with its options.
    Tmpfs {
        /// As in a mount table.
        options: Vec<String>,
    },
}

impl ContainerMount {
    /// A file or directory of the host, as it is.
    pub fn bind(path: impl Into<PathBuf>, destination: impl Into<String>) -> Self {
        Self {
            destination: destination.into(),
            source: MountSource::Bind { path: path.into(), recursive: true, recursive_read_only: true },
            read_only: false,
            propagation: Some(Propagation::default()),
        }
    }

    /// What was asked for, with the host path that its source was resolved to (nothing is read of it for `tmpfs`).
    ///
    /// # Errors
    /// A recursive read-only mount that the kernel cannot make; wrong options of a `tmpfs`.
    pub fn resolved(request: &MountRequest, path: PathBuf, host: &HostFacts) -> Result<Self> {
        if request.spec.kind == "tmpfs" {
            return Ok(Self {
                destination: request.destination.clone(),
                source: MountSource::Tmpfs { options: request.tmpfs_options()? },
                read_only: !request.rw,
                propagation: None,
            });
        }
        let options = request.spec.bind_options.clone().unwrap_or_default();
        if options.read_only_force_recursive && !host.recursive_read_only() {
            let reason = "rro is not supported: kernel is older than 5.12".to_owned();
            return Err(SpecError::Mount { kind: request.spec.kind.clone(), reason });
        }
        let is_bind = request.spec.kind == "bind";
        Ok(Self {
            destination: request.destination.clone(),
            source: MountSource::Bind {
                path,
                recursive: !options.non_recursive,
                recursive_read_only: !options.read_only_non_recursive && host.recursive_read_only(),
            },
            read_only: !request.rw || request.spec.kind == "image",
            propagation: is_bind.then_some(request.propagation),
        })
    }
}

/// The file systems every container has.
const DEFAULT: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777"]),
];

/// What stays writable when the root file system is not.
const WRITABLE: [&str; 5] = ["/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"];

/// The mounts, and the propagation that the root file system needs for them.
pub(super) fn build(input: &SpecInput<'_>, writable_cgroups: bool) -> Result<(Vec<Mount>, Option<String>)> {
    let host_config = input.host_config;
    let mut own = input.mounts.to_vec();
    for (path, options) in &host_config.tmpfs {
        let options = tmpfs_mount_options(options)?;
        let read_only = options.iter().any(|option| option == "ro");
        let (destination, source) = (parse_clean(path), MountSource::Tmpfs { options });
        own.push(ContainerMount { destination, source, read_only, propagation: None });
    }
    let ipc = IpcMode::read(&host_config.ipc_mode)?;
    if let (IpcMode::Shareable | IpcMode::Container(_), Some(shm)) = (&ipc, &input.shared.shm) {
        own.push(ContainerMount::bind(shm, "/dev/shm"));
    }
    if ipc == IpcMode::Host {
        own.push(ContainerMount::bind("/dev/shm", "/dev/shm"));
    }
    if let Some(init) = super::process::init_program(input)? {
        let source = MountSource::Bind { path: init.to_owned(), recursive: false, recursive_read_only: false };
        own.push(ContainerMount { source, read_only: true, ..ContainerMount::bind(init, super::process::INIT) });
    }
    // A mount may lie in another one: the outer first.
    own.sort_by_key(|mount| (depth(&mount.destination), mount.destination.clone()));
    let taken: BTreeSet<_> = own.iter().map(|mount| mount.destination.as_str()).collect();
    let mut mounts = Vec::new();
    for (destination, kind, source, options) in DEFAULT {
        let covered = taken.contains(destination) || taken.contains("/dev") && destination.starts_with("/dev/");
        if covered || destination == "/dev/shm" && ipc == IpcMode::None {
            continue;
        }
        let mut options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        if destination == "/dev/shm" {
            options.push(format!("size={}", host_config.shm_size));
        }
        let writable =
            host_config.privileged && matches!(kind, "sysfs" | "cgroup") || writable_cgroups && kind == "cgroup";
        if writable {
            options.retain(|option| option != "ro");
        }
        let is_read_only = options.iter().any(|option| option == "ro");
        if host_config.readonly_rootfs && !WRITABLE.contains(&destination) && !is_read_only {
            options.push("ro".to_owned());
        }
        mounts.push(mount(destination, kind, Path::new(source), options)?);
    }
    let mut rootfs = None;
    for one in &own {
        mounts.push(match &one.source {
            MountSource::Tmpfs { options } => {
                mount(&one.destination, "tmpfs", Path::new("tmpfs"), tmpfs_with_defaults(options))?
            }
            MountSource::Bind { path, .. } => {
                require_propagation(one, path, input.mount_table, &mut rootfs)?;
                mount(&one.destination, "bind", path, bind_options(one))?
            }
        });
    }
    Ok((mounts, rootfs.map(|propagation: Propagation| propagation.to_string())))
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

fn mount(destination: &str, kind: &str, source: &Path, options: Vec<String>) -> Result<Mount> {
    let mut built =
        MountBuilder::default().destination(destination).typ(kind).source(source).options(options).build()?;
    built.set_uid_mappings(None);
    Ok(built)
}

fn bind_options(one: &ContainerMount) -> Vec<String> {
    let MountSource::Bind { recursive, recursive_read_only, .. } = one.source else { return Vec::new() };
    let mut options = vec![if recursive { "rbind" } else { "bind" }.to_owned()];
    if one.read_only {
        options.push("ro".to_owned());
        if recursive && recursive_read_only {
            options.push("rro".to_owned());
        }
    }
    options.extend(one.propagation.map(|propagation| propagation.to_string()));
    options
}

/// Options of `HostConfig.Tmpfs` that mean something to the kernel.
const TMPFS_FLAGS: [&str; 26] = [
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "remount",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "bind",
    "rbind",
    "noswap",
];

/// Options of `HostConfig.Tmpfs` with a value.
const TMPFS_VALUES: [&str; 8] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];

/// Reads the options of one of `HostConfig.Tmpfs`.
///
/// # Errors
/// `invalid tmpfs option ["x"]`, as Docker.
pub(in crate::spec) fn tmpfs_mount_options(text: &str) -> Result<Vec<String>> {
    let refuse =
        |option: &str| Err(SpecError::refused("HostConfig.Tmpfs", format!("invalid tmpfs option [{option:?}]")));
    let mut options = Vec::new();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let known = match option.split_once('=') {
            Some((key, value)) => TMPFS_VALUES.contains(&key) && !value.is_empty(),
            // A tmpfs is no bind, and a new one is not mounted again.
            None => TMPFS_FLAGS.contains(&option) && !matches!(option, "bind" | "rbind" | "remount"),
        };
        if !known && Propagation::from_name(option).is_none() {
            return refuse(option);
        }
        options.push(option.to_owned());
    }
    Ok(options)
}

/// `noexec,nosuid,nodev` unless the options say the opposite; of two that contradict the later counts.
fn tmpfs_with_defaults(given: &[String]) -> Vec<String> {
    let pairs = [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev"), ("ro", "rw")];
    let mut options: Vec<String> = Vec::new();
    let defaults = ["noexec", "nosuid", "nodev"].map(str::to_owned);
    for option in defaults.iter().chain(given).filter(|option| *option != "defaults") {
        let opposite = pairs.iter().find_map(|(no, yes)| match option.as_str() {
            o if o == *no => Some(*yes),
            o if o == *yes => Some(*no),
            _ => None,
        });
        let key = option.split_once('=').map(|(key, _)| format!("{key}="));
        options.retain(|earlier| {
            earlier != option
                && Some(earlier.as_str()) != opposite
                && !key.as_ref().is_some_and(|key| earlier.starts_with(key.as_str()))
        });
        options.push(option.clone());
    }
    options
}

/// A `shared` or `slave` mount works only where the host's mount it comes from is shared; the container's root must let
/// it through.
fn require_propagation(one: &ContainerMount, path: &Path, table: &str, rootfs: &mut Option<Propagation>) -> Result<()> {
    let (slave, needed) = match one.propagation {
        Some(Propagation::Shared | Propagation::RShared) => (false, "a shared mount"),
        Some(Propagation::Slave | Propagation::RSlave) => (true, "a shared or slave mount"),
        _ => return Ok(()),
    };
    let Some((place, fields)) = source_mount(path, table) else {
        let text = format!("Can't find mount point of {}", path.display());
        return Err(SpecError::refused("HostConfig.Binds", text));
    };
    let fits = |field: &str| field.starts_with("shared:") || slave && field.starts_with("master:");
    if !fields.split(' ').any(fits) {
        let text = format!("path {} is mounted on {place} but it is not {needed}", path.display());
        return Err(SpecError::refused("HostConfig.Binds", text));
    }
    match (slave, *rootfs) {
        (false, _) => *rootfs = Some(Propagation::Shared),
        (true, None) => *rootfs = Some(Propagation::RSlave),
        (true, Some(_)) => {}
    }
    Ok(())
}

/// The mount point a path lies on and its optional fields, from `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).
fn source_mount<'a>(path: &Path, table: &'a str) -> Option<(String, &'a str)> {
    let mut best: Option<(String, &str)> = None;
    for line in table.lines() {
        let mut fields = line.splitn(7, ' ');
        let (Some(place), Some(rest)) = (fields.nth(4), fields.nth(1)) else { continue };
        let place = unescape(place);
        let longer = best.as_ref().is_none_or(|(known, _)| place.len() >= known.len());
        if longer && path.starts_with(&place) {
            best = Some((place, rest.split(" - ").next().unwrap_or_default()));
        }
    }
    best
}

fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_tmpfs() {
        let read = |text: &str| tmpfs_mount_options(text).map(|o| tmpfs_with_defaults(&o).join(","));
        assert_eq!(read("").unwrap(), "noexec,nosuid,nodev");
        assert_eq!(read("exec,size=3m,mode=1770").unwrap(), "nosuid,nodev,exec,size=3m,mode=1770");
        assert_eq!(read("size=1m,size=2m,rw").unwrap(), "noexec,nosuid,nodev,size=2m,rw");
        assert_eq!(read("foo").unwrap_err().to_string(), "invalid tmpfs option [\"foo\"]");
        assert!(read("size").is_err() && read("bind").is_err() && read("size=").is_err());
    }

    #[test]
    fn propagation_needs_a_shared_source() {
        let table = "22 1 8:1 / / rw,relatime - ext4 /dev/x rw\n\
                     30 22 0:3 / /mnt/a\\040b rw shared:7 - tmpfs t rw\n\
                     31 22 0:4 / /mnt/s rw master:7 - tmpfs t rw\n";
        let check = |path: &str, propagation, expected: Result<Option<Propagation>, &str>| {
            let one = ContainerMount { propagation: Some(propagation), ..ContainerMount::bind(path, "/x") };
            let mut rootfs = None;
            let found = require_propagation(&one, Path::new(path), table, &mut rootfs).map_err(|e| e.to_string());
            assert_eq!(found.map(|()| rootfs), expected.map_err(str::to_owned), "{path} {propagation}");
        };
        check("/home", Propagation::RPrivate, Ok(None));
        check("/mnt/a b/c", Propagation::RShared, Ok(Some(Propagation::Shared)));
        check("/mnt/a b", Propagation::Slave, Ok(Some(Propagation::RSlave)));
        check("/mnt/s", Propagation::RSlave, Ok(Some(Propagation::RSlave)));
        check("/mnt/s", Propagation::Shared, Err("path /mnt/s is mounted on /mnt/s but it is not a shared mount"));
        check("/home", Propagation::RSlave, Err("path /home is mounted on / but it is not a shared or slave mount"));
    }

    #[test]
    fn a_request_keeps_its_options() {
        let request = |json: serde_json::Value| {
            let spec: sheave_api::containers::Mount = serde_json::from_value(json).unwrap();
            MountRequest { rw: !spec.read_only, destination: "/b".to_owned(), spec, ..Default::default() }
        };
        let host = HostFacts::example();
        let resolved = |json| {
            let mount = ContainerMount::resolved(&request(json), PathBuf::from("/a"), &host).unwrap();
            bind_options(&mount).join(",")
        };
        use serde_json::json;
        assert_eq!(resolved(json!({"Type": "bind", "ReadOnly": true})), "rbind,ro,rro,rprivate");
        assert_eq!(resolved(json!({"Type": "bind", "BindOptions": {"NonRecursive": true}})), "bind,rprivate");
        let plain = json!({"Type": "bind", "ReadOnly": true, "BindOptions": {"ReadOnlyNonRecursive": true}});
        assert_eq!(resolved(plain), "rbind,ro,rprivate");
        assert_eq!(resolved(json!({"Type": "volume"})), "rbind");
    }
}
