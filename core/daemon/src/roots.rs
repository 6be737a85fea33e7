//! The daemon's directories, the locks on them, and the pidfile.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::DaemonError;

/// The directories of a running daemon; nobody else uses them while this lives.
pub struct Roots {
    _data: Flock<File>,
    _exec: Flock<File>,
    pidfile: PathBuf,
}

impl Roots {
    /// Makes the directories where they are missing, locks them and writes the pidfile.
    ///
    /// # Errors
    /// [`DaemonError::Locked`] when another daemon has one of them; [`DaemonError::Io`].
    pub fn claim(data: &Path, exec: &Path, pidfile: &Path) -> Result<Self, DaemonError> {
        // Others may pass through the data root (volumes are theirs by their own modes), but not list it.
        let data_lock = claim(data, 0o711)?;
        let exec_lock = claim(exec, 0o711)?;
        write_pidfile(pidfile)?;
        Ok(Self { _data: data_lock, _exec: exec_lock, pidfile: pidfile.to_owned() })
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.pidfile);
    }
}

fn claim(dir: &Path, mode: u32) -> Result<Flock<File>, DaemonError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DaemonError::Io { path, source }
    };
    DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(failed(dir))?;
    let path = dir.join("sheaved.lock");
    let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
    match Flock::lock(file.map_err(failed(&path))?, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let written =
                lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
            written.map_err(failed(&path))?;
            Ok(lock)
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let read = file.read_to_string(&mut pid);
            let pid = if read.is_ok() && !pid.is_empty() { pid } else { "unknown".to_owned() };
            Err(DaemonError::Locked { path: dir.to_owned(), pid })
        }
        Err((_, errno)) => Err(failed(&path)(errno.into())),
    }
}

/// A file that names a process which still is a daemon is left alone.
fn write_pidfile(path: &Path) -> Result<(), DaemonError> {
    let failed = |source| DaemonError::Io { path: path.to_owned(), source };
    if let Ok(text) = fs::read_to_string(path) {
        let pid = text.trim().to_owned();
        let is_daemon = |pid: u32| {
            pid != std::process::id()
                && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "sheaved")
        };
        if pid.parse().is_ok_and(is_daemon) {
            return Err(DaemonError::Locked { path: path.to_owned(), pid });
        }
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, format!("{}\n", std::process::id())).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_daemons_do_not_share() {
        let dir = tempfile::tempdir().unwrap();
        let [data, exec, other, pidfile] = ["data", "exec", "other", "pid"].map(|n| dir.path().join(n));
        let roots = Roots::claim(&data, &exec, &pidfile).expect("first");
        let own = std::process::id().to_string();
        assert_eq!(fs::read_to_string(&pidfile).unwrap().trim(), own);
        for (data, exec) in [(&data, &other), (&other, &exec)] {
            match Roots::claim(data, exec, &dir.path().join("pid2")) {
                Err(DaemonError::Locked { pid, .. }) => assert_eq!(pid, own),
                other => panic!("{:?}", other.err()),
            }
        }
        drop(roots);
        assert!(!pidfile.exists());
        Roots::claim(&data, &exec, &pidfile).expect("free again");
    }
}
