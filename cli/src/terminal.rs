//! The user's terminal: raw mode for the time of a session, and its size.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Raw mode; the terminal is as before when this is dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    /// Switches standard input to raw mode, if it is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone by now; then there is nothing to restore.
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}

#[allow(unsafe_code, reason = "an ioctl without a wrapper")]
mod size {
    use std::os::fd::AsRawFd;

    nix::ioctl_read_bad!(window, nix::libc::TIOCGWINSZ, nix::libc::winsize);

    pub(super) fn of_stdout() -> Option<(u16, u16)> {
        let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: `size` is a winsize that lives through the call, which is what TIOCGWINSZ writes.
        unsafe { window(std::io::stdout().as_raw_fd(), &raw mut size) }.ok()?;
        (size.ws_row > 0).then_some((size.ws_row, size.ws_col))
    }
}

/// Rows and columns of the terminal at standard output.
pub(crate) fn size() -> Option<(u16, u16)> {
    size::of_stdout()
}

/// Whether progress can be drawn.
pub(crate) fn draws() -> bool {
    std::io::stderr().is_terminal() && std::io::stdout().is_terminal()
}
