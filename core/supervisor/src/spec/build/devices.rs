//! Devices of a container: which nodes it has, and which its cgroup lets it open.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};
use sheave_api::containers::{DeviceMapping, HostConfig};

use super::SpecInput;
use crate::spec::error::{Result, SpecError};

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its path in the container.
    pub path: PathBuf,
    /// Character or block.
    pub is_block: bool,
    /// Its number.
    pub number: (i64, i64),
    /// Its permission bits.
    pub mode: u32,
    /// Its owner and group.
    pub owner: (u32, u32),
    /// What the container may do with it: of `r`, `w` and `m`.
    pub access: String,
}

/// The devices of a container, looked up on its host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceInput {
    /// Those that are shown: the ones asked for, and in a privileged container all of the host's.
    pub nodes: Vec<Device>,
    /// Numbers of the block devices that I/O limits name, by their path.
    pub block: BTreeMap<String, (i64, i64)>,
}

/// Directories of `/dev` that a container has its own of.
const OWN: [&str; 9] = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev", "hugepages"];

/// Nodes every container has: their numbers may be opened.
const DEFAULT: [(i64, i64); 8] = [(1, 5), (1, 3), (1, 9), (1, 8), (1, 7), (5, 0), (5, 1), (5, 2)];

/// Looks up the devices that a container asks for.
///
/// # Errors
/// One that is not there or is no device, with Docker's text.
pub fn resolve_devices(host_config: &HostConfig) -> Result<DeviceInput> {
    let mut input = DeviceInput::default();
    if host_config.privileged {
        walk(Path::new("/dev"), Path::new("/dev"), "rwm", &mut input.nodes, true);
    }
    for mapping in host_config.resources.devices.iter().flatten() {
        // A privileged container has it at the same path already.
        if host_config.privileged && mapping.path_in_container == mapping.path_on_host {
            continue;
        }
        mapped(mapping, &mut input.nodes)?;
    }
    let limits = &host_config.resources;
    let weights = limits.blkio_weight_device.iter().flatten().map(|device| &device.path);
    let rates = [
        &limits.blkio_device_read_bps,
        &limits.blkio_device_write_bps,
        &limits.blkio_device_read_iops,
        &limits.blkio_device_write_iops,
    ];
    let rates = rates.into_iter().flatten().flatten().map(|device| &device.path);
    for path in weights.chain(rates) {
        let device = node(Path::new(path), Path::new(path), "").filter(|device| device.is_block);
        let device = device.ok_or_else(|| wrong(path, "not a block device"))?;
        input.block.insert(path.clone(), device.number);
    }
    Ok(input)
}

fn wrong(path: &str, reason: &str) -> SpecError {
    SpecError::Device { path: path.to_owned(), reason: reason.to_owned() }
}

fn mapped(mapping: &DeviceMapping, nodes: &mut Vec<Device>) -> Result<()> {
    let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { mapping.cgroup_permissions.as_str() };
    if !access.chars().all(|c| "rwm".contains(c)) {
        return Err(wrong(&mapping.path_on_host, &format!("invalid device mode: {access}")));
    }
    let target = match mapping.path_in_container.as_str() {
        "" => &mapping.path_on_host,
        given => given,
    };
    if !target.starts_with('/') {
        return Err(wrong(&mapping.path_on_host, "its path in the container is not absolute"));
    }
    let on_host = Path::new(&mapping.path_on_host);
    // Links such as /dev/disk/by-id lead to the node; elsewhere they would be a way to any file.
    let on_host =
        fs::canonicalize(on_host).ok().filter(|real| real.starts_with("/dev")).unwrap_or_else(|| on_host.to_owned());
    if let Some(device) = node(&on_host, Path::new(&super::super::parse_clean(target)), access) {
        nodes.push(device);
        return Ok(());
    }
    let before = nodes.len();
    if on_host.is_dir() {
        walk(&on_host, Path::new(target), access, nodes, false);
    }
    if nodes.len() == before {
        let reason = match fs::symlink_metadata(&on_host) {
            Ok(_) => "not a device node".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(wrong(&mapping.path_on_host, &reason));
    }
    Ok(())
}

/// The device node at `path`, without following links.
fn node(path: &Path, target: &Path, access: &str) -> Option<Device> {
    let meta = fs::symlink_metadata(path).ok()?;
    let kind = meta.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return None;
    }
    let part = |value: u64| i64::try_from(value).unwrap_or(-1);
    Some(Device {
        path: target.to_owned(),
        is_block: kind.is_block_device(),
        number: (part(major(meta.rdev())), part(minor(meta.rdev()))),
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        access: access.to_owned(),
    })
}

fn walk(from: &Path, to: &Path, access: &str, nodes: &mut Vec<Device>, skip_own: bool) {
    let Ok(entries) = fs::read_dir(from) else { return };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        if skip_own && OWN.iter().any(|own| name == *own) {
            continue;
        }
        let (path, target) = (from.join(&name), to.join(&name));
        if let Some(device) = node(&path, &target, access) {
            nodes.push(device);
        } else if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            walk(&path, &target, access, nodes, skip_own);
        }
    }
}

/// The nodes to make, and the rules of the device cgroup in their order; the last that fits counts.
pub(super) fn build(input: &SpecInput<'_>) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>)> {
    let mut devices = Vec::new();
    for device in &input.devices.nodes {
        let built = LinuxDeviceBuilder::default()
            .path(device.path.clone())
            .typ(kind(device.is_block))
            .major(device.number.0)
            .minor(device.number.1)
            .file_mode(device.mode)
            .uid(device.owner.0)
            .gid(device.owner.1)
            .build()?;
        devices.push(built);
    }
    if input.host_config.privileged {
        return Ok((devices, vec![rule(true, LinuxDeviceType::A, None, None, "rwm")?]));
    }
    let c = LinuxDeviceType::C;
    let mut rules = vec![
        rule(false, LinuxDeviceType::A, None, None, "rwm")?,
        // Making nodes is harmless, opening them is what matters.
        rule(true, c, None, None, "m")?,
        rule(true, LinuxDeviceType::B, None, None, "m")?,
    ];
    for (major, minor) in DEFAULT {
        rules.push(rule(true, c, Some(major), Some(minor), "rwm")?);
    }
    // The terminals of its own devpts.
    rules.push(rule(true, c, Some(136), None, "rwm")?);
    for device in &input.devices.nodes {
        let (major, minor) = device.number;
        rules.push(rule(true, kind(device.is_block), Some(major), Some(minor), &device.access)?);
    }
    for text in input.host_config.resources.device_cgroup_rules.iter().flatten() {
        rules.push(cgroup_rule(text)?);
    }
    Ok((devices, rules))
}

/// Checks the rules of the device cgroup that a container asks for.
///
/// # Errors
/// `invalid device cgroup rule format: 'x'`, as Docker.
pub(in crate::spec) fn check_rules(host_config: &HostConfig) -> Result<()> {
    host_config.resources.device_cgroup_rules.iter().flatten().try_for_each(|text| cgroup_rule(text).map(drop))
}

fn kind(is_block: bool) -> LinuxDeviceType {
    if is_block { LinuxDeviceType::B } else { LinuxDeviceType::C }
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).access(access).build()?;
    rule.set_typ(Some(kind)).set_major(major).set_minor(minor);
    Ok(rule)
}

/// Reads a rule of the device cgroup: `c 1:3 rwm`, `b *:* r`, `a *:* rwm`.
fn cgroup_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let invalid =
        || SpecError::refused("HostConfig.DeviceCgroupRules", format!("invalid device cgroup rule format: '{text}'"));
    let (kind, number, access) = match text.split(' ').collect::<Vec<_>>()[..] {
        [kind, number, access] => (kind, number, access),
        _ => return Err(invalid()),
    };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(invalid()),
    };
    let part = |text: &str| match text {
        "*" => Ok(None),
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse::<u32>().map(|n| Some(i64::from(n))).map_err(|_| invalid())
        }
        _ => Err(invalid()),
    };
    let (major, minor) = number.split_once(':').ok_or_else(invalid)?;
    if access.is_empty() || access.len() > 3 || !access.chars().all(|c| "rwm".contains(c)) {
        return Err(invalid());
    }
    rule(true, kind, part(major)?, part(minor)?, access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_rules() {
        for (text, expected) in [
            ("c 1:3 rwm", Some((LinuxDeviceType::C, Some(1), Some(3)))),
            ("b *:* r", Some((LinuxDeviceType::B, None, None))),
            ("a *:* rwm", Some((LinuxDeviceType::A, None, None))),
            ("c 189:* w", Some((LinuxDeviceType::C, Some(189), None))),
            ("x 1:3 rwm", None),
            ("c 1:3", None),
            ("c 1 rwm", None),
            ("c 1:3 rwx", None),
            ("c -1:3 r", None),
            ("", None),
        ] {
            let found = cgroup_rule(text).ok().map(|rule| (rule.typ().unwrap(), rule.major(), rule.minor()));
            assert_eq!(found, expected, "{text}");
        }
    }

    fn host_config(path_on_host: &str, access: &str) -> HostConfig {
        let mut host_config = HostConfig::default();
        host_config.resources.devices = Some(vec![DeviceMapping {
            path_on_host: path_on_host.to_owned(),
            path_in_container: "/dev/mine".to_owned(),
            cgroup_permissions: access.to_owned(),
        }]);
        host_config
    }

    #[test]
    fn devices_are_looked_up() {
        let found = resolve_devices(&host_config("/dev/null", "r")).unwrap();
        let device = &found.nodes[0];
        assert_eq!((device.path.to_str(), device.number, device.is_block), (Some("/dev/mine"), (1, 3), false));
        assert_eq!(device.access, "r");
        for (path, access, reason) in [
            ("/etc/passwd", "r", "not a device node"),
            ("/dev/none-such", "r", "No such file or directory (os error 2)"),
            ("/dev/null", "x", "invalid device mode: x"),
        ] {
            let error = resolve_devices(&host_config(path, access)).unwrap_err().to_string();
            let expected = format!("error gathering device information while adding custom device {path:?}: {reason}");
            assert_eq!(error, expected);
        }
        let directory = resolve_devices(&host_config("/dev/pts", "rwm")).unwrap();
        assert!(directory.nodes.iter().all(|node| node.path.starts_with("/dev/mine")));
    }

    #[test]
    fn a_privileged_container_has_all() {
        let found = resolve_devices(&HostConfig { privileged: true, ..Default::default() }).unwrap();
        assert!(found.nodes.iter().any(|node| node.path == Path::new("/dev/null")));
        assert!(!found.nodes.iter().any(|node| node.path.starts_with("/dev/pts/")));
    }
}
