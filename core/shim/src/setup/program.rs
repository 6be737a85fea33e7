//! Finding the program in the container and executing it.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess};
use oci_spec::runtime::Process;
use sheave_shim::protocol::{Failure, FailureKind, Stage};

use crate::failure::{Step, failure, words};
use crate::sys;

/// A program with its arguments and environment, ready for execve.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    file: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// Looks the program up as the process's user, in the process's `PATH`. Call it inside the container.
    pub fn find(process: &Process) -> Step<Self> {
        let none = Vec::new();
        let arguments = process.args().as_ref().unwrap_or(&none);
        let environment = process.env().as_ref().unwrap_or(&none);
        let Some(name) = arguments.first().filter(|name| !name.is_empty()) else {
            return Err(failure(Stage::Exec, "no command was given"));
        };
        let path = look_up(name, path_variable(environment))?;
        let c_strings = |list: &[String]| -> Step<Vec<CString>> {
            list.iter()
                .map(|s| CString::new(s.as_str()))
                .collect::<Result<_, _>>()
                .map_err(|_| failure(Stage::Exec, "an argument has a zero byte"))
        };
        let file = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| failure(Stage::Exec, "the program's name has a zero byte"))?;
        Ok(Self { path, file, arguments: c_strings(arguments)?, environment: c_strings(environment)? })
    }

    /// Executes it; returns only on failure.
    pub fn execute(&self) -> Errno {
        sys::execve(&self.file, &self.arguments, &self.environment)
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The last `PATH` wins, as in Go's environment.
fn path_variable(environment: &[String]) -> &str {
    environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("")
}

/// As Go's `exec.LookPath`, from which the texts come that clients of Docker know.
fn look_up(name: &str, path: &str) -> Step<PathBuf> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::EISDIR) => Err(refused(name, FailureKind::NotExecutable, Errno::EISDIR, "is a directory")),
            Err(Errno::EACCES) => Err(refused(name, FailureKind::NotExecutable, Errno::EACCES, "permission denied")),
            Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => {
                Err(refused(name, FailureKind::NotFound, errno, &format!("stat {name}: {}", words(errno))))
            }
            Err(errno) => Err(refused(name, FailureKind::Setup, errno, &format!("stat {name}: {}", words(errno)))),
        };
    }
    for dir in path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = Path::new(dir).join(name);
        if executable(&candidate).is_ok() {
            if !candidate.is_absolute() {
                let text = "cannot run executable found relative to current directory";
                return Err(refused(name, FailureKind::Setup, Errno::ENOENT, text));
            }
            return Ok(candidate);
        }
    }
    Err(refused(name, FailureKind::NotFound, Errno::ENOENT, "executable file not found in $PATH"))
}

fn executable(path: &Path) -> Result<(), Errno> {
    let metadata = std::fs::metadata(path).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    match eaccess(path, AccessFlags::X_OK) {
        // A filter without faccessat2: the mode says enough, and execve has the last word.
        Err(Errno::ENOSYS | Errno::EPERM) if metadata.permissions().mode() & 0o111 != 0 => Ok(()),
        Err(Errno::ENOSYS | Errno::EPERM) => Err(Errno::EACCES),
        other => other,
    }
}

fn refused(name: &str, kind: FailureKind, errno: Errno, text: &str) -> Failure {
    Failure { stage: Stage::Exec, kind, errno: errno as i32, message: format!("exec: {name:?}: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_up_as_go_does() {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name);
        let text = |name: &str| at(name).display().to_string();
        for (name, mode) in [("yes", 0o755), ("no", 0o644)] {
            std::fs::write(at(name), "").expect("write");
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).expect("chmod");
        }
        std::fs::create_dir(at("dir")).expect("mkdir");
        let path = format!("/nowhere:{}", dir.path().display());
        assert_eq!(look_up("yes", &path), Ok(at("yes")));
        assert_eq!(look_up(&text("yes"), ""), Ok(at("yes")));
        let check = |name: &str, code: i32, end: &str| {
            let failed = look_up(name, &path).expect_err(name);
            assert_eq!((failed.exit_code(), failed.message), (code, format!("exec: {name:?}: {end}")));
        };
        check("nope", 127, "executable file not found in $PATH");
        check("no", 127, "executable file not found in $PATH");
        check("dir", 127, "executable file not found in $PATH");
        check(&text("no"), 126, "permission denied");
        check(&text("dir"), 126, "is a directory");
        check(&text("nope"), 127, &format!("stat {}: no such file or directory", text("nope")));
        check(&text("yes/x"), 127, &format!("stat {}: not a directory", text("yes/x")));
    }
}
