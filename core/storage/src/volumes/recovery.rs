//! Bringing the database, the drivers and the disk together after a crash.
//!
//! A volume's data is never removed here: the worst that a wrong record may cost is a volume that is listed again.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};
use sheave_plugin::{Kind, volume::Scope};

use super::copy_up::COPY_PREFIX;
use super::{Doc, Inner, Opened, Row, mounting, rfc3339_now};
use crate::error::{Result, StorageError};
use crate::path::{Relative, TRASH};
use crate::tree::{entries, open_dir, remove_tree};

pub(super) async fn run(inner: &Inner) -> Result<()> {
    for name in inner.host.drivers(Kind::Volume) {
        let driver = inner.driver(&name)?;
        inner.sweeper.remove_all(&driver.root)?;
        one_driver(inner, &name, &driver).await?;
    }
    Ok(())
}

async fn one_driver(inner: &Inner, name: &str, driver: &Opened) -> Result<()> {
    let infos = driver.plugin.list().await.map_err(StorageError::Driver)?;
    let known: BTreeSet<&str> = infos.iter().map(|i| i.name.as_str()).collect();
    let rows: Vec<Row> = inner.database.volumes().all::<Doc>()?.into_iter().filter(|r| r.driver == name).collect();
    for row in &rows {
        if !known.contains(row.name.as_str()) {
            // A removal ended after the driver's part.
            tracing::info!(volume = row.name, "forgotten: its driver does not have it");
            inner.database.volumes().remove(&row.name)?;
        } else if !inner.database.volume_users().of_volume(&row.name)?.iter().any(|(_, mounted)| *mounted) {
            mounting::unmount_point(driver, row)?;
        }
    }
    for info in infos.iter().filter(|i| !rows.iter().any(|r| r.name == i.name)) {
        // A creation ended before the database's part.
        if Relative::parse(&info.mountpoint).is_err() {
            tracing::warn!(volume = info.name, mountpoint = info.mountpoint, "left out: its mount point is refused");
            continue;
        }
        let scope = match driver.plugin.scope().await.map_err(StorageError::Driver)? {
            Scope::Local => "local",
            Scope::Global => "global",
        };
        let doc = Doc {
            created: rfc3339_now(),
            mountpoint: info.mountpoint.clone(),
            scope: scope.to_owned(),
            options: None,
            labels: None,
        };
        tracing::info!(volume = info.name, driver = name, "taken over from its driver");
        inner.database.volumes().insert(&Row { name: info.name.clone(), driver: name.to_owned(), doc })?;
    }
    for info in &infos {
        remove_copies(driver, Path::new(&info.mountpoint))?;
    }
    remove_empty(driver, &infos.iter().map(|i| i.mountpoint.as_str()).collect::<Vec<_>>())
}

/// Removes the copies that a copy-up did not finish, which lie beside the volume's data.
fn remove_copies(driver: &Opened, mountpoint: &Path) -> Result<()> {
    let Some(parent) = mountpoint.parent().filter(|p| !p.as_os_str().is_empty()) else { return Ok(()) };
    let Ok(dir) = open_dir(driver.root.fd(), parent, true) else { return Ok(()) };
    let path = driver.root.path().join(parent);
    for entry in entries(&dir).map_err(StorageError::errno("read directory", path))? {
        if entry.name.as_encoded_bytes().starts_with(COPY_PREFIX.as_bytes()) {
            remove_tree(dir.as_fd(), &entry.name)?;
        }
    }
    Ok(())
}

/// Removes directories that a creation left before its record was kept. Only what is empty goes: no `rmdir` loses data.
fn remove_empty(driver: &Opened, mountpoints: &[&str]) -> Result<()> {
    let failed = |errno: Errno| StorageError::errno("read directory", driver.root.path())(errno);
    for top in entries(driver.root.fd()).map_err(failed)? {
        let owned = mountpoints.iter().any(|p| Path::new(p).starts_with(&top.name));
        if owned || top.name == TRASH {
            continue;
        }
        let Ok(dir) = open_dir(driver.root.fd(), Path::new(&top.name), true) else { continue };
        for below in entries(&dir).map_err(failed)? {
            let _ = unlinkat(&dir, below.name.as_os_str(), UnlinkatFlags::RemoveDir);
        }
        if unlinkat(driver.root.fd(), top.name.as_os_str(), UnlinkatFlags::RemoveDir).is_err() {
            tracing::warn!(path = %driver.root.path().join(&top.name).display(), "belongs to no volume and is not empty");
        }
    }
    Ok(())
}
