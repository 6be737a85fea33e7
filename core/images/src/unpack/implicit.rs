//! Directories that a layer does not name but puts something into: they keep the attributes that the parent gives them.

use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};

use super::attributes::{set_time, set_xattr};
use super::tree::{Tree, kind};
use crate::error::LayerError;

/// Gives each of `implicit` below `layer` the owner, mode, times and extended attributes of the same path below `parent`, the
/// mounted parent. Directories that the parent does not have stay as they are.
///
/// # Errors
/// [`LayerError::NeedsParent`] if the parent has something other than a directory there, which the layer would hide.
pub(crate) fn adopt_attributes(layer: &Path, parent: &Path, implicit: &[PathBuf]) -> Result<(), LayerError> {
    let mut tree = Tree::open(layer)?;
    let above = Tree::open(parent)?;
    for path in implicit {
        let Ok(model) = above.resolve(path, OFlag::O_PATH | OFlag::O_NOFOLLOW) else { continue };
        let stat = fstat(&model).map_err(|e| LayerError::write(path, e))?;
        if kind(&stat) != SFlag::S_IFDIR || crosses_link(&above, path) {
            return Err(LayerError::NeedsParent(path.clone()));
        }
        copy(&mut tree, path, &above, &stat)?;
    }
    Ok(())
}

/// Whether a directory on the way is a symlink in the parent.
fn crosses_link(above: &Tree, path: &Path) -> bool {
    path.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()).any(|ancestor| {
        let found = above.resolve(ancestor, OFlag::O_PATH | OFlag::O_NOFOLLOW).and_then(fstat);
        found.is_ok_and(|stat| kind(&stat) == SFlag::S_IFLNK)
    })
}

fn copy(tree: &mut Tree, path: &Path, above: &Tree, stat: &FileStat) -> Result<(), LayerError> {
    use nix::fcntl::AtFlags;
    use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
    use nix::unistd::fchownat;
    let place = tree.place(path, false)?;
    let failed = |e| LayerError::write(path, e);
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(place.dir(), place.name.as_os_str(), Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(failed)?;
    let model = above.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).map_err(failed)?;
    copy_xattrs(&model, &place, path)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    fchmodat(place.dir(), place.name.as_os_str(), mode, FchmodatFlags::FollowSymlink).map_err(failed)?;
    set_time(&place, path, &TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec))
}

fn copy_xattrs(model: &std::os::fd::OwnedFd, place: &super::tree::Place, path: &Path) -> Result<(), LayerError> {
    use xattr::FileExt as _;
    let failed = |source| LayerError::Write { path: path.to_owned(), source };
    let file = std::fs::File::from(model.try_clone().map_err(failed)?);
    let names = match file.list_xattr() {
        Ok(names) => names,
        Err(e) if e.raw_os_error() == Some(libc::ENOTSUP) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for name in names.filter(|n| !n.to_string_lossy().starts_with("trusted.overlay.")) {
        if let Some(value) = file.get_xattr(&name).map_err(failed)? {
            set_xattr(place, path, &name, &value)?;
        }
    }
    Ok(())
}
