//! Network namespaces: made and entered on threads of their own, because a thread that changed its namespace must never be
//! used for anything else.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{NetworkError, Result};

fn current() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

fn on_thread<R: Send>(name: &str, f: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, f)
            .map_err(|e| NetworkError::kernel("thread", e))?
            .join()
            .map_err(|_| NetworkError::Ended)?
    })
}

/// Makes a namespace, binds it at `path` so that it lives on, and runs `f` inside of it.
pub(crate) fn create<R: Send>(path: &Path, f: impl FnOnce() -> Result<R> + Send) -> Result<(OwnedFd, R)> {
    on_thread("netns", || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| NetworkError::kernel("new network namespace", e))?;
        let namespace = current().map_err(|e| NetworkError::kernel("new network namespace", e))?;
        bind(path)?;
        match f() {
            Ok(result) => Ok((namespace, result)),
            Err(error) => {
                remove(path)?;
                Err(error)
            }
        }
    })
}

/// Runs `f` on a new thread inside of `namespace`.
pub(crate) fn inside<R: Send>(namespace: BorrowedFd<'_>, f: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    on_thread("netns", || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(|e| NetworkError::kernel("enter network namespace", e))?;
        f()
    })
}

/// Opens the namespace bound at `path`; None if there is none.
pub(crate) fn open(path: &Path) -> Result<Option<OwnedFd>> {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    match File::open(path) {
        Ok(file) => {
            let system = nix::sys::statfs::fstatfs(&file).map_err(|e| NetworkError::kernel("fstatfs", e))?;
            Ok((system.filesystem_type().0 as i64 == NSFS_MAGIC).then(|| file.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetworkError::kernel(format!("open {}", path.display()), error)),
    }
}

fn bind(path: &Path) -> Result<()> {
    let what = || format!("bind network namespace to {}", path.display());
    remove(path)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| NetworkError::kernel(what(), e))?;
    }
    File::options().write(true).create_new(true).open(path).map_err(|e| NetworkError::kernel(what(), e))?;
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| NetworkError::kernel(what(), e))
}

/// Unbinds the namespace at `path`; nothing there is not an error. The kernel removes the namespace with its last user.
pub(crate) fn remove(path: &Path) -> Result<()> {
    while umount2(path, MntFlags::MNT_DETACH).is_ok() {}
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetworkError::kernel(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
