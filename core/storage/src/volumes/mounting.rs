//! Mounting and unmounting volumes, by the containers that use them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use sheave_types::ErrorKind;
use tokio::task::spawn_blocking;

use super::{Inner, Opened, Row};
use crate::error::{Result, StorageError};
use crate::mounts::{ResolvedMount, mount_list, mount_points_below};

/// Makes a volume's data available and notes the user.
pub(super) async fn mount(inner: &Inner, name: &str, user: &str) -> Result<PathBuf> {
    let _claim = inner.claim(name).await;
    let row = inner.row(name)?;
    let driver = inner.driver(&row.driver)?;
    let planned = driver.plugin.mount(name.to_owned(), user.to_owned()).await.map_err(StorageError::Driver)?;
    let mut mounts = driver.site().resolve(&planned)?;
    let known = inner.database.volume_users().of_volume(name)?;
    let again = known.iter().any(|(id, mounted)| *mounted && id == user);
    let (path, fresh) = match mounts.as_slice() {
        [ResolvedMount::Bind { target, source, read_only: false }] if target.as_os_str().is_empty() => {
            (source.clone(), false)
        }
        _ => {
            for one in &mut mounts {
                resolve_server(&row.name, one).await?;
            }
            let point = mount_point(&driver, &row);
            let at = point.clone();
            (point, spawn_blocking(move || mount_once(&mounts, &at)).await??)
        }
    };
    let noted = planned
        .commit()
        .map_err(StorageError::from)
        .and_then(|_| inner.database.volume_users().set_mounted(name, user, true).map_err(StorageError::from));
    if let Err(error) = noted {
        if fresh {
            unmount_point(&driver, &row)?;
        }
        return Err(error);
    }
    if !again {
        inner.publish("mount", &row, Some(user));
    }
    Ok(path)
}

/// Notes that a user's run is over; the last one unmounts.
pub(super) async fn unmount(inner: &Inner, name: &str, user: &str) -> Result<()> {
    let _claim = inner.claim(name).await;
    let row = match inner.row(name) {
        Err(StorageError::NoSuchVolume { .. }) => return Ok(()),
        row => row?,
    };
    let users = inner.database.volume_users();
    let known = users.of_volume(name)?;
    if !known.iter().any(|(id, mounted)| *mounted && id == user) {
        return Ok(());
    }
    let driver = inner.driver(&row.driver)?;
    match driver.plugin.unmount(name.to_owned(), user.to_owned()).await {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(StorageError::Driver(error)),
        _ => {}
    }
    if !known.iter().any(|(id, mounted)| *mounted && id != user) {
        unmount_point(&driver, &row)?;
    }
    users.set_mounted(name, user, false)?;
    inner.publish("unmount", &row, Some(user));
    Ok(())
}

/// Where a volume that needs a mount has it.
fn mount_point(driver: &Opened, row: &Row) -> PathBuf {
    driver.root.path().join(&row.doc.mountpoint)
}

fn is_mounted(point: &Path) -> Result<bool> {
    Ok(mount_points_below(point)?.iter().any(|p| p == point))
}

/// Mounts where nothing is mounted yet; whether it did.
fn mount_once(mounts: &[ResolvedMount], point: &Path) -> Result<bool> {
    if is_mounted(point)? {
        return Ok(false);
    }
    mount_list(mounts, point)?.keep();
    Ok(true)
}

/// Unmounts a volume's mount point, where something is mounted there.
pub(super) fn unmount_point(driver: &Opened, row: &Row) -> Result<()> {
    let point = mount_point(driver, row);
    while is_mounted(&point)? {
        umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(StorageError::errno("unmount", &point))?;
    }
    Ok(())
}

/// The kernel's network file systems take `addr=` as a number only.
async fn resolve_server(volume: &str, mount: &mut ResolvedMount) -> Result<()> {
    let ResolvedMount::Filesystem { fstype, options, .. } = mount else { return Ok(()) };
    if !matches!(fstype.as_str(), "nfs" | "nfs4" | "cifs") {
        return Ok(());
    }
    for option in options {
        let Some(address) = option.strip_prefix("addr=").filter(|a| a.parse::<IpAddr>().is_err()) else { continue };
        let address = address.to_owned();
        let found = tokio::net::lookup_host((address.as_str(), 0)).await;
        let first = found.and_then(|mut all| all.next().ok_or_else(|| std::io::ErrorKind::NotFound.into()));
        let volume = || volume.to_owned();
        let server = first.map_err(|source| StorageError::Resolve { volume: volume(), address, source })?;
        *option = format!("addr={}", server.ip());
    }
    Ok(())
}
