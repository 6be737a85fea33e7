//! A host for plugins under test: state in memory, a clock that the test sets, and HTTP answered by a function.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sheave_plugin::host::{Host, HttpRequest, HttpResponse, Level};
use sheave_plugin::{Error, ErrorKind, Label};

/// Answers a request.
pub type Answer = Box<dyn Fn(&HttpRequest) -> Result<HttpResponse, Error> + Send + Sync>;

/// The host of a test.
pub struct ScriptedHost {
    clock: AtomicU64,
    answer: Answer,
    requests: Mutex<Vec<HttpRequest>>,
    lines: Mutex<Vec<String>>,
    state: Mutex<BTreeMap<String, String>>,
    files: BTreeMap<String, String>,
}

impl ScriptedHost {
    /// A host whose HTTP is answered by `answer`, at the time 1,000,000 ms.
    pub fn new(answer: impl Fn(&HttpRequest) -> Result<HttpResponse, Error> + Send + Sync + 'static) -> Self {
        Self {
            clock: AtomicU64::new(1_000_000),
            answer: Box::new(answer),
            requests: Mutex::default(),
            lines: Mutex::default(),
            state: Mutex::default(),
            files: BTreeMap::new(),
        }
    }

    /// A host without a network.
    pub fn offline() -> Self {
        Self::new(|r| Err(Error::of(ErrorKind::Unavailable, format!("no network: {} {}", r.method, r.url))))
    }

    /// The same with a file.
    #[must_use]
    pub fn with_file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// Moves the clock on, in milliseconds.
    pub fn advance(&self, milliseconds: u64) {
        self.clock.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// The requests made since the last call of this.
    pub fn requests(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The lines logged since the last call of this.
    pub fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An answer with a text body.
pub fn response(status: u16, headers: &[(&str, &str)], body: impl Into<String>) -> HttpResponse {
    let headers = headers.iter().map(|(k, v)| Label { key: (*k).into(), value: (*v).into() }).collect();
    HttpResponse { status, headers, body: body.into(), body_base64: false }
}

impl Host for ScriptedHost {
    fn log(&self, _: Level, message: &str) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }
    fn state_get(&self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }
    fn state_set(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => state.insert(key.to_owned(), value.to_owned()),
            None => state.remove(key),
        };
        Ok(())
    }
    fn state_list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(state.keys().filter(|k| k.starts_with(prefix)).cloned().collect())
    }
    fn secret(&self, name: &str) -> Result<String, Error> {
        Err(Error::not_found(format!("no secret {name}")))
    }
    fn env(&self, name: &str) -> Result<String, Error> {
        Err(Error::not_found(format!("no variable {name}")))
    }
    fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }
    fn random(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
    fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        (self.answer)(request)
    }
    fn read_text(&self, path: &str) -> Result<String, Error> {
        self.files.get(path).cloned().ok_or_else(|| Error::not_found(format!("{path}: no such file")))
    }
}
