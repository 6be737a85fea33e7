//! Capabilities of a container: Docker's rules, cut down to what the engine itself has.

use oci_spec::runtime::Capability;

use super::error::{Result, SpecError};

/// Every capability in the order of its number in the kernel, `capabilities(7)`.
const TABLE: [(&str, Capability); 41] = [
    ("CAP_CHOWN", Capability::Chown),
    ("CAP_DAC_OVERRIDE", Capability::DacOverride),
    ("CAP_DAC_READ_SEARCH", Capability::DacReadSearch),
    ("CAP_FOWNER", Capability::Fowner),
    ("CAP_FSETID", Capability::Fsetid),
    ("CAP_KILL", Capability::Kill),
    ("CAP_SETGID", Capability::Setgid),
    ("CAP_SETUID", Capability::Setuid),
    ("CAP_SETPCAP", Capability::Setpcap),
    ("CAP_LINUX_IMMUTABLE", Capability::LinuxImmutable),
    ("CAP_NET_BIND_SERVICE", Capability::NetBindService),
    ("CAP_NET_BROADCAST", Capability::NetBroadcast),
    ("CAP_NET_ADMIN", Capability::NetAdmin),
    ("CAP_NET_RAW", Capability::NetRaw),
    ("CAP_IPC_LOCK", Capability::IpcLock),
    ("CAP_IPC_OWNER", Capability::IpcOwner),
    ("CAP_SYS_MODULE", Capability::SysModule),
    ("CAP_SYS_RAWIO", Capability::SysRawio),
    ("CAP_SYS_CHROOT", Capability::SysChroot),
    ("CAP_SYS_PTRACE", Capability::SysPtrace),
    ("CAP_SYS_PACCT", Capability::SysPacct),
    ("CAP_SYS_ADMIN", Capability::SysAdmin),
    ("CAP_SYS_BOOT", Capability::SysBoot),
    ("CAP_SYS_NICE", Capability::SysNice),
    ("CAP_SYS_RESOURCE", Capability::SysResource),
    ("CAP_SYS_TIME", Capability::SysTime),
    ("CAP_SYS_TTY_CONFIG", Capability::SysTtyConfig),
    ("CAP_MKNOD", Capability::Mknod),
    ("CAP_LEASE", Capability::Lease),
    ("CAP_AUDIT_WRITE", Capability::AuditWrite),
    ("CAP_AUDIT_CONTROL", Capability::AuditControl),
    ("CAP_SETFCAP", Capability::Setfcap),
    ("CAP_MAC_OVERRIDE", Capability::MacOverride),
    ("CAP_MAC_ADMIN", Capability::MacAdmin),
    ("CAP_SYSLOG", Capability::Syslog),
    ("CAP_WAKE_ALARM", Capability::WakeAlarm),
    ("CAP_BLOCK_SUSPEND", Capability::BlockSuspend),
    ("CAP_AUDIT_READ", Capability::AuditRead),
    ("CAP_PERFMON", Capability::Perfmon),
    ("CAP_BPF", Capability::Bpf),
    ("CAP_CHECKPOINT_RESTORE", Capability::CheckpointRestore),
];

/// The 14 capabilities a container has when it asks for nothing.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A set of capabilities, one bit each at its number in the kernel, as in `/proc/<pid>/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// From the bits of `CapBnd` and the like; bits this engine does not know are left out.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << TABLE.len()) - 1))
    }

    /// Every capability this engine knows.
    pub fn all() -> Self {
        Self::from_bits(u64::MAX)
    }

    /// What a container has when it asks for nothing.
    pub fn default_container() -> Self {
        DEFAULT.iter().filter_map(|name| Self::named(name)).fold(Self::default(), Self::union)
    }

    /// The one capability of this name, `CAP_…` in upper case.
    pub fn named(name: &str) -> Option<Self> {
        TABLE.iter().position(|(known, _)| *known == name).map(|bit| Self(1 << bit))
    }

    /// Whether it has all of `other`.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it has the capability of this name.
    pub fn has(self, name: &str) -> bool {
        Self::named(name).is_some_and(|one| self.contains(one))
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one only.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, in the kernel's order.
    pub fn names(self) -> Vec<&'static str> {
        self.entries().map(|(name, _)| *name).collect()
    }

    /// As the runtime specification has it.
    pub fn to_oci(self) -> oci_spec::runtime::Capabilities {
        self.entries().map(|(_, capability)| *capability).collect()
    }

    fn entries(self) -> impl Iterator<Item = &'static (&'static str, Capability)> {
        TABLE.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, entry)| entry)
    }
}

/// What `CapAdd` or `CapDrop` names.
struct Named {
    all: bool,
    set: CapabilitySet,
}

fn read(field: &'static str, names: &[String]) -> Result<Named> {
    let mut read = Named { all: false, set: CapabilitySet::default() };
    for name in names {
        let mut name = name.to_ascii_uppercase();
        if name == "ALL" {
            read.all = true;
            continue;
        }
        if !name.starts_with("CAP_") {
            name.insert_str(0, "CAP_");
        }
        let one = CapabilitySet::named(&name)
            .ok_or_else(|| SpecError::refused(field, format!("invalid {field}: unknown capability: {name:?}")))?;
        read.set = read.set.union(one);
    }
    Ok(read)
}

/// The capabilities of a container, Docker's rules: privileged or `ALL` added means all but the dropped ones, `ALL`
/// dropped means the added ones only, otherwise the default ones without the dropped and with the added.
///
/// `bounding` is what the engine may give away. What comes by default, by `ALL` or by `--privileged` is cut down to it,
/// so that an engine with less than all still runs them; a capability added by name that it does not have is an error.
///
/// # Errors
/// An unknown name, or one that cannot be given, with Docker's text.
pub fn capabilities(
    add: &[String],
    drop: &[String],
    privileged: bool,
    bounding: CapabilitySet,
) -> Result<CapabilitySet> {
    let add = read("CapAdd", add)?;
    let drop = read("CapDrop", drop)?;
    if privileged {
        return Ok(bounding);
    }
    let missing = add.set.without(bounding);
    if let Some(name) = missing.names().first() {
        let text = format!(
            "invalid CapAdd: capability not supported by your kernel or not available in the current environment: {name:?}"
        );
        return Err(SpecError::refused("CapAdd", text));
    }
    let wanted = match (add.all, drop.all) {
        (true, _) => CapabilitySet::all().without(drop.set),
        (false, true) => add.set,
        (false, false) => CapabilitySet::default_container().without(drop.set).union(add.set),
    };
    Ok(wanted.intersection(bounding))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], privileged: bool, expected: Result<&str, &str>) {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        // A host like an unprivileged virtual machine: everything but CAP_SYS_RESOURCE.
        let bounding = CapabilitySet::from_bits(0x1ff_feff_ffff);
        let found = capabilities(&owned(add), &owned(drop), privileged, bounding);
        let default = CapabilitySet::default_container();
        let wanted = expected.map(|expected| match expected {
            "default" => default,
            "bounding" => bounding,
            "default+NET_ADMIN" => default.union(CapabilitySet::named("CAP_NET_ADMIN").unwrap()),
            "default-MKNOD" => default.without(CapabilitySet::named("CAP_MKNOD").unwrap()),
            "bounding-MKNOD" => bounding.without(CapabilitySet::named("CAP_MKNOD").unwrap()),
            "CHOWN" => CapabilitySet::named("CAP_CHOWN").unwrap(),
            _ => CapabilitySet::default(),
        });
        assert_eq!(found.map_err(|e| e.to_string()), wanted.map_err(str::to_owned), "{add:?} {drop:?} {privileged}");
    }

    #[test]
    fn follows_dockers_order() {
        check(&[], &[], false, Ok("default"));
        check(&["net_admin"], &[], false, Ok("default+NET_ADMIN"));
        check(&["CAP_NET_ADMIN"], &[], false, Ok("default+NET_ADMIN"));
        check(&[], &["Mknod"], false, Ok("default-MKNOD"));
        check(&["ALL"], &[], false, Ok("bounding"));
        check(&["all"], &["MKNOD"], false, Ok("bounding-MKNOD"));
        check(&["ALL"], &["ALL"], false, Ok("bounding"));
        check(&[], &["ALL"], false, Ok("none"));
        check(&["CHOWN"], &["ALL"], false, Ok("CHOWN"));
        check(&[], &["ALL"], true, Ok("bounding"));
        check(&[], &["SYS_RESOURCE"], false, Ok("default"));
        check(&["FOO"], &[], false, Err("invalid CapAdd: unknown capability: \"CAP_FOO\""));
        check(&[], &["cap_foo"], false, Err("invalid CapDrop: unknown capability: \"CAP_FOO\""));
        check(
            &["SYS_RESOURCE"],
            &[],
            false,
            Err(
                "invalid CapAdd: capability not supported by your kernel or not available in the current environment: \
                 \"CAP_SYS_RESOURCE\"",
            ),
        );
    }

    #[test]
    fn names_and_bits_agree_with_the_kernel() {
        assert_eq!(CapabilitySet::default_container().names().len(), 14);
        assert_eq!(CapabilitySet::from_bits(1 << 21).names(), ["CAP_SYS_ADMIN"]);
        assert_eq!(CapabilitySet::from_bits(1 << 40).names(), ["CAP_CHECKPOINT_RESTORE"]);
        assert_eq!(CapabilitySet::all().to_oci().len(), 41);
    }
}
