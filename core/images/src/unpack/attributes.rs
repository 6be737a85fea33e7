//! What a tar header says about a file beside its content.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use tar::EntryType;

use super::archive::Entry;
use super::sparse::{self, Sparse};
use super::tree::{Place, normal};
use crate::error::LayerError;

/// One entry of a layer, checked.
pub(super) struct Header {
    pub(super) path: PathBuf,
    pub(super) kind: EntryType,
    /// The target of a link, as written.
    pub(super) link: PathBuf,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// Major and minor number.
    pub(super) device: (u32, u32),
    pub(super) mtime: TimeSpec,
    pub(super) xattrs: Vec<(OsString, Vec<u8>)>,
    pub(super) sparse: Option<Sparse>,
}

/// Extended attributes in pax headers.
const XATTR: &[u8] = b"SCHILY.xattr.";

impl Header {
    pub(super) fn read(entry: Entry) -> Result<Self, LayerError> {
        let Entry { header, path: raw, link, pax, sparse, .. } = entry;
        let mut kind = header.entry_type();
        if kind.is_file() && raw.as_os_str().as_bytes().ends_with(b"/") {
            // As the first tars wrote directories.
            kind = EntryType::Directory;
        }
        let broken = |e: io::Error| LayerError::Archive(e);
        let id = |id: io::Result<u64>| -> Result<u32, LayerError> {
            u32::try_from(id.map_err(broken)?).map_err(|_| LayerError::Entry(raw.clone(), "its owner is no user id"))
        };
        let device = |number: io::Result<Option<u32>>| number.map(Option::unwrap_or_default).map_err(broken);
        let device = match kind {
            EntryType::Char | EntryType::Block => (device(header.device_major())?, device(header.device_minor())?),
            _ => (0, 0),
        };
        let seconds = i64::try_from(header.mtime().map_err(broken)?).unwrap_or(i64::MAX);
        let mut this = Self {
            path: PathBuf::new(),
            kind,
            link,
            mode: header.mode().map_err(broken)? & 0o7777,
            owner: (id(header.uid())?, id(header.gid())?),
            device,
            mtime: TimeSpec::new(seconds, 0),
            xattrs: Vec::new(),
            sparse,
        };
        let mut holes = sparse::Builder::default();
        for (key, value) in &pax {
            this.extend(key, value, &mut holes)?;
        }
        let (name, map) = holes.finish(&raw)?;
        this.sparse = map.or(this.sparse);
        this.path = normal(name.as_deref().unwrap_or(&raw))?;
        Ok(this)
    }

    fn extend(&mut self, key: &[u8], value: &[u8], pax: &mut sparse::Builder) -> Result<(), LayerError> {
        if let Some(name) = key.strip_prefix(XATTR) {
            if is_wanted(name) {
                self.xattrs.push((OsStr::from_bytes(name).to_owned(), value.to_owned()));
            }
            return Ok(());
        }
        if key == b"mtime" {
            let time = std::str::from_utf8(value).ok().and_then(parse_time);
            self.mtime = time.ok_or_else(|| LayerError::Entry(self.path.clone(), "its pax mtime is no number"))?;
        }
        pax.extend(key, value);
        Ok(())
    }

    /// Gives owner, extended attributes, mode and (but for directories) times to what is at `place`.
    pub(super) fn apply(&self, place: &Place, path: &Path) -> Result<(), LayerError> {
        let name = place.name.as_os_str();
        let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        fchownat(place.dir(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|e| LayerError::write(path, e))?;
        // After the owner, whose change drops capabilities and the set-user-id bit.
        for (key, value) in &self.xattrs {
            set_xattr(place, path, key, value)?;
        }
        if self.kind != EntryType::Symlink {
            let mode = Mode::from_bits_truncate(self.mode);
            fchmodat(place.dir(), name, mode, FchmodatFlags::FollowSymlink).map_err(|e| LayerError::write(path, e))?;
        }
        if self.kind != EntryType::Directory {
            set_time(place, path, &self.mtime)?;
        }
        Ok(())
    }
}

pub(super) fn set_time(place: &Place, path: &Path, time: &TimeSpec) -> Result<(), LayerError> {
    utimensat(place.dir(), place.name.as_os_str(), time, time, UtimensatFlags::NoFollowSymlink)
        .map_err(|e| LayerError::write(path, e))
}

pub(super) fn set_xattr(place: &Place, path: &Path, key: &OsStr, value: &[u8]) -> Result<(), LayerError> {
    match xattr::set(place.proc_path(), key, value) {
        Ok(()) => Ok(()),
        // The file system or the kind of file has none of these; Docker leaves them out, too.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTSUP | libc::EPERM)) && key != "security.capability" => {
            Ok(())
        }
        Err(source) => Err(LayerError::Write { path: path.to_owned(), source }),
    }
}

/// Marks that belong to overlayfs would let a layer steer the mount; labels of the build machine mean nothing here.
fn is_wanted(name: &[u8]) -> bool {
    let unwanted: [&[u8]; 3] = [b"trusted.", b"user.overlay.", b"security.selinux"];
    !name.is_empty() && !name.contains(&0) && !unwanted.iter().any(|u| name.starts_with(u))
}

/// Seconds with an optional fraction, perhaps negative.
fn parse_time(text: &str) -> Option<TimeSpec> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some(TimeSpec::new(seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some(TimeSpec::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        for (text, time) in [
            ("1700000000", Some((1_700_000_000, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.1234567891", Some((1, 123_456_789))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-1", Some((-1, 0))),
            ("", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ] {
            let found = parse_time(text).map(|t| (t.tv_sec(), t.tv_nsec()));
            assert_eq!(found, time, "{text}");
        }
    }

    #[test]
    fn leaves_out_what_steers_the_mount() {
        for (name, wanted) in [
            ("security.capability", true),
            ("user.comment", true),
            ("trusted.overlay.redirect", false),
            ("trusted.overlay.opaque", false),
            ("user.overlay.opaque", false),
            ("security.selinux", false),
            ("", false),
        ] {
            assert_eq!(is_wanted(name.as_bytes()), wanted, "{name}");
        }
    }
}
