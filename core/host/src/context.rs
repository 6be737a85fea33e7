//! The host context of one call: grants checked, state writes held back until the plan has been executed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sheave_metadata::StateWrite;
use sheave_plugin::host::{Host, HttpRequest, HttpResponse, Level};
use sheave_plugin::{Error, ErrorKind};

use crate::outgoing;
use crate::plugin::Shared;

/// Longest key of a plugin's state, in bytes.
const KEY: usize = 512;
/// Largest value of a plugin's state, in bytes.
const VALUE: usize = 1 << 20;
/// Largest file that `read-text` returns, in bytes.
const TEXT: u64 = 4 << 20;

/// The host as one call sees it.
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) deadline: Instant,
    pub(crate) writes: Mutex<Vec<StateWrite>>,
}

fn database(e: sheave_metadata::MetadataError) -> Error {
    Error::of(ErrorKind::Internal, e.to_string())
}

fn not_granted(grant: &str, what: &str) -> Error {
    Error::of(ErrorKind::NotGranted, format!("not-granted: {grant} {what}"))
}

impl Context {
    pub(crate) fn take_writes(&self) -> Vec<StateWrite> {
        std::mem::take(&mut self.writes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Host for Context {
    fn log(&self, level: Level, message: &str) {
        let plugin = self.shared.name.as_str();
        match level {
            Level::Error => tracing::error!(plugin, "{message}"),
            Level::Warn => tracing::warn!(plugin, "{message}"),
            Level::Info => tracing::info!(plugin, "{message}"),
            Level::Debug => tracing::debug!(plugin, "{message}"),
            Level::Trace => tracing::trace!(plugin, "{message}"),
        }
    }

    fn state_get(&self, key: &str) -> Result<Option<String>, Error> {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(write) = writes.iter().rev().find(|w| w.key == key) {
            return Ok(write.value.clone());
        }
        self.shared.database.plugin_state().get(&self.shared.name, key).map_err(database)
    }

    fn state_set(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        if key.is_empty() || key.len() > KEY {
            return Err(Error::invalid(
                "key",
                format!("a key of the state has 1 to {KEY} bytes, this one {}", key.len()),
            ));
        }
        if value.is_some_and(|v| v.len() > VALUE) {
            return Err(Error::invalid("value", format!("a value of the state has at most {VALUE} bytes")));
        }
        let write = StateWrite { key: key.to_owned(), value: value.map(str::to_owned) };
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).push(write);
        Ok(())
    }

    fn state_list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let stored = self.shared.database.plugin_state().list(&self.shared.name, prefix).map_err(database)?;
        let mut keys: std::collections::BTreeSet<String> = stored.into_iter().collect();
        for write in self.writes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if write.value.is_none() {
                keys.remove(&write.key);
            } else if write.key.starts_with(prefix) {
                keys.insert(write.key.clone());
            }
        }
        Ok(keys.into_iter().collect())
    }

    fn secret(&self, name: &str) -> Result<String, Error> {
        if !self.shared.grants.allows_secret(name) {
            return Err(not_granted("secret", name));
        }
        let secret = self.shared.secrets.get(name);
        secret.cloned().ok_or_else(|| Error::not_found(format!("no secret {name} in the configuration")))
    }

    fn env(&self, name: &str) -> Result<String, Error> {
        if !self.shared.grants.allows_env(name) {
            return Err(not_granted("env", name));
        }
        std::env::var(name).map_err(|_| Error::not_found(format!("the daemon's environment has no {name}")))
    }

    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        getrandom::u64().unwrap_or_default()
    }

    fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
        let url: reqwest::Url =
            request.url.parse().map_err(|e| Error::invalid("url", format!("{}: {e}", request.url)))?;
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::invalid("url", format!("{}: only http and https", url.scheme())));
        }
        if !self.shared.grants.allows_http(&host) {
            return Err(not_granted("http", &host));
        }
        outgoing::send(&self.shared, url, request, self.remaining())
    }

    fn read_text(&self, path: &str) -> Result<String, Error> {
        let path = Path::new(path);
        if !self.shared.grants.allows_fs(path) {
            return Err(not_granted("fs", &path.to_string_lossy()));
        }
        // The granted path may be a symlink of the operator's; what it leads to must be granted as well.
        let real = std::fs::canonicalize(path).map_err(|e| Error::not_found(format!("{}: {e}", path.display())))?;
        if !self.shared.grants.allows_fs(&real) {
            return Err(not_granted("fs", &real.to_string_lossy()));
        }
        let size = std::fs::metadata(&real).map_err(|e| Error::not_found(format!("{}: {e}", path.display())))?;
        if !size.is_file() || size.len() > TEXT {
            return Err(Error::invalid("path", format!("{}: not a file of at most {TEXT} bytes", path.display())));
        }
        std::fs::read_to_string(&real)
            .map_err(|e| Error::of(ErrorKind::Unavailable, format!("{}: {e}", path.display())))
    }
}
