//! Small files of a container's root, read from its layers without mounting them.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sheave_storage::{ResolvedMount, Snapshots};

use crate::error::Error;
use crate::spec::user::{self, ResolvedUser};

/// A passwd or group file longer than this is none.
const LONGEST: u64 = 4 << 20;

/// What a layer says about a file.
enum Found {
    Content(String),
    /// It is not in the container.
    Absent,
    /// Look into the layer below.
    Below,
    /// Only the mounted file system can tell.
    Unclear,
}

/// Resolves a container's user by its own files.
pub async fn user(
    snapshots: &Snapshots,
    driver: &str,
    key: &str,
    mounts: &[ResolvedMount],
    wanted: (&str, &[String]),
) -> Result<ResolvedUser, Error> {
    let (name, groups) = wanted;
    if let (Some(passwd), Some(group)) = (read(mounts, "passwd"), read(mounts, "group")) {
        return Ok(user::resolve_in(&passwd, &group, name, groups)?);
    }
    let guard = snapshots.mount_private(driver, key, true).await.map_err(Error::Neighbour)?;
    let (name, groups) = (name.to_owned(), groups.to_vec());
    let resolve = move || {
        let root = File::open(guard.path()).map_err(Error::file("open the root file system"))?;
        Ok(user::resolve(root.as_fd(), &name, &groups)?)
    };
    tokio::task::spawn_blocking(resolve).await.map_err(|e| Error::Shim(e.to_string()))?
}

/// `/etc/<name>` as the container sees it, empty where it is missing; `None` where only a mount can tell.
fn read(mounts: &[ResolvedMount], name: &str) -> Option<String> {
    let [root] = mounts else { return None };
    let layers: Vec<&Path> = match root {
        ResolvedMount::Overlay { lowers, upper, .. } => {
            upper.iter().chain(lowers).map(std::path::PathBuf::as_path).collect()
        }
        ResolvedMount::Bind { source, .. } => vec![source],
        ResolvedMount::Filesystem { .. } => return None,
    };
    for layer in layers {
        match look(layer, name) {
            Found::Content(text) => return Some(text),
            Found::Absent => return Some(String::new()),
            Found::Below => {}
            Found::Unclear => return None,
        }
    }
    Some(String::new())
}

fn look(layer: &Path, name: &str) -> Found {
    let etc = layer.join("etc");
    let Ok(directory) = etc.symlink_metadata() else { return Found::Below };
    let whiteout = |m: &std::fs::Metadata| m.file_type().is_char_device() && m.rdev() == 0;
    if whiteout(&directory) {
        return Found::Absent;
    }
    if !directory.is_dir() {
        return Found::Unclear;
    }
    let file = etc.join(name);
    match file.symlink_metadata() {
        Ok(metadata) if whiteout(&metadata) => Found::Absent,
        Ok(metadata) if metadata.is_file() && metadata.len() <= LONGEST => {
            let mut text = Vec::new();
            match File::open(&file).and_then(|f| f.take(LONGEST).read_to_end(&mut text)) {
                Ok(_) => Found::Content(String::from_utf8_lossy(&text).into_owned()),
                Err(_) => Found::Unclear,
            }
        }
        Ok(_) => Found::Unclear,
        Err(_) if opaque(&etc) => Found::Absent,
        Err(_) => Found::Below,
    }
}

/// Whether the directories below are hidden by this one.
fn opaque(dir: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(dir.as_os_str().as_bytes()) else { return true };
    [c"trusted.overlay.opaque", c"user.overlay.opaque"].into_iter().any(|name| {
        let mut value = [0u8; 1];
        // SAFETY: both strings end with a zero byte, the buffer has the length that is passed.
        let length = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), 1) };
        length == 1 && value[0] == b'y'
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn overlay(layers: &[&Path]) -> Vec<ResolvedMount> {
        vec![ResolvedMount::Overlay {
            target: "".into(),
            lowers: layers[1..].iter().map(|l| l.to_path_buf()).collect(),
            upper: Some(layers[0].to_path_buf()),
            work: None,
            options: Vec::new(),
        }]
    }

    #[test]
    fn the_topmost_layer_that_says_something_counts() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.join("etc")).unwrap();
            path
        };
        let (upper, lower, empty) = (layer("upper"), layer("lower"), dir.path().join("empty"));
        fs::create_dir(&empty).unwrap();
        fs::write(lower.join("etc/passwd"), "lower").unwrap();
        assert_eq!(read(&overlay(&[&empty, &upper, &lower]), "passwd").as_deref(), Some("lower"));
        fs::write(upper.join("etc/passwd"), "upper").unwrap();
        assert_eq!(read(&overlay(&[&upper, &lower]), "passwd").as_deref(), Some("upper"));
        assert_eq!(read(&overlay(&[&upper, &lower]), "group").as_deref(), Some(""));
        std::os::unix::fs::symlink("/host", upper.join("etc/group")).unwrap();
        assert_eq!(read(&overlay(&[&upper, &lower]), "group"), None);
    }
}
