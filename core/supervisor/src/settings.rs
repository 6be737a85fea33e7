//! How the supervisor is set up; given by the daemon's configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sheave_types::Id;

/// Places and defaults.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What outlives a reboot; `/var/lib/sheave`.
    pub data_root: PathBuf,
    /// What does not; `/run/sheave`.
    pub exec_root: PathBuf,
    /// The program `sheave-shim`.
    pub shim: PathBuf,
    /// Runtimes by name, beside the native one.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The one that containers without a wish get; the native one is [`NATIVE`].
    pub default_runtime: String,
    /// The program that `--init` runs as process 1.
    pub init: Option<PathBuf>,
}

/// The name of the runtime that the shim itself is.
pub const NATIVE: &str = "sheave";

/// An OCI runtime program (`[runtimes.<name>]` of the configuration).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The program.
    pub path: PathBuf,
    /// Global arguments before the command.
    #[serde(default)]
    pub args: Vec<String>,
}

/// The files of one container.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `<data-root>/containers/<id>`
    pub bundle: PathBuf,
    /// `<exec-root>/<id>`
    pub run: PathBuf,
    id: String,
}

impl Settings {
    /// The files of a container.
    pub fn paths(&self, id: &Id) -> Paths {
        let id = id.to_string();
        Paths { bundle: self.containers().join(&id), run: self.exec_root.join(&id), id }
    }

    /// The directory of all bundles.
    pub fn containers(&self) -> PathBuf {
        self.data_root.join("containers")
    }
}

impl Paths {
    /// The log.
    pub fn log(&self) -> PathBuf {
        self.bundle.join(format!("{}-json.log", self.id))
    }

    /// `/etc/hosts`
    pub fn hosts(&self) -> PathBuf {
        self.bundle.join("hosts")
    }

    /// `/etc/hostname`
    pub fn hostname(&self) -> PathBuf {
        self.bundle.join("hostname")
    }

    /// `/dev/shm` of a container that lets others share it.
    pub fn shm(&self) -> PathBuf {
        self.run.join("shm")
    }

    /// `/etc/resolv.conf`
    pub fn resolv(&self) -> PathBuf {
        self.bundle.join("resolv.conf")
    }
}

/// Removes a directory that may not be there.
///
/// # Errors
/// Those of the file system.
pub fn remove_dir(path: &Path) -> Result<(), crate::Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(crate::Error::file(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
