//! What a container mounts: `Binds`, `Mounts`, `Tmpfs`, `Volumes` and `VolumesFrom`, as one list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sheave_api::containers::{BindOptions, ContainerConfig, HostConfig, Mount, TmpfsOptions, VolumeOptions};

use crate::spec::error::{Result, SpecError};

/// How a mount and its source share what is mounted below them, `mount_namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names of the kernel")]
pub enum Propagation {
    #[default]
    RPrivate,
    Private,
    RShared,
    Shared,
    RSlave,
    Slave,
}

impl Propagation {
    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "rprivate" => Self::RPrivate,
            "private" => Self::Private,
            "rshared" => Self::RShared,
            "shared" => Self::Shared,
            "rslave" => Self::RSlave,
            "slave" => Self::Slave,
            _ => return None,
        })
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RPrivate => "rprivate",
            Self::Private => "private",
            Self::RShared => "rshared",
            Self::Shared => "shared",
            Self::RSlave => "rslave",
            Self::Slave => "slave",
        })
    }
}

/// A mount as it was asked for, whichever way; sources are not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountRequest {
    /// The long form, with its options; short forms are written in it.
    pub spec: Mount,
    /// Path in the container, cleaned.
    pub destination: String,
    /// Whether it is writable.
    pub rw: bool,
    /// The options of a short form as given, for inspect.
    pub mode: String,
    /// How it propagates; for volumes nothing is done.
    pub propagation: Propagation,
    /// A missing source directory of a bind is made, as for all of `Binds`.
    pub create_source: bool,
    /// An empty volume gets what the image has there.
    pub copy_up: bool,
}

impl MountRequest {
    /// Whether a volume without a name is made for it.
    pub fn is_anonymous_volume(&self) -> bool {
        self.spec.kind == "volume" && self.spec.source.is_empty()
    }
}

/// A container whose mounts are taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    /// Its name or id.
    pub container: String,
    /// Whether what is writable there is writable here.
    pub rw: bool,
    /// The mode as given, `rw` by default.
    pub mode: String,
}

/// Removes `.`, `..` and double slashes from an absolute path by its text alone.
pub(in crate::spec) fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

#[derive(Default)]
struct Mode {
    rw: bool,
    propagation: Option<Propagation>,
    no_copy: bool,
}

/// Reads `ro,z,rslave`; of each sort there may be one.
fn mode(text: &str) -> Option<Mode> {
    let mut read = Mode { rw: true, ..Mode::default() };
    if text.is_empty() {
        return Some(read);
    }
    let mut seen = BTreeSet::new();
    for option in text.split(',') {
        let sort = match option {
            "ro" | "rw" => {
                read.rw = option == "rw";
                0
            }
            // SELinux relabelling; without SELinux there is nothing to do.
            "z" | "Z" => 1,
            "nocopy" => {
                read.no_copy = true;
                2
            }
            "consistent" | "cached" | "delegated" => 3,
            other => {
                read.propagation = Some(Propagation::from_name(other)?);
                4
            }
        };
        if !seen.insert(sort) {
            return None;
        }
    }
    Some(read)
}

fn invalid_spec(raw: &str) -> SpecError {
    SpecError::refused("HostConfig.Binds", format!("invalid volume specification: '{raw}'"))
}

/// Reads one of `Binds`: `[source:]destination[:options]`; an absolute source is a host path, another a volume's name.
fn bind(raw: &str, volume_driver: &str) -> Result<MountRequest> {
    let parts: Vec<_> = raw.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] if !target.is_empty() => ("", target, ""),
        // `/path:ro` would be a volume with options and no place.
        [source, target] if !source.is_empty() && mode(target).is_none() => (source, target, ""),
        [source, target, options] if !source.is_empty() => (source, target, options),
        _ => return Err(invalid_spec(raw)),
    };
    let read =
        mode(options).ok_or_else(|| SpecError::refused("HostConfig.Binds", format!("invalid mode: {options}")))?;
    let is_bind = source.starts_with('/');
    let mut spec = Mount {
        kind: if is_bind { "bind" } else { "volume" }.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: !read.rw,
        ..Mount::default()
    };
    if !is_bind && (!volume_driver.is_empty() || read.no_copy) {
        let driver = (!volume_driver.is_empty()).then(|| sheave_api::containers::VolumeDriverConfig {
            name: volume_driver.to_owned(),
            ..Default::default()
        });
        spec.volume_options =
            Some(VolumeOptions { no_copy: read.no_copy, driver_config: driver, ..Default::default() });
    }
    if let Some(propagation) = read.propagation {
        spec.bind_options = Some(BindOptions { propagation: propagation.to_string(), ..Default::default() });
    }
    let mut request = long(&spec, Way::Short).map_err(|error| {
        SpecError::refused("HostConfig.Binds", format!("invalid volume specification: '{raw}': {error}"))
    })?;
    options.clone_into(&mut request.mode);
    request.create_source = is_bind;
    Ok(request)
}

/// Which form a mount was given in; anonymous read-only volumes are forbidden in the long one only.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Short,
    Long,
}

fn absolute(kind: &str, path: &str) -> Result<()> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(());
    }
    let reason = format!("invalid mount path: '{path}' mount path must be absolute");
    Err(SpecError::Mount { kind: kind.to_owned(), reason })
}

fn is_local(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// Reads one of `Mounts`.
fn long(spec: &Mount, way: Way) -> Result<MountRequest> {
    let fail = |reason: &str| Err(SpecError::Mount { kind: spec.kind.clone(), reason: reason.to_owned() });
    if spec.target.is_empty() {
        return fail("field Target must not be empty");
    }
    if clean(&spec.target) == "/" {
        return fail("invalid specification: destination can't be '/'");
    }
    absolute(&spec.kind, &spec.target)?;
    let mut request = MountRequest {
        destination: clean(&spec.target),
        rw: !spec.read_only,
        spec: spec.clone(),
        ..MountRequest::default()
    };
    match spec.kind.as_str() {
        "bind" => {
            if spec.source.is_empty() {
                return fail("field Source must not be empty");
            }
            if spec.volume_options.is_some() {
                return fail("field VolumeOptions must not be specified");
            }
            absolute(&spec.kind, &spec.source)?;
            request.spec.source = clean(&spec.source);
            if let Some(options) = &spec.bind_options {
                request.create_source = options.create_mountpoint;
                if !options.propagation.is_empty() {
                    request.propagation = Propagation::from_name(&options.propagation).ok_or(SpecError::Mount {
                        kind: spec.kind.clone(),
                        reason: format!("invalid propagation mode: {}", options.propagation),
                    })?;
                }
            }
        }
        "volume" => volume(spec, &mut request, way)?,
        "tmpfs" => {
            if spec.bind_options.is_some() {
                return fail("field BindOptions must not be specified");
            }
            if !spec.source.is_empty() {
                return fail("field Source must not be specified");
            }
            tmpfs_options(spec)?;
        }
        "image" => {
            if spec.bind_options.is_some() {
                return fail("field BindOptions must not be specified");
            }
            if spec.source.is_empty() {
                return fail("field Source must not be empty");
            }
            if spec.image_options.as_ref().is_some_and(|o| !o.subpath.is_empty() && !is_local(&o.subpath)) {
                return fail("subpath must be a relative path within the volume");
            }
        }
        _ => return fail("mount type unknown"),
    }
    Ok(request)
}

fn volume(spec: &Mount, request: &mut MountRequest, way: Way) -> Result<()> {
    let fail = |reason: &str| Err(SpecError::Mount { kind: spec.kind.clone(), reason: reason.to_owned() });
    let anonymous = spec.source.is_empty();
    let options = spec.volume_options.as_ref();
    if spec.bind_options.is_some() {
        return fail("field BindOptions must not be specified");
    }
    if let Some(subpath) = options.map(|o| o.subpath.as_str()).filter(|s| !s.is_empty()) {
        if anonymous {
            return fail("must not set Subpath when using anonymous volumes");
        }
        if !is_local(subpath) {
            return fail("subpath must be a relative path within the volume");
        }
    }
    if way == Way::Long && spec.read_only && anonymous {
        return fail("must not set ReadOnly mode when using anonymous volumes");
    }
    request.copy_up = !options.is_some_and(|o| o.no_copy);
    Ok(())
}

/// The options of a `tmpfs` mount in its long form, as the short form has them.
///
/// # Errors
/// An option that is not allowed.
fn tmpfs_options(spec: &Mount) -> Result<Vec<String>> {
    let mut options = Vec::new();
    if spec.read_only {
        options.push("ro".to_owned());
    }
    let none = TmpfsOptions::default();
    let given = spec.tmpfs_options.as_ref().unwrap_or(&none);
    if given.mode != 0 {
        options.push(format!("mode={:o}", given.mode));
    }
    if given.size_bytes != 0 {
        options.push(format!("size={}", given.size_bytes));
    }
    for option in &given.options {
        match option.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [flag @ ("exec" | "noexec")] => options.push(flag.to_owned()),
            [name, ..] if option.len() <= 2 => {
                return Err(SpecError::Mount { kind: spec.kind.clone(), reason: format!("invalid option: {name}") });
            }
            _ => {
                let reason = "invalid option array length".to_owned();
                return Err(SpecError::Mount { kind: spec.kind.clone(), reason });
            }
        }
    }
    Ok(options)
}

impl MountRequest {
    /// The error for a source that is not there and is not made: `bind source path does not exist: /x`, as Docker.
    pub fn missing_source(&self) -> SpecError {
        let reason = format!("bind source path does not exist: {}", self.spec.source);
        SpecError::Mount { kind: self.spec.kind.clone(), reason }
    }

    /// The options of a `tmpfs` mount, as in a mount table.
    ///
    /// # Errors
    /// An option that is not allowed.
    pub fn tmpfs_options(&self) -> Result<Vec<String>> {
        tmpfs_options(&self.spec)
    }
}

/// Everything a container mounts beside what it takes from other containers, by Docker's precedence: `Mounts` and
/// `Binds` may not meet, both hide the image's volumes, and so does `Tmpfs` (which is not in the list: it is given to
/// the specification as it is).
///
/// # Errors
/// Docker's texts: a wrong short or long form, `Duplicate mount point: /x`.
pub fn requested_mounts(config: &ContainerConfig, host_config: &HostConfig) -> Result<Vec<MountRequest>> {
    let mut mounts: BTreeMap<String, MountRequest> = BTreeMap::new();
    let binds = host_config.binds.iter().flatten().map(|raw| bind(raw, &host_config.volume_driver));
    let longs = host_config.mounts.iter().map(|spec| long(spec, Way::Long));
    for request in binds.chain(longs) {
        let request = request?;
        let destination = request.destination.clone();
        if host_config.tmpfs.keys().any(|path| clean(path) == destination)
            || mounts.insert(destination.clone(), request).is_some()
        {
            return Err(SpecError::refused("HostConfig.Mounts", format!("Duplicate mount point: {destination}")));
        }
    }
    for path in config.volumes.iter().flatten().map(|(path, _)| path) {
        let destination = clean(path);
        if mounts.contains_key(&destination) || host_config.tmpfs.keys().any(|path| clean(path) == destination) {
            continue;
        }
        let driver = (!host_config.volume_driver.is_empty()).then(|| VolumeOptions {
            driver_config: Some(sheave_api::containers::VolumeDriverConfig {
                name: host_config.volume_driver.clone(),
                ..Default::default()
            }),
            ..VolumeOptions::default()
        });
        let spec =
            Mount { kind: "volume".to_owned(), target: path.clone(), volume_options: driver, ..Mount::default() };
        mounts.insert(destination, long(&spec, Way::Short)?);
    }
    Ok(mounts.into_values().collect())
}

/// Reads one of `VolumesFrom`: `container[:mode]`.
///
/// # Errors
/// Docker's texts.
pub fn volumes_from(text: &str) -> Result<VolumesFrom> {
    let refuse = |text: String| Err(SpecError::refused("HostConfig.VolumesFrom", text));
    if text.is_empty() {
        return refuse("volumes-from specification cannot be an empty string".to_owned());
    }
    let (container, given) = text.split_once(':').unwrap_or((text, ""));
    let given = if given.is_empty() { "rw" } else { given };
    match mode(given) {
        Some(read) if read.propagation.is_none() && !read.no_copy => {
            Ok(VolumesFrom { container: container.to_owned(), rw: read.rw, mode: given.to_owned() })
        }
        _ => refuse(format!("invalid mode: {given}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sheave_api::containers::Empty;

    use super::*;

    fn check(raw: &str, expected: Result<(&str, &str, &str, bool), &str>) {
        let found = bind(raw, "");
        let found = found
            .as_ref()
            .map(|m| (m.spec.kind.as_str(), m.spec.source.as_str(), m.destination.as_str(), m.rw))
            .map_err(ToString::to_string);
        assert_eq!(found, expected.map_err(str::to_owned), "{raw}");
    }

    #[test]
    fn binds() {
        check("/a:/b", Ok(("bind", "/a", "/b", true)));
        check("/a/../c/:/b//d/", Ok(("bind", "/c", "/b/d", true)));
        check("/a:/b:ro", Ok(("bind", "/a", "/b", false)));
        check("/a:/b:ro,rslave,z", Ok(("bind", "/a", "/b", false)));
        check("vol:/b", Ok(("volume", "vol", "/b", true)));
        check("vol:/b:nocopy", Ok(("volume", "vol", "/b", true)));
        check("/b", Ok(("volume", "", "/b", true)));
        check("/b:ro", Err("invalid volume specification: '/b:ro'"));
        check("a:b:c:d", Err("invalid volume specification: 'a:b:c:d'"));
        check("", Err("invalid volume specification: ''"));
        check(":/b", Err("invalid volume specification: ':/b'"));
        check("/a:/b:foo", Err("invalid mode: foo"));
        check("/a:/b:ro,rw", Err("invalid mode: ro,rw"));
        check(
            "/a:b",
            Err("invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: \
                 'b' mount path must be absolute"),
        );
        check(
            "/a:/",
            Err("invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid \
                 specification: destination can't be '/'"),
        );
    }

    #[test]
    fn propagation_and_creation_of_binds() {
        let request = bind("/a:/b:rslave", "").unwrap();
        assert_eq!((request.propagation, request.create_source), (Propagation::RSlave, true));
        assert_eq!(request.mode, "rslave");
        let volume = bind("v:/b", "nfs").unwrap();
        assert_eq!(volume.spec.volume_options.unwrap().driver_config.unwrap().name, "nfs");
        assert!(volume.copy_up && !volume.create_source);
    }

    fn check_long(json: serde_json::Value, expected: Result<&str, &str>) {
        let spec: Mount = serde_json::from_value(json.clone()).unwrap();
        let found = long(&spec, Way::Long).map(|m| m.destination).map_err(|e| e.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{json}");
    }

    #[test]
    fn long_forms() {
        use serde_json::json;
        check_long(json!({"Type": "bind", "Source": "/a", "Target": "/b"}), Ok("/b"));
        check_long(json!({"Type": "volume", "Target": "/b"}), Ok("/b"));
        check_long(json!({"Type": "tmpfs", "Target": "/b", "TmpfsOptions": {"SizeBytes": 5}}), Ok("/b"));
        check_long(json!({"Type": "image", "Source": "x", "Target": "/b"}), Ok("/b"));
        for (json, reason) in [
            (json!({"Type": "bind", "Source": "/a"}), "field Target must not be empty"),
            (json!({"Type": "bind", "Target": "/b"}), "field Source must not be empty"),
            (
                json!({"Type": "bind", "Source": "a", "Target": "/b"}),
                "invalid mount path: 'a' mount path must be absolute",
            ),
            (
                json!({"Type": "bind", "Source": "/a", "Target": "/b", "VolumeOptions": {}}),
                "field VolumeOptions must not be specified",
            ),
            (
                json!({"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "x"}}),
                "invalid propagation mode: x",
            ),
            (
                json!({"Type": "volume", "Target": "/b", "ReadOnly": true}),
                "must not set ReadOnly mode when using anonymous volumes",
            ),
            (
                json!({"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions": {"Subpath": "../x"}}),
                "subpath must be a relative path within the volume",
            ),
            (json!({"Type": "tmpfs", "Source": "v", "Target": "/b"}), "field Source must not be specified"),
            (
                json!({"Type": "tmpfs", "Target": "/b", "TmpfsOptions": {"Options": [["uid", "1"]]}}),
                "invalid option: uid",
            ),
            (json!({"Type": "npipe", "Source": "v", "Target": "/b"}), "mount type unknown"),
        ] {
            let kind = json["Type"].as_str().unwrap().to_owned();
            check_long(json, Err(&format!("invalid mount config for type \"{kind}\": {reason}")));
        }
    }

    #[test]
    fn one_place_is_mounted_once() {
        let config = ContainerConfig {
            volumes: Some(
                [("/data/".to_owned(), Empty {}), ("/x".to_owned(), Empty {}), ("/t".to_owned(), Empty {})].into(),
            ),
            ..Default::default()
        };
        let mut host = HostConfig { binds: Some(vec!["/src:/data".to_owned()]), ..Default::default() };
        host.tmpfs.insert("/t".to_owned(), String::new());
        let found = requested_mounts(&config, &host).unwrap();
        let found: Vec<_> = found.iter().map(|m| (m.destination.as_str(), m.is_anonymous_volume())).collect();
        assert_eq!(found, [("/data", false), ("/x", true)]);
        host.mounts.push(Mount { kind: "volume".into(), target: "/data/".into(), ..Default::default() });
        assert_eq!(requested_mounts(&config, &host).unwrap_err().to_string(), "Duplicate mount point: /data");
    }

    #[test]
    fn other_containers() {
        let read = |text| volumes_from(text).map_err(|e| e.to_string());
        assert_eq!(read("a:ro").unwrap(), VolumesFrom { container: "a".into(), rw: false, mode: "ro".into() });
        assert_eq!(read("a").unwrap().mode, "rw");
        assert_eq!(read("a:rslave").unwrap_err(), "invalid mode: rslave");
        assert_eq!(read("").unwrap_err(), "volumes-from specification cannot be an empty string");
    }

    proptest! {
        #[test]
        fn what_is_read_is_absolute_and_clean(raw in "[/a.:,ro-]{0,24}") {
            if let Ok(request) = bind(&raw, "") {
                prop_assert!(request.destination.starts_with('/') && request.destination.len() > 1);
                prop_assert!(!request.destination.split('/').any(|part| part == ".."));
                prop_assert_eq!(clean(&request.destination), request.destination.clone());
                if request.spec.kind == "bind" {
                    prop_assert_eq!(clean(&request.spec.source), request.spec.source);
                }
            }
        }

        #[test]
        fn nothing_panics(raw in "\\PC{0,32}") {
            let _ = (bind(&raw, ""), volumes_from(&raw));
        }
    }
}
