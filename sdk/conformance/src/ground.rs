//! A directory in which a suite really performs a driver's actions and mounts, as root.
//!
//! It is simple where the engine is careful (it runs `cp` and `mount`), and it undoes nothing: a plan that fails fails the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sheave_plugin::{Action, Mount, MountSource};

use crate::rule;

/// A driver's root and a place to mount its snapshots, both in a temporary directory that vanishes with this value.
pub struct Ground {
    base: PathBuf,
}

impl Ground {
    /// A new one.
    ///
    /// # Panics
    /// Where it does not run as root: a suite that did not look at real trees would prove little.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        let root = status.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"));
        assert!(root, "a conformance suite makes mounts and needs root");
        let name = format!("sheave-conformance-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let base = std::env::temp_dir().join(name);
        for part in ["root", "at"] {
            fs::create_dir_all(base.join(part)).expect("a temporary directory");
        }
        Self { base }
    }

    /// The driver's root.
    pub fn root(&self) -> PathBuf {
        self.base.join("root")
    }

    /// Performs a plan.
    pub fn act(&self, actions: &[Action]) {
        for action in actions {
            self.one(action);
        }
    }

    fn one(&self, action: &Action) {
        match action {
            Action::MakeDir(dir) => {
                let path = self.below(&dir.path);
                let parent = path.parent().expect("a relative path has a parent below the root");
                rule!(parent.is_dir(), "Makes a directory whose parent exists.", "{action:?}");
                if !path.is_dir() {
                    fs::create_dir(&path).unwrap_or_else(|e| panic!("{action:?}: {e}"));
                }
                chown(&path, Some(dir.uid), Some(dir.gid)).unwrap_or_else(|e| panic!("{action:?}: {e}"));
                let mode = fs::Permissions::from_mode(dir.mode);
                fs::set_permissions(&path, mode).unwrap_or_else(|e| panic!("{action:?}: {e}"));
            }
            Action::CopyTree(copy) => {
                let (source, target) = (self.below(&copy.source), self.below(&copy.target));
                run(Command::new("cp").arg("-aT").arg(source).arg(target));
            }
            Action::Rename(rename) => {
                fs::rename(self.below(&rename.source), self.below(&rename.target))
                    .unwrap_or_else(|e| panic!("{action:?}: {e}"));
            }
            Action::RemoveTree(path) => {
                fs::remove_dir_all(self.below(path)).unwrap_or_else(|e| panic!("{action:?}: {e}"));
            }
            Action::Mount(_) | Action::SetQuota(_) => panic!("the suite asked for nothing that needs {action:?}"),
        }
    }

    /// Mounts a snapshot or volume, gives the place to `look`, and unmounts it.
    pub fn mounted<R>(&self, mounts: &[Mount], look: impl FnOnce(&Path) -> R) -> R {
        let at = self.base.join("at");
        let guard = Unmount(at.clone());
        for mount in mounts {
            self.mount(mount, &at);
        }
        let result = look(&at);
        drop(guard);
        result
    }

    fn mount(&self, mount: &Mount, at: &Path) {
        let target = if mount.target.is_empty() { at.to_owned() } else { at.join(&mount.target) };
        let mut command = Command::new("mount");
        command.current_dir(self.root());
        match &mount.source {
            MountSource::Overlay(overlay) => {
                for path in overlay.lowers.iter().chain(&overlay.upper).chain(&overlay.work) {
                    self.below(path);
                }
                let mut options = vec![format!("lowerdir={}", overlay.lowers.join(":"))];
                options.extend(overlay.upper.iter().map(|upper| format!("upperdir={upper}")));
                options.extend(overlay.work.iter().map(|work| format!("workdir={work}")));
                options.extend(overlay.options.iter().cloned());
                run(command.args(["-t", "overlay", "overlay", "-o", &options.join(",")]).arg(target));
            }
            MountSource::Bind(bind) => {
                run(command.arg("--bind").arg(self.below(&bind.source)).arg(&target));
                if bind.read_only {
                    run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&target));
                }
            }
            MountSource::Filesystem(fs) => {
                let options = if fs.options.is_empty() { "defaults".to_owned() } else { fs.options.join(",") };
                run(command.args(["-t", &fs.fstype, "-o", &options, &fs.source]).arg(target));
            }
        }
    }

    /// A path of the driver's answer below its root.
    pub fn below(&self, path: &str) -> PathBuf {
        let plain = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
        rule!(plain && !path.is_empty(), "Paths are relative to the driver's root.", "{path:?}");
        self.root().join(path)
    }

    /// What the engine finds below the driver's root, to a depth of two levels, as `check` receives it.
    pub fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        for top in names(&self.root()) {
            let path = self.root().join(&top);
            if path.is_dir() {
                found.extend(names(&path).into_iter().map(|name| format!("{top}/{name}")));
            }
            found.push(top);
        }
        found.sort();
        found
    }
}

impl Default for Ground {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(Unmount(self.base.join("at")));
        let _ = fs::remove_dir_all(&self.base);
    }
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let is_mounted = |place: &Path| {
            let place = place.to_string_lossy().into_owned();
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            table.lines().any(|line| line.split(' ').nth(4) == Some(place.as_str()))
        };
        while is_mounted(&self.0) {
            if !Command::new("umount").arg("-R").arg(&self.0).status().is_ok_and(|s| s.success()) {
                break;
            }
        }
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
