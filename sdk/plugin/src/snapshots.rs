//! Records of snapshots in the plugin's durable state, for storage drivers.
//!
//! A driver gives each snapshot one directory of its own at the top of its root, under a short random name, and keeps what
//! it knows about the snapshot here. The writes belong to the running call: when its plan fails they never happened, and
//! the directory that a crash left behind is `unknown` to [`compare`].
//!
//! ```text
//! prepare ──► active ──commit──► committed ──► parent of others
//!               └──────remove──────┴──► gone
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::host;
use crate::storage::{Snapshot, SnapshotKind};
use crate::{Error, ErrorKind, Finding, FindingKind};

/// What a driver knows about one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its directory at the top of the driver's root: ten letters and digits.
    pub dir: String,
    /// Whether it can still be written.
    pub kind: SnapshotKind,
    /// The name of the committed snapshot it is based on.
    pub parent: Option<String>,
    /// The directories of its parent and that one's parents, the nearest first. They never change while this record exists,
    /// because a snapshot with children cannot be removed.
    pub ancestors: Vec<String>,
}

/// The longest key or name, in bytes.
const LONGEST_KEY: usize = 128;

fn snapshot(key: &str) -> String {
    format!("snapshot/{key}")
}

fn child(parent: &str, key: &str) -> String {
    format!("child/{parent}/{key}")
}

fn check_key(field: &str, key: &str) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(allowed) {
        let message =
            format!("{key:?} is not a snapshot {field}: one to {LONGEST_KEY} of letters, digits, '.', '_', '-'");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

fn read(key: &str) -> Result<Option<Record>, Error> {
    let Some(text) = host::state_get(&snapshot(key))? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|e| Error::of(ErrorKind::Internal, format!("the record of snapshot {key} is damaged: {e}")))
}

fn write(key: &str, record: &Record) -> Result<(), Error> {
    let text = serde_json::to_string(record)
        .map_err(|e| Error::of(ErrorKind::Internal, format!("the record of snapshot {key} cannot be written: {e}")))?;
    host::state_set(&snapshot(key), Some(&text))
}

/// Fifty random bits as letters and digits: a name that no directory left by a crash has.
fn new_dir() -> Result<String, Error> {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let random = host::random()?;
    Ok((0..10).map(|i| char::from(DIGITS[(random >> (5 * i)) as usize % 32])).collect())
}

fn ancestors(parent: Option<&str>) -> Result<Vec<String>, Error> {
    let Some(parent) = parent else { return Ok(Vec::new()) };
    let record = read(parent)?.ok_or_else(|| Error::not_found(format!("parent snapshot {parent} does not exist")))?;
    if record.kind != SnapshotKind::Committed {
        return Err(Error::conflict(format!("snapshot {parent} is not committed yet, so it cannot be a parent")));
    }
    let mut dirs = vec![record.dir];
    dirs.extend(record.ancestors);
    Ok(dirs)
}

/// The record of a snapshot, active or committed.
///
/// # Errors
/// `not-found`; those of the state.
pub fn get(key: &str) -> Result<Record, Error> {
    read(key)?.ok_or_else(|| Error::not_found(format!("snapshot {key} does not exist")))
}

/// Begins an active snapshot; its directory is the caller's to make.
///
/// # Errors
/// `invalid` for a key of another form, `conflict` where it exists, `not-found` for a missing parent.
pub fn begin(key: &str, parent: Option<&str>) -> Result<Record, Error> {
    check_key("key", key)?;
    if read(key)?.is_some() {
        return Err(Error::conflict(format!("snapshot {key} exists already")));
    }
    let ancestors = ancestors(parent)?;
    let record = Record { dir: new_dir()?, kind: SnapshotKind::Active, parent: parent.map(str::to_owned), ancestors };
    write(key, &record)?;
    if let Some(parent) = parent {
        host::state_set(&child(parent, key), Some(""))?;
    }
    Ok(record)
}

/// Turns the active snapshot `key` into the committed `name`; it keeps its directory. `parent` replaces the parent of [`begin`].
///
/// # Errors
/// `not-found` for the key or the parent, `conflict` where `key` is committed or `name` exists, `invalid` for a name of another form.
pub fn commit(key: &str, name: &str, parent: Option<&str>) -> Result<Record, Error> {
    check_key("name", name)?;
    let mut record = get(key)?;
    if record.kind != SnapshotKind::Active {
        return Err(Error::conflict(format!("snapshot {key} is committed already")));
    }
    if read(name)?.is_some() {
        return Err(Error::conflict(format!("snapshot {name} exists already")));
    }
    if let Some(old) = &record.parent {
        host::state_set(&child(old, key), None)?;
    }
    if parent.is_some() {
        record.ancestors = ancestors(parent)?;
        record.parent = parent.map(str::to_owned);
    }
    if let Some(parent) = &record.parent {
        host::state_set(&child(parent, name), Some(""))?;
    }
    record.kind = SnapshotKind::Committed;
    host::state_set(&snapshot(key), None)?;
    write(name, &record)?;
    Ok(record)
}

/// Forgets a snapshot; its directory is the caller's to remove.
///
/// # Errors
/// `not-found`, `conflict` where it has children.
pub fn remove(key: &str) -> Result<Record, Error> {
    let record = get(key)?;
    let children = host::state_list(&child(key, ""))?;
    if let Some(first) = children.first() {
        let first = first.rsplit('/').next().unwrap_or_default();
        return Err(Error::conflict(format!("snapshot {key} is the parent of {first} ({} in all)", children.len())));
    }
    if let Some(parent) = &record.parent {
        host::state_set(&child(parent, key), None)?;
    }
    host::state_set(&snapshot(key), None)?;
    Ok(record)
}

/// All records with their keys.
///
/// # Errors
/// Those of the state.
pub fn all() -> Result<Vec<(String, Record)>, Error> {
    let mut records = Vec::new();
    for state_key in host::state_list("snapshot/")? {
        let key = state_key.strip_prefix("snapshot/").unwrap_or(&state_key).to_owned();
        if let Some(record) = read(&key)? {
            records.push((key, record));
        }
    }
    Ok(records)
}

/// All snapshots in the form of the interface; `below` is the part of each directory that belongs to the snapshot's content.
///
/// # Errors
/// Those of the state.
pub fn list(below: &str) -> Result<Vec<Snapshot>, Error> {
    let snapshots = all()?.into_iter().map(|(key, record)| Snapshot {
        key,
        parent: record.parent,
        kind: record.kind,
        paths: vec![format!("{}/{below}", record.dir)],
    });
    Ok(snapshots.collect())
}

/// Compares the records with what the core found below the driver's root: each record needs its directory with `needs` in
/// it, and a directory at the top that no record names is `unknown`. A finding's key is the snapshot's key where it has
/// one, and the path below the root where nobody knows it.
///
/// # Errors
/// Those of the state.
pub fn compare(found: &[String], needs: &[&str]) -> Result<Vec<Finding>, Error> {
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let records = all()?;
    let mut findings = Vec::new();
    for (key, record) in &records {
        if !found.contains(record.dir.as_str()) {
            let message = format!("the directory {} is gone", record.dir);
            findings.push(Finding { kind: FindingKind::Missing, key: key.clone(), message });
        } else if let Some(part) = needs.iter().find(|p| !found.contains(format!("{}/{p}", record.dir).as_str())) {
            let message = format!("{}/{part} is gone", record.dir);
            findings.push(Finding { kind: FindingKind::Broken, key: key.clone(), message });
        }
    }
    let known: BTreeSet<&str> = records.iter().map(|(_, r)| r.dir.as_str()).collect();
    for path in found.iter().filter(|p| !p.contains('/') && !known.contains(**p)) {
        let message = format!("no snapshot owns {path}");
        findings.push(Finding { kind: FindingKind::Unknown, key: (*path).to_owned(), message });
    }
    Ok(findings)
}
