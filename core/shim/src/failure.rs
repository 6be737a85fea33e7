//! Making failures that name their stage.

use nix::errno::Errno;
use sheave_shim::protocol::{Failure, FailureKind, Stage};

/// The result of a step of the set-up.
pub type Step<T> = std::result::Result<T, Failure>;

/// A failure of the set-up without a system error.
pub fn failure(stage: Stage, message: impl Into<String>) -> Failure {
    Failure { stage, kind: FailureKind::Setup, errno: 0, message: message.into() }
}

/// The words for an error number, as Go and so runc has them: without a capital.
pub fn words(errno: Errno) -> String {
    let text = errno.desc();
    let mut letters = text.chars();
    match letters.next() {
        // An abbreviation such as I/O keeps its capitals.
        Some(first) if !letters.as_str().starts_with(|next: char| next.is_uppercase() || next == '/') => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// Says where a system call failed.
pub trait At<T> {
    /// The failure of this stage; `what` names the thing that was tried.
    fn at(self, stage: Stage, what: impl FnOnce() -> String) -> Step<T>;
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, stage: Stage, what: impl FnOnce() -> String) -> Step<T> {
        self.map_err(|errno| Failure {
            stage,
            kind: FailureKind::Setup,
            errno: errno as i32,
            message: format!("{}: {}", what(), words(errno)),
        })
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, stage: Stage, what: impl FnOnce() -> String) -> Step<T> {
        self.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))).at(stage, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_go() {
        for (errno, expected) in [
            (Errno::ENOENT, "no such file or directory"),
            (Errno::EACCES, "permission denied"),
            (Errno::EISDIR, "is a directory"),
            (Errno::EIO, "I/O error"),
        ] {
            assert_eq!(words(errno), expected);
        }
    }
}
