//! What a plugin may ask of the engine: one set of names on every carrier.
//!
//! In a component these are the imports of the interface `host`; in linked and native plugins they reach the host that
//! the engine sets for the time of a call. Outside of a call (in a thread of the plugin's own) they answer `internal`.

pub use crate::generated::worlds::storage::sheave::plugin::host::{HttpRequest, HttpResponse, Level};

use crate::{Error, ErrorKind};

/// The engine's side of the host context. Each method follows the function of the same name in `host.wit`.
pub trait Host: Send + Sync {
    /// Writes a line to the engine's log under the plugin's name.
    fn log(&self, level: Level, message: &str);
    /// Reads a value of the plugin's durable state.
    ///
    /// # Errors
    /// Those of the engine's database.
    fn state_get(&self, key: &str) -> Result<Option<String>, Error>;
    /// Sets or removes a value of the plugin's durable state, together with the plan of the running call.
    ///
    /// # Errors
    /// `invalid` for a key or value over the engine's limits.
    fn state_set(&self, key: &str, value: Option<&str>) -> Result<(), Error>;
    /// The keys that start with `prefix`, sorted.
    ///
    /// # Errors
    /// Those of the engine's database.
    fn state_list(&self, prefix: &str) -> Result<Vec<String>, Error>;
    /// A secret by name.
    ///
    /// # Errors
    /// `not-granted`, `not-found`.
    fn secret(&self, name: &str) -> Result<String, Error>;
    /// A variable of the daemon's environment.
    ///
    /// # Errors
    /// `not-granted`, `not-found`.
    fn env(&self, name: &str) -> Result<String, Error>;
    /// Milliseconds since 1970.
    fn now(&self) -> u64;
    /// Sixty-four random bits.
    fn random(&self) -> u64;
    /// Makes an outgoing request.
    ///
    /// # Errors
    /// `not-granted`, `deadline`, `unavailable`.
    fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error>;
    /// Reads a file.
    ///
    /// # Errors
    /// `not-granted`, `not-found`.
    fn read_text(&self, path: &str) -> Result<String, Error>;
}

#[cfg(target_arch = "wasm32")]
mod carrier {
    use super::*;
    use crate::generated::worlds::storage::sheave::plugin::host as imports;

    pub(super) struct Imports;

    impl Host for Imports {
        fn log(&self, level: Level, message: &str) {
            imports::log(level, message);
        }
        fn state_get(&self, key: &str) -> Result<Option<String>, Error> {
            imports::state_get(key)
        }
        fn state_set(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
            imports::state_set(key, value)
        }
        fn state_list(&self, prefix: &str) -> Result<Vec<String>, Error> {
            imports::state_list(prefix)
        }
        fn secret(&self, name: &str) -> Result<String, Error> {
            imports::secret(name)
        }
        fn env(&self, name: &str) -> Result<String, Error> {
            imports::env(name)
        }
        fn now(&self) -> u64 {
            imports::now()
        }
        fn random(&self) -> u64 {
            imports::random()
        }
        fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
            imports::http(request)
        }
        fn read_text(&self, path: &str) -> Result<String, Error> {
            imports::read_text(path)
        }
    }

    pub(super) fn with<R>(f: impl FnOnce(Option<&dyn Host>) -> R) -> R {
        f(Some(&Imports))
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod carrier {
    use super::Host;
    use std::cell::RefCell;
    use std::sync::Arc;

    thread_local! {
        static CURRENT: RefCell<Vec<Arc<dyn Host>>> = const { RefCell::new(Vec::new()) };
    }

    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.with(|c| c.borrow_mut().pop());
        }
    }

    /// Makes `host` the one that this thread's host calls reach while `f` runs; scopes nest.
    pub fn scope<R>(host: Arc<dyn Host>, f: impl FnOnce() -> R) -> R {
        CURRENT.with(|c| c.borrow_mut().push(host));
        let _leave = Leave;
        f()
    }

    pub(super) fn with<R>(f: impl FnOnce(Option<&dyn Host>) -> R) -> R {
        let host = CURRENT.with(|c| c.borrow().last().cloned());
        f(host.as_deref())
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use carrier::scope;

fn call<R>(f: impl FnOnce(&dyn Host) -> Result<R, Error>) -> Result<R, Error> {
    carrier::with(|host| match host {
        Some(host) => f(host),
        None => {
            Err(Error::of(ErrorKind::Internal, "the host is reached only during a call, on the thread of the call"))
        }
    })
}

/// Writes a line to the engine's log under the plugin's name.
pub fn log(level: Level, message: &str) {
    carrier::with(|host| {
        if let Some(host) = host {
            host.log(level, message);
        }
    });
}

/// Reads a value of the plugin's durable state.
///
/// # Errors
/// Those of the engine's database.
pub fn state_get(key: &str) -> Result<Option<String>, Error> {
    call(|h| h.state_get(key))
}

/// Sets or removes a value of the plugin's durable state; it commits together with the plan of the running call.
///
/// # Errors
/// `invalid` for a key or value over the engine's limits.
pub fn state_set(key: &str, value: Option<&str>) -> Result<(), Error> {
    call(|h| h.state_set(key, value))
}

/// The keys of the plugin's state that start with `prefix`, sorted.
///
/// # Errors
/// Those of the engine's database.
pub fn state_list(prefix: &str) -> Result<Vec<String>, Error> {
    call(|h| h.state_list(prefix))
}

/// A secret of the engine's configuration.
///
/// # Errors
/// `not-granted`, `not-found`.
pub fn secret(name: &str) -> Result<String, Error> {
    call(|h| h.secret(name))
}

/// A variable of the daemon's environment.
///
/// # Errors
/// `not-granted`, `not-found`.
pub fn env(name: &str) -> Result<String, Error> {
    call(|h| h.env(name))
}

/// Milliseconds since 1970; 0 outside of a call.
pub fn now() -> u64 {
    carrier::with(|host| host.map_or(0, Host::now))
}

/// Sixty-four random bits.
///
/// # Errors
/// `internal` outside of a call.
pub fn random() -> Result<u64, Error> {
    call(|h| Ok(h.random()))
}

/// Makes an outgoing request within the deadline of the running call.
///
/// # Errors
/// `not-granted`, `deadline`, `unavailable`.
pub fn http(request: &HttpRequest) -> Result<HttpResponse, Error> {
    call(|h| h.http(request))
}

/// Reads a file as text.
///
/// # Errors
/// `not-granted`, `not-found`.
pub fn read_text(path: &str) -> Result<String, Error> {
    call(|h| h.read_text(path))
}
