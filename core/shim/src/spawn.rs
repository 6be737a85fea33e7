//! The system calls that start a shim without copying the caller's memory map.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use crate::protocol::CONTROL_FD;

/// `posix_spawn` with `control` as descriptor [`CONTROL_FD`], `/dev/null` as stdin and stdout, a new session, default
/// signals and an empty environment.
pub(crate) fn posix_spawn(path: &CStr, arguments: &[&CStr], control: BorrowedFd<'_>) -> io::Result<i32> {
    let mut argv: Vec<*mut libc::c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    argv.push(ptr::null_mut());
    let envp = [ptr::null_mut()];
    // A duplicate above the target: dup2 of a descriptor onto itself would leave it close-on-exec.
    let control = control.try_clone_to_owned()?;
    let control = if control.as_raw_fd() == CONTROL_FD { control.try_clone()? } else { control };
    let mut pid = 0;
    // SAFETY: the structures are initialised before use and destroyed once; every pointer outlives the call.
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
        let mut signals: libc::sigset_t = std::mem::zeroed();
        check(libc::posix_spawn_file_actions_init(&mut actions))?;
        check(libc::posix_spawnattr_init(&mut attributes))?;
        let null = c"/dev/null".as_ptr();
        let result = check(libc::posix_spawn_file_actions_addopen(&mut actions, 0, null, libc::O_RDONLY, 0))
            .and_then(|()| check(libc::posix_spawn_file_actions_addopen(&mut actions, 1, null, libc::O_WRONLY, 0)))
            .and_then(|()| check(libc::posix_spawn_file_actions_adddup2(&mut actions, control.as_raw_fd(), CONTROL_FD)))
            .and_then(|()| {
                libc::sigemptyset(&mut signals);
                check(libc::posix_spawnattr_setsigmask(&mut attributes, &signals))
            })
            .and_then(|()| {
                libc::sigfillset(&mut signals);
                check(libc::posix_spawnattr_setsigdefault(&mut attributes, &signals))
            })
            .and_then(|()| {
                let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | SETSID;
                check(libc::posix_spawnattr_setflags(&mut attributes, flags as libc::c_short))
            })
            .and_then(|()| {
                check(libc::posix_spawn(&mut pid, path.as_ptr(), &actions, &attributes, argv.as_ptr(), envp.as_ptr()))
            });
        libc::posix_spawn_file_actions_destroy(&mut actions);
        libc::posix_spawnattr_destroy(&mut attributes);
        result?;
    }
    Ok(pid)
}

/// `POSIX_SPAWN_SETSID` of `<spawn.h>`, which the libc crate lacks.
const SETSID: i32 = 0x80;

/// A descriptor of a process, close-on-exec.
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed; the descriptor returned is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as i32)) }
    }
}

/// A detached read-only mount of the file at `path`.
pub(crate) fn read_only_copy(path: &CStr) -> io::Result<OwnedFd> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the paths are C strings, and `attributes` is of the size given; the descriptor returned is ours alone.
    unsafe {
        let tree = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags);
        if tree < 0 {
            return Err(io::Error::last_os_error());
        }
        let tree = OwnedFd::from_raw_fd(tree as i32);
        let result = libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        );
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(tree) }
    }
}

fn check(code: i32) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}
