//! Dropping privileges, in runc's order.
//!
//! Source: `libcontainer/init_linux.go` of runc 1.1, `finalizeNamespace`.

use std::ffi::CString;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::chdir;
use oci_spec::runtime::{Capabilities, LinuxCapabilities, PosixRlimit, PosixRlimitType, Process};
use sheave_shim::protocol::Stage;

use super::channel::Channel;
use crate::failure::{At, Step, failure};
use crate::sys::{self, CapSets};

/// The names of all capabilities; a name's place is its number.
///
/// Source: `<linux/capability.h>`
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The capability sets of a process, a bit a capability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    bounding: u64,
    sets: CapSets,
    ambient: u64,
}

fn bits(set: Option<&Capabilities>) -> Step<u64> {
    set.into_iter().flatten().try_fold(0, |bits, capability| {
        let text = capability.to_string();
        let name = text.strip_prefix("CAP_").unwrap_or(&text);
        match CAPABILITIES.iter().position(|known| *known == name) {
            Some(number) => Ok(bits | 1 << number),
            None => Err(failure(Stage::Privileges, format!("unknown capability {text}"))),
        }
    })
}

fn names(bits: u64) -> String {
    let names = CAPABILITIES.iter().enumerate().filter(|(number, _)| bits & 1 << number != 0);
    names.map(|(_, name)| format!("CAP_{name}")).collect::<Vec<_>>().join(" ")
}

/// The sets asked for, without what we do not have ourselves; that is said as a warning.
fn wanted(capabilities: &LinuxCapabilities, channel: &Channel) -> Step<Wanted> {
    let ours = sys::capget().at(Stage::Privileges, || "reading capabilities".into())?.permitted;
    let asked = Wanted {
        bounding: bits(capabilities.bounding().as_ref())?,
        sets: CapSets {
            effective: bits(capabilities.effective().as_ref())?,
            permitted: bits(capabilities.permitted().as_ref())?,
            inheritable: bits(capabilities.inheritable().as_ref())?,
        },
        ambient: bits(capabilities.ambient().as_ref())?,
    };
    let all = asked.bounding | asked.sets.effective | asked.sets.permitted | asked.sets.inheritable | asked.ambient;
    if all & !ours != 0 {
        channel.warn(format!("capabilities that this host does not have are left out: {}", names(all & !ours)));
    }
    Ok(Wanted {
        bounding: asked.bounding & ours,
        sets: CapSets {
            effective: asked.sets.effective & ours,
            permitted: asked.sets.permitted & ours,
            inheritable: asked.sets.inheritable & ours,
        },
        ambient: asked.ambient & ours,
    })
}

/// Sets resource limits.
pub fn limit(limits: &[PosixRlimit]) -> Step<()> {
    limits.iter().try_for_each(|limit| {
        sys::set_limit(resource(limit.typ()), limit.soft(), limit.hard())
            .at(Stage::Privileges, || format!("error setting rlimit type {:?}", limit.typ()))
    })
}

fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

/// Sets `oom_score_adj`; a refusal is a warning. Needs the host's `/proc`.
pub fn set_oom_score(score: i32, channel: &Channel) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        channel.warn(format!("oom_score_adj {score} was refused: {error}"));
    }
}

/// Becomes the user that `process` names, in its directory, with its capabilities and its system call filter.
///
/// Without `no_new_privs` loading a filter needs privileges, so it comes first; with it, it comes last (the caller's
/// part, by the return value).
pub fn drop<'a>(process: &Process, filter: Option<&'a [u8]>, cwd: &Path, channel: &Channel) -> Step<Option<&'a [u8]>> {
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let privileges = |what: &'static str| move || what.to_owned();
    umask(Mode::from_bits_truncate(process.user().umask().unwrap_or(0o022)));
    if no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Stage::Privileges, privileges("setting no_new_privs"))?;
    }
    let capabilities = process.capabilities().as_ref().map(|sets| wanted(sets, channel)).transpose()?;
    if let Some(wanted) = capabilities {
        drop_bounding(wanted.bounding).at(Stage::Privileges, privileges("dropping the bounding set"))?;
    }
    let later = match filter {
        Some(program) if !no_new_privileges => {
            sys::load_seccomp(program).at(Stage::Seccomp, privileges("loading the seccomp program"))?;
            None
        }
        other => other,
    };
    sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).at(Stage::Privileges, privileges("keeping capabilities"))?;
    // Root may not be allowed in where the user is (NFS), and the other way round: try as both.
    let first_try = chdir(cwd);
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    sys::set_user(user.uid(), user.gid(), &groups).at(Stage::Privileges, privileges("setting the user"))?;
    match first_try {
        Err(Errno::EACCES) => chdir(cwd),
        other => other,
    }
    .at(Stage::Cwd, || format!("chdir to cwd ({:?}) set in config.json failed", cwd.display().to_string()))?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0).at(Stage::Privileges, privileges("clearing keep capabilities"))?;
    if let Some(wanted) = capabilities {
        apply(wanted).at(Stage::Privileges, privileges("setting capabilities"))?;
    }
    check_cwd()?;
    Ok(later)
}

fn drop_bounding(keep: u64) -> sys::Result<()> {
    for number in 0..64 {
        if keep & 1 << number != 0 {
            continue;
        }
        match sys::prctl(libc::PR_CAPBSET_DROP, number, 0) {
            // Past the last capability of this kernel.
            Err(Errno::EINVAL) => break,
            other => other?,
        };
    }
    Ok(())
}

fn apply(wanted: Wanted) -> sys::Result<()> {
    sys::capset(wanted.sets)?;
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as u64;
    sys::prctl(libc::PR_CAP_AMBIENT, clear, 0)?;
    for number in (0..64).filter(|number| wanted.ambient & 1 << number != 0) {
        sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, number)?;
    }
    Ok(())
}

/// The working directory must lie below the root: a descriptor of the host left open somewhere could have led out of
/// it (CVE-2024-21626).
fn check_cwd() -> Step<()> {
    match sys::working_directory() {
        Ok(path) if path.starts_with(b"/") => Ok(()),
        _ => Err(failure(
            Stage::Cwd,
            "current working directory is outside of container mount namespace root -- possible container breakout \
             detected",
        )),
    }
}

/// Joins the container's session keyring, so that it sees none of the host's keys.
pub fn join_keyring(id: &str) -> Step<()> {
    let Ok(name) = CString::new(format!("_ses.{id}")) else {
        return Err(failure(Stage::Privileges, "the id has a zero byte"));
    };
    match sys::join_keyring(&name) {
        // A kernel without keyrings has none to leak.
        Err(Errno::ENOSYS) => Ok(()),
        other => other.at(Stage::Privileges, || "unable to join session keyring".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Capability;

    #[test]
    fn capabilities_have_their_numbers() {
        for (capability, number) in
            [(Capability::Chown, 0), (Capability::SysAdmin, 21), (Capability::CheckpointRestore, 40)]
        {
            assert_eq!(bits(Some(&Capabilities::from([capability]))), Ok(1 << number));
        }
        assert_eq!(names(1 << 21 | 1), "CAP_CHOWN CAP_SYS_ADMIN");
    }
}
