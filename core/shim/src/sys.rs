//! System calls that the nix crate lacks, in safe clothes. Nothing here decides anything.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// The result of a system call.
pub type Result<T> = nix::Result<T>;

fn check(code: libc::c_long) -> Result<libc::c_long> {
    if code < 0 { Err(Errno::last()) } else { Ok(code) }
}

fn owned(code: libc::c_long) -> Result<OwnedFd> {
    let fd = check(code)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Who returns from [`clone3`].
pub enum Cloned {
    /// The caller, with the child's id and descriptor.
    Parent(i32, OwnedFd),
    /// The child, with a copy of the caller's memory.
    Child,
}

/// `clone3` like fork, with namespaces (`flags`) and, on cgroup version 2, the cgroup to start in.
///
/// The caller must be single-threaded: then the child may allocate and lock as it likes.
pub fn clone3(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zeroes is the documented neutral value of every field.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags as u32 as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and with one thread this is a fork; `args` and `pidfd` outlive the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel stored a new descriptor for us.
    Ok(Cloned::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// The libc crate has it as an `i32`, where it is 0.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `openat2`; always close-on-exec.
pub fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    // SAFETY: all zeroes is the documented neutral value of every field.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    loop {
        // SAFETY: `path` is a C string and `how` a structure of the size given; both outlive the call.
        let code = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        match owned(code) {
            // A rename raced with the resolution: ask again.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// A detached copy of the mount at `path` (relative to `dir`, or `dir` itself where empty).
pub fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    flags |= if path.is_empty() { libc::AT_EMPTY_PATH as u32 } else { 0 };
    flags |= if recursive { AT_RECURSIVE as u32 } else { 0 };
    // SAFETY: `path` is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// Of `<linux/fcntl.h>`.
const AT_RECURSIVE: i32 = 0x8000;

/// Attaches a detached mount on top of what `target` refers to.
pub fn attach_tree(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let empty = c"".as_ptr();
    // SAFETY: the paths are C strings that outlive the call.
    check(unsafe { libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), empty, target.as_raw_fd(), empty, flags) })
        .map(drop)
}

/// What [`mount_setattr`] changes: `MOUNT_ATTR_*` bits to set and to clear, and an `MS_*` propagation or 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
    /// The propagation type.
    pub propagation: u64,
}

/// `mount_setattr` on the mount that `mount` refers to.
pub fn mount_setattr(mount: BorrowedFd<'_>, attr: MountAttr, recursive: bool) -> Result<()> {
    if attr == MountAttr::default() {
        return Ok(());
    }
    let raw =
        libc::mount_attr { attr_set: attr.set, attr_clr: attr.clear, propagation: attr.propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and `raw` a structure of the size given; both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// The descriptor of a process.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends a signal to the process of a descriptor.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo is allowed.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    })
    .map(drop)
}

/// `kill`, with any signal number.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::c_long::from(libc::kill(pid, signal)) }).map(drop)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

fn waitid(kind: libc::idtype_t, id: u32, options: i32) -> Result<Option<(i32, Ended)>> {
    // SAFETY: all zeroes is a valid siginfo; the pointer outlives the call; the fields read are those of SIGCHLD.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        check(libc::c_long::from(libc::waitid(kind, id, &raw mut info, options | libc::WEXITED | libc::WNOHANG)))?;
        let pid = info.si_pid();
        Ok((pid != 0).then(|| {
            let status = info.si_status();
            (pid, if info.si_code == libc::CLD_EXITED { Ended::Code(status) } else { Ended::Signal(status) })
        }))
    }
}

/// Takes the end of the child with this descriptor, `None` while it runs.
pub fn reap(pidfd: BorrowedFd<'_>) -> Result<Option<Ended>> {
    Ok(waitid(libc::P_PIDFD, pidfd.as_raw_fd() as u32, 0)?.map(|(_, ended)| ended))
}

/// Some child that has ended and is not taken yet.
pub fn any_ended() -> Option<i32> {
    waitid(libc::P_ALL, 0, libc::WNOWAIT).ok().flatten().map(|(pid, _)| pid)
}

/// Takes the end of the child with this id.
pub fn reap_pid(pid: i32) {
    // There is nothing to do about a child that is gone already.
    let _ = waitid(libc::P_PID, pid as u32, 0);
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC as i32;
    // SAFETY: nothing is closed before an exec.
    check(unsafe { libc::c_long::from(libc::close_range(first, u32::MAX, flags)) }).map(drop)
}

/// `prctl` with numbers only.
pub fn prctl(option: i32, argument: u64, second: u64) -> Result<i32> {
    // SAFETY: used with options that take numbers, never pointers.
    check(unsafe { libc::c_long::from(libc::prctl(option, argument, second, 0u64, 0u64)) }).map(|code| code as i32)
}

/// The three thread capability sets, a bit a capability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSets {
    /// Effective.
    pub effective: u64,
    /// Permitted.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3` of `<linux/capability.h>`.
const CAP_VERSION: u32 = 0x2008_0522;

/// Sets the capability sets of the calling thread.
pub fn capset(sets: CapSets) -> Result<()> {
    let mut header = CapHeader { version: CAP_VERSION, pid: 0 };
    let half = |shift: u32| CapData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes two data structures; the pointers outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// The capability sets of the calling thread.
pub fn capget() -> Result<CapSets> {
    let mut header = CapHeader { version: CAP_VERSION, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 fills two data structures; the pointers outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapSets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Loads a system call filter for the calling thread. `program` is a list of `struct sock_filter`s.
pub fn load_seccomp(program: &[u8]) -> Result<()> {
    let count = program.len() / size_of::<libc::sock_filter>();
    if count * size_of::<libc::sock_filter>() != program.len() || count == 0 || count > 4096 {
        return Err(Errno::EINVAL);
    }
    // Copied into aligned memory.
    let filters: Vec<libc::sock_filter> = program
        .chunks_exact(size_of::<libc::sock_filter>())
        .map(|raw| libc::sock_filter {
            code: u16::from_ne_bytes([raw[0], raw[1]]),
            jt: raw[2],
            jf: raw[3],
            k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
        })
        .collect();
    let fprog = libc::sock_fprog { len: count as u16, filter: filters.as_ptr().cast_mut() };
    // SAFETY: `fprog` and its filters outlive the call; the kernel copies and checks them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const fprog) }).map(drop)
}

/// Joins the session keyring of this name, made if it is new, and lets its user search it, as runc does.
pub fn join_keyring(name: &CStr) -> Result<()> {
    const KEY_SEARCH_BY_USER: u32 = 0x08_0000;
    // SAFETY: `name` is a C string that outlives the call.
    let ring = check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    let mut description = [0u8; 256];
    // SAFETY: the buffer has the length given.
    let length = check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_DESCRIBE, ring, description.as_mut_ptr(), description.len())
    })?;
    let described = String::from_utf8_lossy(&description[..(length as usize).min(description.len())]).into_owned();
    let old = described.split(';').nth(3).and_then(|mask| u32::from_str_radix(mask, 16).ok()).ok_or(Errno::EINVAL)?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, ring, old | KEY_SEARCH_BY_USER) }).map(drop)
}

/// `execve` with prepared C strings; returns only on failure.
pub fn execve(path: &CStr, arguments: &[std::ffi::CString], environment: &[std::ffi::CString]) -> Errno {
    let pointers = |list: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end with a null pointer and outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Errno::last()
}

/// `execveat` of an open file, with no environment; returns only on failure.
pub fn execute_file(file: BorrowedFd<'_>, arguments: &[std::ffi::CString]) -> Errno {
    let argv: Vec<*const libc::c_char> = arguments.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
    let envp: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: both lists end with a null pointer and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// Default actions for all signals, and none blocked: a program must not inherit ours.
pub fn reset_signals() {
    // The kernel's own structure (handler, flags, restorer, mask) and the raw call: libc keeps 32 and 33 for itself and
    // would leave them ignored if our caller ignores them.
    let default = [0u64; 4];
    for signal in 1..=64 {
        let null = std::ptr::null::<u64>();
        // SAFETY: `default` is as long as the structure and outlives the call. SIGKILL and SIGSTOP are refused.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), null, 8) };
    }
    // SAFETY: the set is initialised before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Sets the user ids (`setresuid`, this thread only as there is one).
pub fn set_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    // SAFETY: the list has the length given.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// The working directory as the kernel sees it; it starts with `(unreachable)` where it lies outside the root.
pub fn working_directory() -> Result<Vec<u8>> {
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer has the length given.
    let length = check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    buffer.truncate((length as usize).saturating_sub(1));
    Ok(buffer)
}

/// Makes the calling process's session own this terminal.
pub fn set_controlling_terminal(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: a number is passed.
    check(unsafe { libc::c_long::from(libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0)) }).map(drop)
}

/// `_IO('T', 0x41)` of `<asm-generic/ioctls.h>`.
const TIOCGPTPEER: libc::c_ulong = 0x5441;

/// Unlocks a pseudo-terminal and opens its other side, which needs no path.
pub fn terminal_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an int.
    check(unsafe { libc::c_long::from(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock)) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags and makes a descriptor.
    owned(unsafe { libc::c_long::from(libc::ioctl(master.as_raw_fd(), TIOCGPTPEER, flags)) })
}

/// Sets the size of a terminal.
pub fn set_terminal_size(terminal: BorrowedFd<'_>, height: u16, width: u16) -> Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize.
    check(unsafe { libc::c_long::from(libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size)) }).map(drop)
}

/// `bpf` with an attribute structure.
pub fn bpf<T>(command: i32, attributes: &mut T) -> Result<i64> {
    // SAFETY: `attributes` is a repr(C) prefix of `union bpf_attr` of the size given.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) })
}

/// The same for a command that makes a descriptor.
pub fn bpf_fd<T>(command: i32, attributes: &mut T) -> Result<OwnedFd> {
    owned(bpf(command, attributes)?)
}

/// Sets a resource limit of the calling process.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call; a null old limit is allowed.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null::<libc::rlimit64>())
    })
    .map(drop)
}

/// Sets the NIS domain name of the calling process's namespace.
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: pointer and length belong together.
    check(unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) }).map(drop)
}

/// Ends the process at once, without destructors: for a child that shares nothing but descriptors with its parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// Returns freed memory to the system.
pub fn trim_memory() {
    // SAFETY: always allowed.
    unsafe { libc::malloc_trim(0) };
}

/// A context for a new file system.
pub fn fsopen(fstype: &CStr) -> Result<OwnedFd> {
    // SAFETY: `fstype` is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), libc::FSOPEN_CLOEXEC) })
}

/// Sets an option of a file system context.
pub fn fsconfig_string(context: BorrowedFd<'_>, key: &CStr, value: &CStr) -> Result<()> {
    let command = libc::FSCONFIG_SET_STRING;
    // SAFETY: key and value are C strings that outlive the call.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), value.as_ptr(), 0) })
        .map(drop)
}

/// Sets a flag of a file system context.
pub fn fsconfig_flag(context: BorrowedFd<'_>, key: &CStr) -> Result<()> {
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: the key is a C string that outlives the call; a flag has no value.
    check(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), libc::FSCONFIG_SET_FLAG, key.as_ptr(), null, 0)
    })
    .map(drop)
}

/// Makes the file system of a context, and a detached mount of it.
pub fn fsmount(context: BorrowedFd<'_>) -> Result<OwnedFd> {
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: the command takes neither key nor value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), libc::FSCONFIG_CMD_CREATE, null, null, 0) })?;
    // SAFETY: numbers only.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, 0) })
}
