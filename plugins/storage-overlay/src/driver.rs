//! One directory a snapshot: `<dir>/fs` holds the layer's own changes, `<dir>/work` is overlayfs's while it is written.
//!
//! Names are short on purpose: the list of a chain's directories is one mount option, which has one page.

use sheave_plugin::snapshots::{self, Record};
use sheave_plugin::storage::{Capabilities, Driver, Snapshot, SnapshotKind, Whiteouts};
use sheave_plugin::{
    Action, BindMount, Error, Finding, Label, MakeDir, Mount, MountSource, OverlayMount, SetQuota, label,
};

use crate::Config;

/// The part of a snapshot's directory that holds its changes.
const LAYER: &str = "fs";

/// The driver; all it knows is in the engine's state.
pub struct Overlay {
    options: Vec<String>,
}

fn layer(dir: &str) -> String {
    format!("{dir}/{LAYER}")
}

fn work(dir: &str) -> String {
    format!("{dir}/work")
}

fn make_dir(path: String, mode: u32) -> Action {
    Action::MakeDir(MakeDir { path, mode, uid: 0, gid: 0 })
}

fn whole(source: MountSource) -> Mount {
    Mount { source, target: String::new(), uid_map: Vec::new(), gid_map: Vec::new() }
}

impl Overlay {
    fn overlay(&self, lowers: Vec<String>, writable: Option<&str>) -> Mount {
        let (upper, work) = (writable.map(layer), writable.map(work));
        whole(MountSource::Overlay(OverlayMount { lowers, upper, work, options: self.options.clone() }))
    }

    fn mount(&self, record: &Record, read_only: bool) -> Mount {
        let parents = record.ancestors.iter().map(|dir| layer(dir));
        if record.ancestors.is_empty() {
            return whole(MountSource::Bind(BindMount { source: layer(&record.dir), read_only }));
        }
        if read_only {
            let lowers = std::iter::once(layer(&record.dir)).chain(parents).collect();
            return self.overlay(lowers, None);
        }
        self.overlay(parents.collect(), Some(&record.dir))
    }
}

impl Driver for Overlay {
    fn new(config: String) -> Result<Self, Error> {
        Ok(Self { options: sheave_plugin::config::<Config>(&config)?.mount_options()? })
    }

    fn capabilities(&self) -> Result<Capabilities, Error> {
        let written = self.overlay(vec!["probe/lower".to_owned()], Some("probe"));
        let read = self.overlay(vec![layer("probe"), "probe/lower".to_owned()], None);
        Ok(Capabilities {
            independent_layers: true,
            whiteouts: Whiteouts::Overlay,
            quota: true,
            id_map: false,
            probes: vec![written, read],
        })
    }

    fn prepare(&self, key: String, parent: Option<String>, labels: Vec<Label>) -> Result<Vec<Action>, Error> {
        let record = snapshots::begin(&key, parent.as_deref())?;
        let mut actions = vec![make_dir(record.dir.clone(), 0o700)];
        if let Some(size) = label(&labels, "size") {
            let bytes =
                size.parse().map_err(|_| Error::invalid("size", format!("{size:?} is not a number of bytes")))?;
            actions.push(Action::SetQuota(SetQuota { path: record.dir.clone(), bytes }));
        }
        actions.push(make_dir(layer(&record.dir), 0o755));
        if parent.is_some() {
            actions.push(make_dir(work(&record.dir), 0o700));
        }
        Ok(actions)
    }

    fn mounts(&self, key: String, read_only: bool) -> Result<Vec<Mount>, Error> {
        let record = snapshots::get(&key)?;
        let read_only = read_only || record.kind == SnapshotKind::Committed;
        Ok(vec![self.mount(&record, read_only)])
    }

    fn commit(&self, key: String, name: String, parent: Option<String>) -> Result<Vec<Action>, Error> {
        snapshots::commit(&key, &name, parent.as_deref())?;
        Ok(Vec::new())
    }

    fn remove(&self, key: String) -> Result<Vec<Action>, Error> {
        Ok(vec![Action::RemoveTree(snapshots::remove(&key)?.dir)])
    }

    fn list(&self) -> Result<Vec<Snapshot>, Error> {
        snapshots::list(LAYER)
    }

    fn usage(&self, key: String) -> Result<Vec<String>, Error> {
        Ok(vec![layer(&snapshots::get(&key)?.dir)])
    }

    fn check(&self, found: Vec<String>) -> Result<Vec<Finding>, Error> {
        snapshots::compare(&found, &[LAYER])
    }
}
