//! The container's terminal and its other standard streams.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{fstat, major, minor};
use nix::sys::statfs::fstatfs;
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};
use sheave_shim::protocol::{Stage, TerminalSize};

use super::channel::{Channel, Report};
use crate::failure::{At, Step, failure};
use crate::root::{Missing, Root};
use crate::sys;

/// `DEVPTS_SUPER_MAGIC` of `<linux/magic.h>`.
const DEVPTS: i64 = 0x1cd1;

/// What the program gets as descriptors 0, 1 and 2.
#[derive(Debug)]
pub enum Streams {
    /// A terminal of the container's own devpts, opened when that is mounted.
    Terminal(TerminalSize),
    /// Pipes or `/dev/null`.
    Pipes([OwnedFd; 3]),
}

/// Opens a new terminal of the devpts below `root`, gives the shim its master side and returns the other.
///
/// That it is a devpts is checked on the descriptor: the image may have put anything at this path.
pub fn open(root: &Root, size: TerminalSize, channel: &Channel) -> Step<OwnedFd> {
    let name = || "opening a terminal".to_owned();
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK;
    let master = root.open_with(Path::new("/dev/pts/ptmx"), flags).at(Stage::Stdio, name)?;
    let on = fstatfs(&master).at(Stage::Stdio, name)?.filesystem_type();
    if on.0 as i64 != DEVPTS {
        return Err(failure(Stage::Stdio, "/dev/pts of the container is not a devpts"));
    }
    let terminal = sys::terminal_peer(master.as_fd()).at(Stage::Stdio, name)?;
    if size != TerminalSize::default() {
        sys::set_terminal_size(master.as_fd(), size.height, size.width).at(Stage::Stdio, name)?;
    }
    channel.send(&Report::Terminal, Some(master.as_fd())).at(Stage::Stdio, name)?;
    Ok(terminal)
}

/// Shows the terminal as `/dev/console`.
pub fn bind_console(root: &Root, terminal: BorrowedFd<'_>) -> Step<()> {
    let steps = || -> sys::Result<()> {
        let tree = sys::clone_tree(terminal, c"", false)?;
        let target = root.find_or_make(Path::new("/dev/console"), Missing::File)?;
        sys::attach_tree(tree.as_fd(), target.as_fd())
    };
    steps().at(Stage::Stdio, || "binding /dev/console".into())
}

/// Makes these the standard streams; a terminal becomes the controlling one of the (new) session.
pub fn install(streams: [BorrowedFd<'_>; 3], is_terminal: bool, uid: u32) -> Step<()> {
    let steps = || -> sys::Result<()> {
        // Duplicates above 2 first: a descriptor could be one of those about to be replaced.
        let copies = streams.map(|fd| fd.try_clone_to_owned().map_err(|_| Errno::EMFILE));
        let [stdin, stdout, stderr] = copies;
        dup2_stdin(stdin?)?;
        dup2_stdout(stdout?)?;
        dup2_stderr(stderr?)?;
        if is_terminal {
            sys::set_controlling_terminal(streams[0])?;
        }
        streams.iter().try_for_each(|fd| give_to(*fd, uid))
    };
    steps().at(Stage::Stdio, || "installing the standard streams".into())
}

/// Lets the user open its streams again by `/dev/stdout`; `/dev/null` stays everybody's.
fn give_to(fd: BorrowedFd<'_>, uid: u32) -> sys::Result<()> {
    let stat = fstat(fd)?;
    if (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3) || stat.st_uid == uid {
        return Ok(());
    }
    match fchown(fd, Some(Uid::from_raw(uid)), None) {
        Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => Ok(()),
        other => other,
    }
}
