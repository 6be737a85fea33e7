//! Mount options of the OCI runtime specification.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/main/config.md#mounts>

use nix::mount::MsFlags;
use sheave_shim::protocol::Stage;

use crate::failure::{Step, failure};
use crate::sys::MountAttr;

/// `MOUNT_ATTR__ATIME` of `<linux/mount.h>`: the mask of the access time modes, which are numbers and not bits.
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const RDONLY: u64 = 0x01;

/// The options of one mount, sorted by what they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `bind` or `rbind` was there.
    pub bind: bool,
    /// `rbind` was there.
    pub recursive: bool,
    /// Flags of mount(2) for a new file system.
    pub flags: u64,
    /// For this mount alone, by mount_setattr.
    pub attr: MountAttr,
    /// For the whole tree, by mount_setattr.
    pub tree: MountAttr,
    /// Propagation types to give, in order: an `MS_*` flag and whether it is recursive.
    pub propagation: Vec<(u64, bool)>,
    /// What the file system itself reads, joined by commas.
    pub data: String,
}

impl Options {
    /// Whether the mount is to be read-only.
    pub fn read_only(&self) -> bool {
        self.attr.set & RDONLY != 0
    }

    /// Whether the file system reads an option of this name.
    pub fn has_data(&self, name: &str) -> bool {
        self.data.split(',').any(|option| option.split('=').next() == Some(name))
    }
}

/// What sets (`true`) or clears a flag, with its mount(2) and its mount_setattr bits.
const FLAGS: &[(&str, bool, MsFlags, u64)] = &[
    ("ro", true, MsFlags::MS_RDONLY, RDONLY),
    ("rw", false, MsFlags::MS_RDONLY, RDONLY),
    ("nosuid", true, MsFlags::MS_NOSUID, 0x02),
    ("suid", false, MsFlags::MS_NOSUID, 0x02),
    ("nodev", true, MsFlags::MS_NODEV, 0x04),
    ("dev", false, MsFlags::MS_NODEV, 0x04),
    ("noexec", true, MsFlags::MS_NOEXEC, 0x08),
    ("exec", false, MsFlags::MS_NOEXEC, 0x08),
    ("nodiratime", true, MsFlags::MS_NODIRATIME, 0x80),
    ("diratime", false, MsFlags::MS_NODIRATIME, 0x80),
    ("sync", true, MsFlags::MS_SYNCHRONOUS, 0),
    ("async", false, MsFlags::MS_SYNCHRONOUS, 0),
    ("dirsync", true, MsFlags::MS_DIRSYNC, 0),
    ("mand", true, MsFlags::MS_MANDLOCK, 0),
    ("nomand", false, MsFlags::MS_MANDLOCK, 0),
    ("iversion", true, MsFlags::MS_I_VERSION, 0),
    ("noiversion", false, MsFlags::MS_I_VERSION, 0),
    ("silent", true, MsFlags::MS_SILENT, 0),
    ("loud", false, MsFlags::MS_SILENT, 0),
];

/// Access time modes: the flag of mount(2) and the number of mount_setattr.
const ATIMES: &[(&str, MsFlags, u64)] = &[
    ("relatime", MsFlags::MS_RELATIME, 0),
    ("norelatime", MsFlags::empty(), STRICTATIME),
    ("noatime", MsFlags::MS_NOATIME, NOATIME),
    ("atime", MsFlags::empty(), 0),
    ("strictatime", MsFlags::MS_STRICTATIME, STRICTATIME),
    ("nostrictatime", MsFlags::empty(), 0),
];

const PROPAGATION: &[(&str, MsFlags)] = &[
    ("private", MsFlags::MS_PRIVATE),
    ("shared", MsFlags::MS_SHARED),
    ("slave", MsFlags::MS_SLAVE),
    ("unbindable", MsFlags::MS_UNBINDABLE),
];

/// Sorts the options of a mount. Fails on what is known and not done; what is unknown is the file system's.
pub fn parse(options: &[String]) -> Step<Options> {
    let mut parsed = Options::default();
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "defaults" | "" => {}
            "bind" => parsed.bind = true,
            "rbind" => (parsed.bind, parsed.recursive) = (true, true),
            "tmpcopyup" | "idmap" | "ridmap" => {
                return Err(failure(Stage::Mounts, format!("mount option {option} is not supported")));
            }
            other if propagation(other).is_some() => parsed.propagation.extend(propagation(other)),
            other if set_flag(&mut parsed, other) => {}
            other => data.push(other),
        }
    }
    parsed.data = data.join(",");
    Ok(parsed)
}

/// The propagation type that an option (`rslave`) or `linux.rootfsPropagation` names.
pub fn propagation(name: &str) -> Option<(u64, bool)> {
    let find = |name: &str| PROPAGATION.iter().find(|(known, _)| *known == name).map(|(_, flag)| flag.bits());
    match find(name) {
        Some(flag) => Some((flag, false)),
        None => name.strip_prefix('r').and_then(find).map(|flag| (flag, true)),
    }
}

fn set_flag(parsed: &mut Options, name: &str) -> bool {
    if let Some((_, on, flag, attr)) = FLAGS.iter().find(|(known, ..)| *known == name) {
        if *on {
            parsed.flags |= flag.bits();
        } else {
            parsed.flags &= !flag.bits();
        }
        set_bits(&mut parsed.attr, *attr, *on);
        return true;
    }
    if let Some((_, flag, mode)) = ATIMES.iter().find(|(known, ..)| *known == name) {
        let all = MsFlags::MS_RELATIME | MsFlags::MS_NOATIME | MsFlags::MS_STRICTATIME;
        parsed.flags = parsed.flags & !all.bits() | flag.bits();
        set_atime(&mut parsed.attr, *mode);
        return true;
    }
    let Some(rest) = name.strip_prefix('r') else { return false };
    if let Some((_, on, _, attr)) = FLAGS.iter().find(|(known, _, _, attr)| *known == rest && *attr != 0) {
        set_bits(&mut parsed.tree, *attr, *on);
        return true;
    }
    if let Some((_, _, mode)) = ATIMES.iter().find(|(known, ..)| *known == rest) {
        set_atime(&mut parsed.tree, *mode);
        return true;
    }
    false
}

fn set_bits(attr: &mut MountAttr, bits: u64, on: bool) {
    let (to, from) = if on { (&mut attr.set, &mut attr.clear) } else { (&mut attr.clear, &mut attr.set) };
    *to |= bits;
    *from &= !bits;
}

fn set_atime(attr: &mut MountAttr, mode: u64) {
    attr.set = attr.set & !ATIME | mode;
    attr.clear |= ATIME;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &str) -> Options {
        parse(&options.split(',').map(str::to_owned).collect::<Vec<_>>()).expect(options)
    }

    #[test]
    fn sorts_options() {
        let proc = parsed("nosuid,noexec,nodev");
        assert_eq!(proc.flags, (MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV).bits());
        assert_eq!(proc.attr, MountAttr { set: 0x0e, clear: 0, propagation: 0 });
        let tmpfs = parsed("nosuid,strictatime,mode=755,size=65536k,rprivate");
        assert_eq!(tmpfs.data, "mode=755,size=65536k");
        assert_eq!(tmpfs.propagation, [(MsFlags::MS_PRIVATE.bits(), true)]);
        assert!(tmpfs.has_data("mode") && !tmpfs.has_data("uid"));
        let bind = parsed("rbind,ro,rro,rslave,noatime");
        assert!(bind.bind && bind.recursive && bind.read_only());
        assert_eq!(bind.tree, MountAttr { set: 1, clear: 0, propagation: 0 });
        assert_eq!(bind.attr, MountAttr { set: 0x11, clear: 0x70, propagation: 0 });
        let last = parsed("ro,rw,noexec,exec");
        assert_eq!(last.attr, MountAttr { set: 0, clear: 0x09, propagation: 0 });
        assert!(parse(&["tmpcopyup".into()]).is_err());
    }
}
