//! A program on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::pty::{Winsize, openpty};

use crate::{command, eventually};

/// The other side of the terminal: a person who types and reads.
pub struct Terminal {
    child: Child,
    master: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts the program as the leader of a session on a new terminal of this size.
    ///
    /// # Panics
    /// If there are no terminals, or the program is not there.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).expect("a pseudo-terminal");
        let slave = |fd: &OwnedFd| fd.try_clone().expect("a descriptor");
        command.env("TERM", "xterm").stdin(slave(&pair.slave)).stdout(slave(&pair.slave)).stderr(slave(&pair.slave));
        // SAFETY: between fork and exec the closure makes two system calls and touches no memory that it does not own.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                // SAFETY: descriptor 0 is the terminal, and the request takes a number.
                if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
            });
        }
        let child = command.spawn().expect("the program");
        drop(command);
        drop(pair.slave);
        let master = File::from(pair.master);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut reader, text) = (master.try_clone().expect("a descriptor"), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The read fails with EIO when the last program has closed the terminal.
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                text.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self { child, master, shown }
    }

    /// Types this.
    ///
    /// # Panics
    /// If the terminal is closed.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal is open");
    }

    /// Everything shown so far.
    ///
    /// # Panics
    /// If the reader panicked.
    pub fn shown(&self) -> String {
        self.shown.lock().expect("no holder panics").clone()
    }

    /// Waits until this is shown.
    ///
    /// # Panics
    /// If it is not within 20 seconds.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !self.shown().contains(text) {
            assert!(std::time::Instant::now() < end, "{text:?} is not on the terminal: {:?}", self.shown());
            crate::pause(Duration::from_millis(10));
        }
    }

    /// Gives the terminal another size, as a dragged window does.
    ///
    /// # Panics
    /// If the kernel refuses it.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is a terminal's, and the kernel reads one Winsize.
        let result = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert!(result == 0, "{}", std::io::Error::last_os_error());
    }

    /// Waits for the program's end; gives its exit code and all that was shown.
    ///
    /// # Panics
    /// If it does not end within 20 seconds.
    #[track_caller]
    pub fn end(mut self) -> (i32, String) {
        let code = command::wait(&mut self.child, Duration::from_secs(20));
        let shown = self.shown();
        assert!(code.is_some(), "the program on the terminal goes on: {shown:?}");
        let shown = eventually("the terminal", Duration::from_secs(2), || Some(self.shown()));
        (code.unwrap_or_default(), shown)
    }
}
