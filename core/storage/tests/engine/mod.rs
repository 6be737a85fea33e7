//! A data root in a temporary directory with the linked storage and volume drivers, loaded as the daemon loads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sheave_host::Host;
use sheave_metadata::Database;
use sheave_storage::{Options, Snapshots};
use sheave_telemetry::events::EventBus;

/// It unmounts what a failed test left below it, and is gone with its directory.
pub struct Engine {
    pub database: Database,
    pub host: Host,
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub events: Arc<EventBus>,
    temp: tempfile::TempDir,
}

impl Engine {
    /// A new one.
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub async fn new() -> Self {
        Self::below(&std::env::temp_dir()).await
    }

    /// A new one whose data root lies below `path`.
    pub async fn below(path: &Path) -> Self {
        let temp = tempfile::Builder::new().prefix("sheave-storage-test-").tempdir_in(path).expect("tempdir");
        Self::at(temp).await
    }

    #[allow(dead_code, reason = "each test binary uses a part")]
    /// As the daemon does after a crash: everything that was in memory is forgotten.
    pub async fn restart(self) -> Self {
        Self::at(self.into_temp()).await
    }

    fn into_temp(mut self) -> tempfile::TempDir {
        let other = tempfile::tempdir().expect("tempdir");
        std::mem::replace(&mut self.temp, other)
    }

    async fn at(temp: tempfile::TempDir) -> Self {
        let database = Database::open(&temp.path().join("db")).expect("database");
        let events = Arc::new(EventBus::default());
        let options = sheave_host::Options {
            data_root: temp.path().to_owned(),
            database: database.clone(),
            events: events.clone(),
            metrics: Arc::default(),
            plugins: BTreeMap::new(),
            secrets: BTreeMap::new(),
            hook_order: vec![],
        };
        let linked = [sheave_storage_overlay::linked(), sheave_storage_vfs::linked(), sheave_volume_local::linked()];
        let host = Host::load(&linked, options).await.expect("plugins");
        Self { database, host, events, temp }
    }

    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    #[allow(dead_code, reason = "each test binary uses a part")]
    pub async fn snapshots(&self) -> Snapshots {
        let options = Options { exec_root: self.path().join("run"), driver: None };
        Snapshots::open(self.host.clone(), self.database.clone(), options).await.expect("snapshots")
    }

    /// The mount points below the data root, from the kernel's table.
    pub fn mount_points(&self) -> Vec<PathBuf> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        points.filter(|p| p.starts_with(self.path())).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for point in self.mount_points().into_iter().rev() {
            let _ = nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}
