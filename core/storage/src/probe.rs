//! Whether a driver can be used on this host: its probe mounts are tried below its own root.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use sheave_plugin::{Mount, MountSource};

use crate::error::{Result, StorageError};
use crate::mounts::mount_in_new_dir;
use crate::path::Relative;
use crate::plan::Site;
use crate::tree::{Root, open_dir, remove_tree};

/// Tries the probes of a driver; `place` is a path that does not exist, in a directory that does. What was made is gone afterwards.
///
/// # Errors
/// The first probe that fails.
pub(crate) fn run(site: &Site<'_>, probes: &[Mount], place: &Path) -> Result<()> {
    let mut made = Vec::new();
    let result = probes.iter().try_for_each(|probe| one(site, probe, place, &mut made));
    for top in made {
        if let Err(error) = remove_tree(site.root.fd(), top.as_path().as_os_str()) {
            tracing::warn!(plugin = site.plugin, %error, "what a probe made cannot be removed");
        }
    }
    result
}

fn one(site: &Site<'_>, probe: &Mount, place: &Path, made: &mut Vec<Relative>) -> Result<()> {
    let named: Vec<&String> = match &probe.source {
        MountSource::Overlay(overlay) => overlay.lowers.iter().chain(&overlay.upper).chain(&overlay.work).collect(),
        MountSource::Bind(bind) => vec![&bind.source],
        MountSource::Filesystem(_) => Vec::new(),
    };
    for text in named {
        make_dirs(site, text, made)?;
    }
    let writable = match &probe.source {
        MountSource::Overlay(overlay) => overlay.upper.is_some(),
        MountSource::Bind(bind) => !bind.read_only,
        MountSource::Filesystem(_) => false,
    };
    let guard = mount_in_new_dir(&site.resolve(std::slice::from_ref(probe))?, place)?;
    if writable {
        // overlayfs mounts over file systems that it cannot write through; only a change tells.
        let (a, b) = (place.join("a"), place.join("b"));
        let tried = fs::write(&a, "probe").and_then(|()| fs::rename(&a, &b)).and_then(|()| fs::remove_file(&b));
        tried.map_err(StorageError::io("write through", place))?;
    }
    drop(guard);
    Ok(())
}

/// Makes a directory with its parents; notes the topmost one that was not there.
fn make_dirs(site: &Site<'_>, text: &str, made: &mut Vec<Relative>) -> Result<()> {
    let fault = |reason: &str| StorageError::Path {
        plugin: site.plugin.to_owned(),
        path: text.to_owned(),
        reason: reason.to_owned(),
    };
    let path = Relative::parse(text).map_err(fault)?;
    let root: &Root = site.root;
    let mut dir = open_dir(root.fd(), Path::new(""), false).map_err(StorageError::errno("open", root.path()))?;
    for (depth, part) in path.as_path().components().enumerate() {
        let name = Path::new(part.as_os_str());
        match mkdirat(&dir, name, Mode::S_IRWXU) {
            Ok(()) if depth == 0 => made.extend(Relative::parse(&name.to_string_lossy())),
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(StorageError::errno("make directory", root.absolute(&path))(errno)),
        }
        dir = open_dir(&dir, name, false).map_err(StorageError::errno("open directory", root.absolute(&path)))?;
    }
    Ok(())
}
