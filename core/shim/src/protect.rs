//! Keeping our own executable out of the container's reach.
//!
//! A process in a container can execute `/proc/self/exe` of one that is about to become it, and later open that file
//! for writing: it would be the host's `sheave-shim` (CVE-2019-5736). So the shim runs from a detached read-only mount
//! of its file: whoever opens it through `/proc/<pid>/exe` gets that mount and `EROFS`, and no process can remount what
//! is in no mount namespace. A sealed memory file would do too, but costs the executable's size in memory for every
//! container; this costs a second exec, which the daemon saves by starting the shim from such a mount itself
//! (`client::protect`).

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::sys;

/// Executes this program again from a read-only mount, unless it runs from one.
pub fn run_from_read_only_mount(arguments: &[String]) -> io::Result<()> {
    if statvfs("/proc/self/exe")?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    let file = sheave_shim::client::protect(std::path::Path::new("/proc/self/exe")).map_err(io::Error::other)?;
    let arguments: Vec<CString> =
        arguments.iter().map(|argument| CString::new(argument.as_str())).collect::<Result<_, _>>()?;
    Err(sys::execute_file(file.as_fd(), &arguments).into())
}
