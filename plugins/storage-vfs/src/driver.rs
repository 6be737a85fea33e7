//! One directory a snapshot: `<dir>/fs` holds the whole tree.

use sheave_plugin::storage::{Capabilities, Driver, Snapshot, SnapshotKind, Whiteouts};
use sheave_plugin::{
    Action, BindMount, CopyTree, Error, ErrorKind, Finding, Label, MakeDir, Mount, MountSource, SetQuota, label,
    snapshots,
};

use crate::Config;

/// The part of a snapshot's directory that holds its tree.
const TREE: &str = "fs";

/// The driver; all it knows is in the engine's state.
pub struct Vfs;

fn tree(dir: &str) -> String {
    format!("{dir}/{TREE}")
}

fn make_dir(path: String, mode: u32) -> Action {
    Action::MakeDir(MakeDir { path, mode, uid: 0, gid: 0 })
}

impl Driver for Vfs {
    fn new(config: String) -> Result<Self, Error> {
        sheave_plugin::config::<Config>(&config)?;
        Ok(Self)
    }

    fn capabilities(&self) -> Result<Capabilities, Error> {
        let whiteouts = Whiteouts::Applied;
        Ok(Capabilities { independent_layers: false, whiteouts, quota: true, id_map: false, probes: Vec::new() })
    }

    fn prepare(&self, key: String, parent: Option<String>, labels: Vec<Label>) -> Result<Vec<Action>, Error> {
        let record = snapshots::begin(&key, parent.as_deref())?;
        let mut actions = vec![make_dir(record.dir.clone(), 0o700)];
        if let Some(size) = label(&labels, "size") {
            let bytes =
                size.parse().map_err(|_| Error::invalid("size", format!("{size:?} is not a number of bytes")))?;
            actions.push(Action::SetQuota(SetQuota { path: record.dir.clone(), bytes }));
        }
        actions.push(match record.ancestors.first() {
            Some(parent) => Action::CopyTree(CopyTree { source: tree(parent), target: tree(&record.dir) }),
            None => make_dir(tree(&record.dir), 0o755),
        });
        Ok(actions)
    }

    fn mounts(&self, key: String, read_only: bool) -> Result<Vec<Mount>, Error> {
        let record = snapshots::get(&key)?;
        let read_only = read_only || record.kind == SnapshotKind::Committed;
        let source = MountSource::Bind(BindMount { source: tree(&record.dir), read_only });
        Ok(vec![Mount { source, target: String::new(), uid_map: Vec::new(), gid_map: Vec::new() }])
    }

    fn commit(&self, key: String, name: String, parent: Option<String>) -> Result<Vec<Action>, Error> {
        if parent.is_some() && parent != snapshots::get(&key)?.parent {
            let message = "storage-vfs copies the parent when a layer begins; it cannot take another one at commit";
            return Err(Error::of(ErrorKind::Unsupported, message));
        }
        snapshots::commit(&key, &name, parent.as_deref())?;
        Ok(Vec::new())
    }

    fn remove(&self, key: String) -> Result<Vec<Action>, Error> {
        Ok(vec![Action::RemoveTree(snapshots::remove(&key)?.dir)])
    }

    fn list(&self) -> Result<Vec<Snapshot>, Error> {
        snapshots::list(TREE)
    }

    fn usage(&self, key: String) -> Result<Vec<String>, Error> {
        Ok(vec![tree(&snapshots::get(&key)?.dir)])
    }

    fn check(&self, found: Vec<String>) -> Result<Vec<Finding>, Error> {
        snapshots::compare(&found, &[TREE])
    }
}
