//! Freezing and thawing all processes of a container.

use std::path::Path;

use nix::errno::Errno;

use super::{Cgroups, pause, write_file};
use crate::sys;

/// How often the state is looked at, and how long it is waited in between.
const TRIES: u32 = 400;
const PAUSE_MS: u8 = 5;

impl Cgroups {
    /// Freezes all processes and waits until they are. Thaws them again where that takes more than two seconds.
    pub fn freeze(&self) -> sys::Result<()> {
        let result = self.set_frozen(true);
        if result.is_err() {
            // The failure is what is reported.
            let _ = self.set_frozen(false);
        }
        result
    }

    /// Thaws all processes.
    pub fn thaw(&self) -> sys::Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> sys::Result<()> {
        let has_freezer = |names: &[String]| names.iter().any(|name| name == "freezer");
        if self.hierarchies.iter().any(|hierarchy| has_freezer(&hierarchy.controllers)) {
            let file = self.dir("freezer").ok_or(Errno::ENODEV)?.join("freezer.state");
            let state = if frozen { "FROZEN" } else { "THAWED" };
            // Written again each time: a process that forks at this moment keeps the state at FREEZING.
            return wait(|| {
                write(&file, state)?;
                Ok(read(&file)?.trim() == state)
            });
        }
        let dir = self.unified_dir().ok_or(Errno::ENODEV)?;
        write(&dir.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        let line = if frozen { "frozen 1" } else { "frozen 0" };
        wait(|| Ok(read(&dir.join("cgroup.events"))?.lines().any(|found| found == line)))
    }
}

fn wait(mut is_done: impl FnMut() -> sys::Result<bool>) -> sys::Result<()> {
    for _ in 0..TRIES {
        if is_done()? {
            return Ok(());
        }
        pause(PAUSE_MS);
    }
    Err(Errno::ETIMEDOUT)
}

fn write(path: &Path, value: &str) -> sys::Result<()> {
    write_file(path, value).map_err(errno)
}

fn read(path: &Path) -> sys::Result<String> {
    std::fs::read_to_string(path).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
