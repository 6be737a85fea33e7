//! A shim's process, watched through a pidfd, child of this daemon or not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use tokio::io::unix::AsyncFd;

/// A process that is known by a descriptor.
#[derive(Debug)]
pub struct Process {
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Watches a child through its pidfd.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is owned by what is registered and stays open and the same until it is dropped.
        Ok(Self { fd: unsafe { AsyncFd::register(fd)? } })
    }

    /// Watches the process `pid`.
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let raw = i32::try_from(raw).map_err(io::Error::other)?;
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is a new descriptor that nobody else owns; pidfds are close-on-exec.
        Self::new(unsafe { OwnedFd::from_raw_fd(raw) })
    }

    /// Kills it.
    pub fn kill(&self) {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open, the null pointer is allowed. An error means that it has ended.
        let _ = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), libc::SIGKILL, none, 0) };
    }

    /// Waits until it has ended, and reaps it if it is a child.
    pub async fn ended(&self) {
        // An error is that of a runtime which is shutting down.
        let _ = self.fd.readable().await;
        // Where it is no child, there is nothing to reap.
        let _ = waitid(Id::PIDFd(self.fd.get_ref().as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
    }
}
