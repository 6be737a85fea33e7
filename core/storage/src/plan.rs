//! Plans as they come from plugins, checked whole before the first action is performed.

use std::path::PathBuf;

use sheave_host::Grants;
use sheave_plugin::{Action, Mount, MountSource, OverlayMount};

use crate::error::{Result, StorageError};
use crate::mounts::ResolvedMount;
use crate::path::Relative;
use crate::tree::Root;

/// The most directories that overlayfs stacks.
const MOST_LOWERS: usize = 500;

/// Whose plan it is, and what it may touch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// The plugin's name.
    pub(crate) plugin: &'a str,
    /// Its root.
    pub(crate) root: &'a Root,
    /// Its grants.
    pub(crate) grants: &'a Grants,
}

/// A checked action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a directory, or give an existing one this owner and mode.
    MakeDir { path: Relative, mode: u32, uid: u32, gid: u32 },
    /// Copy a tree.
    Copy { source: Relative, target: Relative },
    /// Rename.
    Rename { source: Relative, target: Relative },
    /// Remove a tree.
    Remove(Relative),
    /// Mount below the root.
    Mount { at: Relative, mount: ResolvedMount },
    /// Limit a directory.
    Quota { path: Relative, bytes: u64 },
}

impl Site<'_> {
    /// Checks every action of a plan.
    ///
    /// # Errors
    /// The first that is refused.
    pub(crate) fn check(&self, actions: &[Action]) -> Result<Vec<Step>> {
        actions.iter().map(|action| self.check_action(action)).collect()
    }

    fn check_action(&self, action: &Action) -> Result<Step> {
        Ok(match action {
            Action::MakeDir(dir) => {
                if dir.mode & !0o7777 != 0 {
                    return Err(self.refused(format!("mode {:o}", dir.mode), "a mode has twelve bits"));
                }
                Step::MakeDir { path: self.path(&dir.path)?, mode: dir.mode, uid: dir.uid, gid: dir.gid }
            }
            Action::CopyTree(copy) => {
                let (source, target) = self.two_paths(&copy.source, &copy.target)?;
                Step::Copy { source, target }
            }
            Action::Rename(rename) => {
                let (source, target) = self.two_paths(&rename.source, &rename.target)?;
                Step::Rename { source, target }
            }
            Action::RemoveTree(path) => Step::Remove(self.path(path)?),
            Action::SetQuota(quota) => Step::Quota { path: self.path(&quota.path)?, bytes: quota.bytes },
            Action::Mount(mount) => {
                let at = self.path(&mount.target)?;
                let whole = Mount { target: String::new(), ..mount.clone() };
                Step::Mount { at, mount: self.resolve_one(&whole)? }
            }
        })
    }

    /// Neither of the two may lie in the other.
    fn two_paths(&self, source: &str, target: &str) -> Result<(Relative, Relative)> {
        let (from, to) = (self.path(source)?, self.path(target)?);
        if from.as_path().starts_with(to.as_path()) || to.as_path().starts_with(from.as_path()) {
            return Err(self.refused(format!("{source} to {target}"), "one lies in the other"));
        }
        Ok((from, to))
    }

    /// A path of the plan, on whose way no symbolic link lies.
    fn path(&self, text: &str) -> Result<Relative> {
        let fault =
            |reason: String| StorageError::Path { plugin: self.plugin.to_owned(), path: text.to_owned(), reason };
        let path = Relative::parse(text).map_err(|reason| fault(reason.to_owned()))?;
        self.root.check_way(&path).map_err(fault)?;
        Ok(path)
    }

    fn refused(&self, what: String, reason: &'static str) -> StorageError {
        StorageError::Refused { plugin: self.plugin.to_owned(), what, reason }
    }

    /// Makes a driver's mounts absolute and checks them against its grants.
    ///
    /// # Errors
    /// The first mount that is refused, or whose directories do not exist.
    pub(crate) fn resolve(&self, mounts: &[Mount]) -> Result<Vec<ResolvedMount>> {
        mounts.iter().map(|mount| self.resolve_one(mount)).collect()
    }

    fn resolve_one(&self, mount: &Mount) -> Result<ResolvedMount> {
        if !mount.uid_map.is_empty() || !mount.gid_map.is_empty() {
            let reason = format!("{} asks for a mount with id maps", self.plugin);
            return Err(StorageError::Unsupported { what: "an id-mapped mount", reason });
        }
        let target = match mount.target.as_str() {
            "" => PathBuf::new(),
            text => {
                let fault = |reason: &str| StorageError::Path {
                    plugin: self.plugin.to_owned(),
                    path: text.to_owned(),
                    reason: reason.to_owned(),
                };
                Relative::parse(text).map_err(fault)?.as_path().to_owned()
            }
        };
        match &mount.source {
            MountSource::Overlay(overlay) => self.overlay(target, overlay),
            MountSource::Bind(bind) => {
                let source = self.directory(&bind.source)?;
                Ok(ResolvedMount::Bind { target, source, read_only: bind.read_only })
            }
            MountSource::Filesystem(fs) => {
                if !self.grants.allows_mount_type(&fs.fstype) {
                    let (plugin, fstype) = (self.plugin.to_owned(), fs.fstype.clone());
                    return Err(StorageError::NotGranted { plugin, fstype });
                }
                let text = fs.options.iter().chain([&fs.source, &fs.fstype]);
                if text.into_iter().any(|t| t.contains(['\0', '\n'])) {
                    return Err(self.refused(format!("a mount of {}", fs.fstype), "a line or string ends in an option"));
                }
                let (fstype, source, options) = (fs.fstype.clone(), fs.source.clone(), fs.options.clone());
                Ok(ResolvedMount::Filesystem { target, fstype, source, options })
            }
        }
    }

    fn overlay(&self, target: PathBuf, overlay: &OverlayMount) -> Result<ResolvedMount> {
        const RESERVED: [&str; 4] = ["lowerdir", "upperdir", "workdir", "datadir"];
        let refused = |reason| self.refused("an overlay mount".to_owned(), reason);
        if overlay.lowers.is_empty() || overlay.lowers.len() > MOST_LOWERS {
            return Err(refused("it has 1 to 500 lower directories"));
        }
        if overlay.upper.is_some() != overlay.work.is_some() {
            return Err(refused("an upper and a work directory need each other"));
        }
        for option in &overlay.options {
            let name = option.split(['=', '+']).next().unwrap_or_default();
            if name.is_empty() || RESERVED.contains(&name) || option.contains([',', '\0', '\\', '\n']) {
                return Err(refused("its directories are not options, and an option is one"));
            }
        }
        let directory = |path: &String| self.directory(path);
        Ok(ResolvedMount::Overlay {
            target,
            lowers: overlay.lowers.iter().map(directory).collect::<Result<_>>()?,
            upper: overlay.upper.as_ref().map(directory).transpose()?,
            work: overlay.work.as_ref().map(directory).transpose()?,
            options: overlay.options.clone(),
        })
    }

    /// The absolute path of a directory below the root, which exists and is no link.
    fn directory(&self, text: &str) -> Result<PathBuf> {
        let path = self.path(text)?;
        self.root.open_dir(&path)?;
        Ok(self.root.absolute(&path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sheave_plugin::{BindMount, CopyTree, FsMount, MakeDir, RenameTree};

    use super::*;

    fn bind(source: &str) -> Mount {
        let source = MountSource::Bind(BindMount { source: source.into(), read_only: false });
        Mount { source, target: String::new(), uid_map: vec![], gid_map: vec![] }
    }

    fn dir(path: &str, mode: u32) -> Action {
        Action::MakeDir(MakeDir { path: path.into(), mode, uid: 0, gid: 0 })
    }

    fn site_of(root: &Root, grants: &Grants, test: impl FnOnce(Site<'_>)) {
        test(Site { plugin: "storage-test", root, grants });
    }

    #[test]
    fn refuses_before_anything_is_done() {
        let temp = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(temp.path().join("real/sub")).expect("mkdir");
        std::os::unix::fs::symlink("/etc", temp.path().join("link")).expect("symlink");
        std::os::unix::fs::symlink("real", temp.path().join("inner")).expect("symlink");
        let root = Root::open(temp.path()).expect("root");
        let copy = |a: &str, b: &str| Action::CopyTree(CopyTree { source: a.into(), target: b.into() });
        let rename = |a: &str, b: &str| Action::Rename(RenameTree { source: a.into(), target: b.into() });
        site_of(&root, &Grants::default(), |site| {
            for (action, good) in [
                (dir("new", 0o755), true),
                (dir("not/yet/there", 0o1777), true),
                (dir("new", 0o10_0755), false),
                (dir("../new", 0o755), false),
                (dir("/etc/new", 0o755), false),
                (dir("link/new", 0o755), false),
                (dir("inner/sub", 0o755), false),
                (copy("real", "other"), true),
                (copy("real", "real/sub/x"), false),
                (copy("real/sub", "real"), false),
                (copy("link/ssh", "other"), false),
                (rename("real", "link/x"), false),
                (rename("real", ".trash/x"), false),
                (Action::RemoveTree("real/sub".into()), true),
                (Action::RemoveTree("..".into()), false),
                (Action::RemoveTree("link/passwd".into()), false),
                (Action::RemoveTree(String::new()), false),
                (Action::Mount(Mount { target: "real/sub".into(), ..bind("real") }), true),
                (Action::Mount(Mount { target: "link/x".into(), ..bind("real") }), false),
            ] {
                assert_eq!(site.check(std::slice::from_ref(&action)).is_ok(), good, "{action:?}");
            }
        });
        assert!(!temp.path().join("new").exists());
    }

    #[test]
    fn mounts_are_checked_against_grants() {
        let temp = tempfile::tempdir().expect("tempdir");
        for part in ["l", "u", "w"] {
            fs::create_dir(temp.path().join(part)).expect("mkdir");
        }
        std::os::unix::fs::symlink("/etc", temp.path().join("link")).expect("symlink");
        let root = Root::open(temp.path()).expect("root");
        let overlay = |lowers: &[&str], upper: Option<&str>, work: Option<&str>, option: &str| Mount {
            source: MountSource::Overlay(OverlayMount {
                lowers: lowers.iter().map(|l| (*l).to_owned()).collect(),
                upper: upper.map(Into::into),
                work: work.map(Into::into),
                options: vec![option.to_owned()],
            }),
            ..bind("l")
        };
        let fs = |fstype: &str| Mount {
            source: MountSource::Filesystem(FsMount { fstype: fstype.into(), source: "x".into(), options: vec![] }),
            ..bind("l")
        };
        let grants = Grants { mount_types: vec!["tmpfs".into()], ..Grants::default() };
        site_of(&root, &grants, |site| {
            for (mount, good) in [
                (bind("l"), true),
                (bind("missing"), false),
                (bind("link"), false),
                (Mount { target: "../x".into(), ..bind("l") }, false),
                (overlay(&["l"], Some("u"), Some("w"), "index=off"), true),
                (overlay(&["l"], Some("u"), None, "index=off"), false),
                (overlay(&[], Some("u"), Some("w"), "index=off"), false),
                (overlay(&["l", "link"], None, None, "index=off"), false),
                (overlay(&["l"], Some("u"), Some("w"), "lowerdir=/etc"), false),
                (overlay(&["l"], Some("u"), Some("w"), "lowerdir+=/etc"), false),
                (overlay(&["l"], Some("u"), Some("w"), "xino=off,upperdir=/etc"), false),
                (overlay(&["l:u"], None, None, "index=off"), false),
                (fs("tmpfs"), true),
                (fs("ext4"), false),
            ] {
                assert_eq!(site.resolve(std::slice::from_ref(&mount)).is_ok(), good, "{mount:?}");
            }
        });
    }
}
