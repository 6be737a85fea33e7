//! What a crash left in the storage drivers' directories, and taking it away.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::mount::{MntFlags, umount2};
use sheave_plugin::storage::SnapshotKind;
use sheave_plugin::{Finding, FindingKind};
use sheave_types::ErrorKind;
use tokio::task::spawn_blocking;

use crate::error::{Result, StorageError};
use crate::mounts::mount_points_below;
use crate::path::{Relative, TRASH};
use crate::perform::{open_trash, trash_name};
use crate::snapshots::{Inner, Ready};
use crate::tree::{Root, entries, open_dir};

/// A committed snapshot whose directory is gone or damaged: the layer must be unpacked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The driver's short name.
    pub driver: String,
    /// The snapshot.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

/// What [`crate::Snapshots::recover`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Mounts of the daemon that were taken away.
    pub unmounted: usize,
    /// Directories that no snapshot owned.
    pub unknown: usize,
    /// Snapshots that were being unpacked, or whose directory was gone.
    pub removed: usize,
    /// Snapshots that are damaged.
    pub lost: Vec<Lost>,
}

/// Recovers every usable driver.
pub(crate) async fn run(inner: &Inner) -> Result<Recovery> {
    let mut recovery = Recovery::default();
    let mounts = inner.mounts().to_owned();
    recovery.unmounted = spawn_blocking(move || unmount_all(&mounts)).await??;
    for ready in inner.usable().await.0 {
        inner.sweeper().remove_all(&ready.root)?;
        driver(inner, &ready, &mut recovery).await?;
    }
    if recovery != Recovery::default() {
        tracing::info!(?recovery, "storage recovered");
    }
    Ok(recovery)
}

async fn driver(inner: &Inner, ready: &Arc<Ready>, recovery: &mut Recovery) -> Result<()> {
    for finding in inner.findings(ready).await? {
        match finding.kind {
            FindingKind::Unknown => {
                discard(inner, ready, &finding)?;
                recovery.unknown += 1;
            }
            FindingKind::Missing | FindingKind::Broken => damaged(inner, ready, finding, recovery).await?,
        }
    }
    for snapshot in ready.plugin.list().await.map_err(StorageError::Driver)? {
        if snapshot.kind == SnapshotKind::Active && snapshot.key.starts_with("unpack-") {
            inner.remove(ready.clone(), &snapshot.key).await?;
            recovery.removed += 1;
        }
    }
    Ok(())
}

/// Puts what no record names into the trash.
fn discard(inner: &Inner, ready: &Ready, finding: &Finding) -> Result<()> {
    let fault = |reason: String| StorageError::Path {
        plugin: ready.plugin.name().to_owned(),
        path: finding.key.clone(),
        reason,
    };
    let path = Relative::parse(&finding.key).map_err(|reason| fault(reason.to_owned()))?;
    ready.root.check_way(&path).map_err(fault)?;
    let aside = trash_name();
    let trash = open_trash(&ready.root)?;
    renameat(ready.root.fd(), path.as_path(), &trash, aside.as_os_str())
        .map_err(StorageError::errno("remove", ready.root.absolute(&path)))?;
    tracing::info!(driver = ready.plugin.driver(), path = %path, "removed what no snapshot owns");
    inner.sweeper().remove(&ready.root, vec![aside]);
    Ok(())
}

/// Forgets a snapshot without its directory, so that its layer is unpacked again at the next use.
async fn damaged(inner: &Inner, ready: &Arc<Ready>, finding: Finding, recovery: &mut Recovery) -> Result<()> {
    let driver = ready.plugin.driver().to_owned();
    tracing::warn!(driver, snapshot = finding.key, reason = finding.message, "snapshot is damaged");
    for chain in inner.database().chains().all()? {
        let same = chain.snapshot == finding.key && inner.host_name(&chain.driver) == Some(driver.as_str().to_owned());
        if same {
            inner.database().chains().remove(&chain.chain, &chain.driver)?;
        }
    }
    match inner.remove(ready.clone(), &finding.key).await {
        Ok(()) => recovery.removed += 1,
        Err(StorageError::Driver(error)) if error.kind() == ErrorKind::Conflict => {
            tracing::warn!(driver, %error, "a damaged snapshot is in use");
        }
        Err(error) => return Err(error),
    }
    recovery.lost.push(Lost { driver, key: finding.key, message: finding.message });
    Ok(())
}

/// Unmounts all that lies below the directory of the daemon's own mounts.
fn unmount_all(base: &Path) -> Result<usize> {
    let mut unmounted = 0;
    for point in mount_points_below(base)? {
        umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(StorageError::errno("unmount", &point))?;
        unmounted += 1;
    }
    for entry in std::fs::read_dir(base).map_err(StorageError::io("read directory", base))? {
        let path = entry.map_err(StorageError::io("read directory", base))?.path();
        // Only ever an empty mount point; with something in it, it is left for a person to look at.
        if let Err(error) = std::fs::remove_dir(&path) {
            tracing::warn!(path = %path.display(), %error, "an old mount point stays");
        }
    }
    Ok(unmounted)
}

/// The names below a root to a depth of two levels, without the engine's own.
pub(crate) fn two_levels(root: &Root) -> Result<Vec<String>> {
    let failed = |errno: Errno| StorageError::errno("read directory", root.path())(errno);
    let text = |name: &OsString| name.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for top in entries(root.fd()).map_err(failed)? {
        if top.name == TRASH {
            continue;
        }
        found.push(text(&top.name));
        match open_dir(root.fd(), Path::new(&top.name), true) {
            Ok(dir) => {
                let below = entries(&dir).map_err(failed)?;
                found.extend(below.iter().map(|e| format!("{}/{}", text(&top.name), text(&e.name))));
            }
            Err(Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::ENOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    found.sort();
    Ok(found)
}
