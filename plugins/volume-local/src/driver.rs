//! `<name>/_data` is the volume's data, or where its file system is mounted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sheave_plugin::volume::{Driver, Info, Scope, Spec};
use sheave_plugin::{Action, BindMount, Error, ErrorKind, Label, MakeDir, Mount, MountSource, SetQuota, host};

use crate::{Config, options};

/// The longest name, in bytes: that of a file.
const LONGEST_NAME: usize = 255;

/// The driver; all it knows is in the engine's state.
pub struct Local;

#[derive(Serialize, Deserialize)]
struct Record {
    created: u64,
    options: BTreeMap<String, String>,
}

fn state_key(name: &str) -> String {
    format!("volume/{name}")
}

fn data(name: &str) -> String {
    format!("{name}/_data")
}

fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.len() < 2 {
        return Err(Error::invalid(
            "Name",
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    let first = name.as_bytes()[0].is_ascii_alphanumeric();
    if !first || name.len() > LONGEST_NAME || !name.bytes().all(allowed) {
        let message = format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. \
             If you intended to pass a host directory, use absolute path"
        );
        return Err(Error::invalid("Name", message));
    }
    Ok(())
}

fn read(name: &str) -> Result<Option<Record>, Error> {
    let Some(text) = host::state_get(&state_key(name))? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|e| Error::of(ErrorKind::Internal, format!("the record of volume {name} is damaged: {e}")))
}

fn existing(name: &str) -> Result<Record, Error> {
    read(name)?.ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
}

fn info(name: String, record: Record) -> Info {
    let status = record.options.into_iter().map(|(key, value)| Label { key, value }).collect();
    Info { mountpoint: data(&name), name, created: record.created, status }
}

fn make_dir(path: String, mode: u32) -> Action {
    Action::MakeDir(MakeDir { path, mode, uid: 0, gid: 0 })
}

impl Driver for Local {
    fn new(config: String) -> Result<Self, Error> {
        sheave_plugin::config::<Config>(&config)?;
        Ok(Self)
    }

    fn scope(&self) -> Result<Scope, Error> {
        Ok(Scope::Local)
    }

    fn create(&self, spec: Spec) -> Result<Vec<Action>, Error> {
        check_name(&spec.name)?;
        let options: BTreeMap<_, _> = spec.options.into_iter().map(|l| (l.key, l.value)).collect();
        let wanted = options::read(&options)?;
        if let Some(record) = read(&spec.name)? {
            if record.options == options {
                return Ok(Vec::new());
            }
            return Err(Error::conflict(format!("volume {} exists already with other options", spec.name)));
        }
        let record = Record { created: host::now(), options };
        let text = serde_json::to_string(&record)
            .map_err(|e| Error::of(ErrorKind::Internal, format!("the record of volume {}: {e}", spec.name)))?;
        host::state_set(&state_key(&spec.name), Some(&text))?;
        let mut actions = vec![make_dir(spec.name.clone(), 0o701)];
        if let Some(bytes) = spec.size_bytes.or(wanted.bytes) {
            // Before there is anything in it: what is made in a limited directory is limited with it.
            actions.push(Action::SetQuota(SetQuota { path: spec.name.clone(), bytes }));
        }
        actions.push(make_dir(data(&spec.name), 0o755));
        Ok(actions)
    }

    fn remove(&self, name: String) -> Result<Vec<Action>, Error> {
        existing(&name)?;
        host::state_set(&state_key(&name), None)?;
        Ok(vec![Action::RemoveTree(name)])
    }

    fn mount(&self, name: String, _user: String) -> Result<Vec<Mount>, Error> {
        let source = match options::read(&existing(&name)?.options)?.mount {
            Some(mount) => MountSource::Filesystem(mount),
            None => MountSource::Bind(BindMount { source: data(&name), read_only: false }),
        };
        Ok(vec![Mount { source, target: String::new(), uid_map: Vec::new(), gid_map: Vec::new() }])
    }

    fn unmount(&self, _name: String, _user: String) -> Result<(), Error> {
        Ok(())
    }

    fn list(&self) -> Result<Vec<Info>, Error> {
        let mut infos = Vec::new();
        for key in host::state_list("volume/")? {
            let name = key.strip_prefix("volume/").unwrap_or(&key).to_owned();
            if let Some(record) = read(&name)? {
                infos.push(info(name, record));
            }
        }
        Ok(infos)
    }

    fn get(&self, name: String) -> Result<Info, Error> {
        let record = existing(&name)?;
        Ok(info(name, record))
    }

    fn usage(&self, name: String) -> Result<Vec<String>, Error> {
        let foreign = options::read(&existing(&name)?.options)?.mount.is_some();
        Ok(if foreign { Vec::new() } else { vec![data(&name)] })
    }
}
