//! What the child that becomes the container and the shim say to each other until the program is executed.
//!
//! A `SOCK_SEQPACKET` pair; both ends are close-on-exec, so that end of file after [`Report::Executing`] is the news
//! that the program runs.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use sheave_shim::protocol::{Failure, Stage};

use crate::failure::{At, Step, failure};
use crate::sys;

/// From the child to the shim.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The master side of the terminal is beside this.
    Terminal,
    /// Something is not as asked for.
    Warning(String),
    /// All is done but the exec.
    Executing,
    /// It failed; the child ends.
    Failed(Failure),
}

/// From the shim to the child: go on; the network namespace may be beside it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Go;

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// The longest report, in bytes; longer texts are cut.
const MAX_REPORT: usize = 16 << 10;

impl Channel {
    /// Both ends: the shim's, which does not block, and the child's, which does.
    pub fn pair() -> sys::Result<(Self, Self)> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        Ok((Self(ours), Self(theirs)))
    }

    /// Its descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Sends a message with perhaps a descriptor.
    pub fn send<T: Serialize>(&self, message: &T, fd: Option<BorrowedFd<'_>>) -> sys::Result<()> {
        let bytes = serde_json::to_vec(message).map_err(|_| Errno::EINVAL)?;
        let Some(fd) = fd else {
            // Not sendmsg: a system call filter is in force at the end, and every filter allows write.
            return nix::unistd::write(&self.0, &bytes).map(drop);
        };
        let raw = [fd.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&raw)];
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
    }

    /// Receives a message; `None` at the end.
    pub fn receive<T: for<'de> Deserialize<'de>>(&self) -> sys::Result<Option<(T, Option<OwnedFd>)>> {
        let mut bytes = vec![0; MAX_REPORT];
        let mut control = nix::cmsg_space!(RawFd);
        let mut fd = None;
        let count = {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received = recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
            for message in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = message {
                    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
                    fd = raw.first().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) });
                }
            }
            received.bytes
        };
        if count == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(&bytes[..count]).map_err(|_| Errno::EBADMSG)?;
        Ok(Some((message, fd)))
    }

    /// The child's wait for the network.
    pub fn wait_for_network(&self) -> Step<Option<OwnedFd>> {
        match self.receive::<Go>().at(Stage::Network, || "waiting for the network".into())? {
            Some((Go, netns)) => Ok(netns),
            None => Err(failure(Stage::Network, "the shim went away")),
        }
    }

    /// Tells the shim why the child ends.
    pub fn fail(&self, mut failure: Failure) {
        failure.message.truncate(failure.message.floor_char_boundary(MAX_REPORT / 4));
        // There is nobody else to tell.
        let _ = self.send(&Report::Failed(failure), None);
    }

    /// Tells the shim of something that is not as asked for.
    pub fn warn(&self, text: String) {
        // A warning that cannot be delivered is not worth a failed start.
        let _ = self.send(&Report::Warning(text), None);
    }
}
