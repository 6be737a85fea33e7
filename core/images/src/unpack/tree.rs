//! The directory that a layer is unpacked into, and the only way to its paths.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::LayerError;

/// A path of a layer in its plain form: no `..`, no `.`, not absolute; empty for the root.
///
/// # Errors
/// `Escapes` if it leads out of the root.
pub(super) fn normal(raw: &Path) -> Result<PathBuf, LayerError> {
    let mut path = PathBuf::new();
    for component in raw.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return Err(LayerError::Escapes(raw.to_owned()));
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

/// A name below an opened directory.
pub(super) struct Place {
    pub(super) parent: Rc<OwnedFd>,
    pub(super) name: OsString,
}

impl Place {
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// What is there, without following a symlink.
    pub(super) fn stat(&self) -> Result<Option<FileStat>, Errno> {
        match fstatat(self.dir(), self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The path of system calls that take no descriptor; it resolves nothing but this name.
    pub(super) fn proc_path(&self) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.parent.as_raw_fd()));
        path.push(&self.name);
        path
    }
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether this is overlayfs' mark of a removed name.
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

/// A directory that paths are resolved in.
pub(crate) struct Tree {
    root: Rc<OwnedFd>,
    /// The directory of the last entry: most follow others of the same directory.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    implicit: Vec<PathBuf>,
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Tree {
    pub(crate) fn open(path: &Path) -> Result<Self, LayerError> {
        let root = nix::fcntl::open(path, DIRECTORY, Mode::empty()).map_err(|e| LayerError::write(path, e))?;
        Ok(Self { root: Rc::new(root), last: None, implicit: Vec::new() })
    }

    /// Opens a path below the root; symlinks in it are resolved as if the root were `/`.
    pub(super) fn resolve(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
        loop {
            // EAGAIN: something was renamed meanwhile, and the kernel could not be sure.
            match openat2(self.root.as_fd(), path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return other,
            }
        }
    }

    /// Opens the directory of a name; what is missing of it is made if `make` is set.
    pub(super) fn place(&mut self, path: &Path, make: bool) -> Result<Place, LayerError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(LayerError::Escapes(path.to_owned()));
        };
        let parent = self.directory(parent, make)?;
        Ok(Place { parent, name: name.to_owned() })
    }

    /// Opens a directory of the tree.
    pub(super) fn directory(&mut self, path: &Path, make: bool) -> Result<Rc<OwnedFd>, LayerError> {
        if path.as_os_str().is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(fd));
        }
        let fd = match self.resolve(path, DIRECTORY) {
            Err(Errno::ENOENT) if make => self.make(path)?,
            other => other.map_err(|e| LayerError::write(path, e))?,
        };
        let fd = Rc::new(fd);
        self.last = Some((path.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    fn make(&mut self, path: &Path) -> Result<OwnedFd, LayerError> {
        let mut parent = Rc::clone(&self.root);
        let mut so_far = PathBuf::new();
        for name in path.components() {
            so_far.push(name);
            let fd = match self.resolve(&so_far, DIRECTORY) {
                Err(Errno::ENOENT) => {
                    match mkdirat(parent.as_fd(), name.as_os_str(), Mode::from_bits_truncate(0o755)) {
                        Ok(()) => {}
                        // A symlink to what this layer does not hold: only the parent knows what is there.
                        Err(Errno::EEXIST) => return Err(LayerError::NeedsParent(so_far)),
                        Err(e) => return Err(LayerError::write(&so_far, e)),
                    }
                    self.implicit.push(so_far.clone());
                    self.resolve(&so_far, DIRECTORY)
                }
                other => other,
            };
            parent = Rc::new(fd.map_err(|e| LayerError::write(&so_far, e))?);
        }
        Rc::try_unwrap(parent).map_err(|_| LayerError::Escapes(path.to_owned()))
    }

    /// To be called when a name was removed or replaced: a directory opened before may be another one now.
    pub(super) fn changed(&mut self) {
        self.last = None;
    }

    /// The directories made because something below them was; the uppermost first.
    pub(super) fn implicit(&self) -> &[PathBuf] {
        &self.implicit
    }

    /// Removes a name with all below it.
    pub(super) fn remove(&mut self, place: &Place, path: &Path) -> Result<(), LayerError> {
        self.changed();
        remove_below(place.dir(), &place.name, path, &|_| false).map(|_| ())
    }

    /// Removes a name with all below it, but nothing that `keep` names.
    pub(super) fn remove_except(
        &mut self,
        place: &Place,
        path: &Path,
        keep: &dyn Fn(&Path) -> bool,
    ) -> Result<(), LayerError> {
        self.changed();
        remove_below(place.dir(), &place.name, path, keep).map(|_| ())
    }

    /// Removes all below a directory, but nothing that `keep` names.
    pub(super) fn empty_except(&mut self, path: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<(), LayerError> {
        self.changed();
        let directory = self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW);
        let directory = directory.map_err(|e| LayerError::write(path, e))?;
        for name in names(directory.as_fd()).map_err(|e| LayerError::write(path, e))? {
            remove_below(directory.as_fd(), &name, &path.join(&name), keep)?;
        }
        Ok(())
    }
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(directory, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let name = entry?.file_name().to_bytes().to_owned();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(&name).to_owned());
        }
    }
    Ok(names)
}

/// Whether the name is gone; false if something that is kept is below it.
fn remove_below(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    keep: &dyn Fn(&Path) -> bool,
) -> Result<bool, LayerError> {
    if keep(path)
        && !matches!(fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW), Ok(s) if kind(&s) == SFlag::S_IFDIR)
    {
        return Ok(false);
    }
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(true),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(e) => return Err(LayerError::write(path, e)),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let below = nix::fcntl::openat(directory, name, flags, Mode::empty()).map_err(|e| LayerError::write(path, e))?;
    let mut all = true;
    for child in names(below.as_fd()).map_err(|e| LayerError::write(path, e))? {
        all &= remove_below(below.as_fd(), &child, &path.join(&child), keep)?;
    }
    if !all || keep(path) {
        return Ok(false);
    }
    unlinkat(directory, name, UnlinkatFlags::RemoveDir).map_err(|e| LayerError::write(path, e))?;
    Ok(true)
}

/// The root as a file, for questions about its file system.
impl TryFrom<&Tree> for File {
    type Error = LayerError;

    fn try_from(tree: &Tree) -> Result<Self, LayerError> {
        let fd = tree.resolve(Path::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY);
        fd.map(File::from).map_err(|e| LayerError::write(Path::new("/"), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_forms() {
        for (raw, plain) in [
            ("a/b", Some("a/b")),
            ("./a/./b/", Some("a/b")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a/../b", Some("b")),
            ("./", Some("")),
            ("/", Some("")),
            ("..", None),
            ("a/../../b", None),
            ("/../x", None),
        ] {
            assert_eq!(normal(Path::new(raw)).ok(), plain.map(PathBuf::from), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_form_stays_inside(raw in "[./a]{0,30}") {
            if let Ok(path) = normal(Path::new(&raw)) {
                prop_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
            }
        }
    }
}
