//! Performing a checked plan, so that a failure in the middle undoes what was made.
//!
//! What is removed goes to [`TRASH`] by a rename, which can be taken back; it is really removed only after the plugin's state
//! has been committed. A crash leaves a directory that the driver's `check` calls unknown, or one in the trash.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use crate::error::{Result, StorageError};
use crate::mounts::mount_list;
use crate::path::{Relative, TRASH};
use crate::plan::Step;
use crate::quota;
use crate::tree::{Root, copy_tree, open_dir, remove_tree};

/// How to take one step back.
#[derive(Debug)]
enum Undo {
    /// Remove what this plan made.
    Remove(Relative),
    /// Rename back.
    Rename { from: PathBuf, to: PathBuf },
    /// Unmount.
    Unmount(Relative),
}

/// A plan that is being performed. Dropped without [`Performed::keep`], it is undone as far as it made something new.
#[derive(Debug)]
pub(crate) struct Performed<'a> {
    root: &'a Root,
    undo: Vec<Undo>,
    trash: Vec<OsString>,
}

impl<'a> Performed<'a> {
    /// Begins.
    pub(crate) fn new(root: &'a Root) -> Self {
        Self { root, undo: Vec::new(), trash: Vec::new() }
    }

    /// Performs all steps in their order.
    ///
    /// # Errors
    /// The first that fails; drop `self` then.
    pub(crate) fn all(mut self, steps: &[Step]) -> Result<Self> {
        for step in steps {
            self.step(step)?;
        }
        Ok(self)
    }

    /// Performs one step.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::MakeDir { path, mode, uid, gid } => self.make_dir(path, *mode, *uid, *gid),
            Step::Copy { source, target } => self.copy(source, target),
            Step::Rename { source, target } => self.rename(source, target),
            Step::Remove(path) => self.remove(path),
            Step::Quota { path, bytes } => quota::limit(path, *bytes),
            Step::Mount { at, mount } => {
                mount_list(std::slice::from_ref(mount), &self.root.absolute(at))?.keep();
                self.undo.push(Undo::Unmount(at.clone()));
                Ok(())
            }
        }
    }

    fn failed<'b>(&self, what: &'static str, path: &'b Relative) -> impl Fn(Errno) -> StorageError + use<'b> {
        let absolute = self.root.absolute(path);
        move |errno| StorageError::errno(what, absolute.clone())(errno)
    }

    fn make_dir(&mut self, path: &Relative, mode: u32, uid: u32, gid: u32) -> Result<()> {
        let failed = self.failed("make directory", path);
        let parent = self.root.open_parent(path)?;
        let name = path.split().1;
        match mkdirat(&parent, name, Mode::S_IRWXU) {
            Ok(()) => self.undo.push(Undo::Remove(path.clone())),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let dir = open_dir(&parent, name, false).map_err(&failed)?;
        fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(&failed)?;
        fchmod(&dir, Mode::from_bits_truncate(mode)).map_err(&failed)
    }

    fn copy(&mut self, source: &Relative, target: &Relative) -> Result<()> {
        let from = self.root.open_dir(source)?;
        let parent = self.root.open_parent(target)?;
        match mkdirat(&parent, target.split().1, Mode::S_IRWXU) {
            Ok(()) => self.undo.push(Undo::Remove(target.clone())),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(self.failed("make directory", target)(errno)),
        }
        copy_tree(&from, self.root.open_dir(target)?)
    }

    fn rename(&mut self, source: &Relative, target: &Relative) -> Result<()> {
        let (from, to) = (self.root.open_parent(source)?, self.root.open_parent(target)?);
        renameat(&from, source.split().1, &to, target.split().1).map_err(self.failed("rename", source))?;
        self.undo.push(Undo::Rename { from: target.as_path().to_owned(), to: source.as_path().to_owned() });
        Ok(())
    }

    /// What is not there is removed already: by an earlier try that a crash ended.
    fn remove(&mut self, path: &Relative) -> Result<()> {
        let failed = self.failed("remove", path);
        let parent = match self.root.open_parent(path) {
            Err(StorageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            parent => parent?,
        };
        let name = path.split().1;
        let _: FileStat = match fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()),
            found => found.map_err(&failed)?,
        };
        let aside = trash_name();
        let trash = open_trash(self.root)?;
        renameat(&parent, name, &trash, aside.as_os_str()).map_err(&failed)?;
        let from = Path::new(TRASH).join(&aside);
        self.undo.push(Undo::Rename { from, to: path.as_path().to_owned() });
        self.trash.push(aside);
        Ok(())
    }

    /// Makes it last, and returns the names in the trash that can now be removed for good.
    pub(crate) fn keep(mut self) -> Vec<OsString> {
        self.undo.clear();
        std::mem::take(&mut self.trash)
    }

    fn take_back(&self, undo: &Undo) -> Result<()> {
        match undo {
            Undo::Remove(path) => {
                let name = path.split().1.as_os_str();
                remove_tree(std::os::fd::AsFd::as_fd(&self.root.open_parent(path)?), name)
            }
            Undo::Rename { from, to } => renameat(self.root.fd(), from, self.root.fd(), to)
                .map_err(StorageError::errno("rename back", self.root.path().join(from))),
            Undo::Unmount(at) => {
                let at = self.root.absolute(at);
                nix::mount::umount2(&at, nix::mount::MntFlags::MNT_DETACH).map_err(StorageError::errno("unmount", at))
            }
        }
    }
}

impl Drop for Performed<'_> {
    fn drop(&mut self) {
        for undo in self.undo.iter().rev() {
            if let Err(error) = self.take_back(undo) {
                tracing::warn!(%error, "a failed plan could not be undone; the next recovery removes what is left");
            }
        }
    }
}

/// A name in the trash that nothing has.
pub(crate) fn trash_name() -> OsString {
    sheave_types::Id::random().short().into()
}

/// Opens the trash of a root, making it at its first use.
///
/// # Errors
/// Those of the file system.
pub(crate) fn open_trash(root: &Root) -> Result<std::os::fd::OwnedFd> {
    let failed = || StorageError::errno("open trash", root.path().join(TRASH));
    match mkdirat(root.fd(), TRASH, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(failed()(errno)),
    }
    open_dir(root.fd(), Path::new(TRASH), true).map_err(failed())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// All paths below a directory, but the empty trash.
    fn listing(base: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![base.to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).expect("read") {
                let entry = entry.expect("entry");
                if entry.file_type().expect("type").is_dir() {
                    pending.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found.retain(|p| !p.ends_with(TRASH));
        found.sort();
        found
    }

    fn path(text: &str) -> Relative {
        Relative::parse(text).expect("a good path")
    }

    fn plan() -> Vec<Step> {
        let dir = |p: &str| Step::MakeDir { path: path(p), mode: 0o700, uid: 1, gid: 2 };
        vec![
            dir("new"),
            dir("new/sub"),
            Step::Copy { source: path("old"), target: path("new/copy") },
            Step::Rename { source: path("old"), target: path("moved") },
            Step::Remove(path("other")),
            Step::Remove(path("not-there")),
            dir("other"),
        ]
    }

    fn ground() -> tempfile::TempDir {
        let temp = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(temp.path().join("old/deep")).expect("mkdir");
        fs::write(temp.path().join("old/deep/file"), "x").expect("write");
        fs::create_dir_all(temp.path().join("other/full")).expect("mkdir");
        temp
    }

    #[test]
    fn a_plan_that_stops_anywhere_is_undone() {
        let plan = plan();
        for steps in 0..=plan.len() {
            let temp = ground();
            let before = listing(temp.path());
            let root = Root::open(temp.path()).expect("root");
            let mut performed = Performed::new(&root);
            for step in &plan[..steps] {
                performed.step(step).unwrap_or_else(|e| panic!("{step:?}: {e}"));
            }
            drop(performed);
            assert_eq!(listing(temp.path()), before, "after {steps} steps");
        }
    }

    #[test]
    fn a_plan_that_is_kept_stays() {
        let temp = ground();
        let root = Root::open(temp.path()).expect("root");
        let trash = Performed::new(&root).all(&plan()).expect("perform").keep();
        assert_eq!(trash.len(), 1);
        assert!(temp.path().join("new/copy/deep/file").exists());
        assert!(temp.path().join("moved/deep/file").exists() && !temp.path().join("old").exists());
        assert!(temp.path().join("other").exists() && !temp.path().join("other/full").exists());
        let metadata = fs::metadata(temp.path().join("new")).expect("stat");
        assert_eq!(std::os::unix::fs::MetadataExt::gid(&metadata), 2);
    }

    /// Links that appear after the plan was checked are still not followed.
    #[test]
    fn links_are_not_followed_while_it_is_performed() {
        let temp = ground();
        let outside = tempfile::tempdir().expect("tempdir");
        fs::create_dir(outside.path().join("kept")).expect("mkdir");
        std::os::unix::fs::symlink(outside.path(), temp.path().join("link")).expect("symlink");
        let root = Root::open(temp.path()).expect("root");
        for step in [
            Step::MakeDir { path: path("link"), mode: 0o777, uid: 1, gid: 1 },
            Step::MakeDir { path: path("link/new"), mode: 0o777, uid: 1, gid: 1 },
            Step::Remove(path("link/kept")),
            Step::Rename { source: path("old"), target: path("link/old") },
            Step::Copy { source: path("link"), target: path("copy") },
            Step::Copy { source: path("old"), target: path("link") },
        ] {
            Performed::new(&root).all(std::slice::from_ref(&step)).expect_err(&format!("{step:?}"));
        }
        assert_eq!(fs::read_dir(outside.path()).expect("read").count(), 1);
        assert!(!temp.path().join("copy").exists());
    }
}
