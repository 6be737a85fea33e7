//! The harness of whole-engine tests.
//!
//! Each test has a [`Sandbox`]: process, mount, network and cgroup namespaces of its own in which it starts an [`Engine`],
//! registries and clients. Whatever a test leaves there, on purpose or by a panic, ends with the sandbox, and what an engine
//! leaves there is all that there is, which makes a leak visible: see [`kernel`].
//!
//! The engine is `sheaved` as built beside the test, or, with `SHEAVE_TEST_ORACLE=dockerd`, Debian's dockerd: so the same
//! expectations are held against the program whose behaviour they describe.

pub mod command;
pub mod engine;
pub mod guest;
pub mod hostile;
pub mod http;
pub mod images;
pub mod kernel;
pub mod pty;
pub mod registry;
pub mod sandbox;
pub mod server;

pub use command::Output;
pub use engine::Engine;
pub use sandbox::Sandbox;

use std::time::{Duration, Instant};

/// Asks until the answer is `Some`, at most for `limit`.
///
/// # Panics
/// When the time is up; `what` says what did not come.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        pause(Duration::from_millis(20));
    }
}

/// Waits: only for what cannot be awaited as an event of its own.
#[allow(clippy::disallowed_methods, reason = "a test that watches another program from outside has to poll")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
