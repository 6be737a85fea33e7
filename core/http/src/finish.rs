//! What is told about an operation when its answer ends: metrics, the audit log, the hooks' `after`.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use sheave_hooks::{HookBus, Operation, Outcome, Ruling};
use sheave_telemetry::audit::{AuditLog, Record, timestamp};
use sheave_telemetry::metrics::Metrics;
use sheave_types::Error;
use tracing::{debug, error, warn};

/// Where operations are told about.
#[derive(Clone, Default)]
pub struct Observers {
    /// Counts and times.
    pub metrics: Arc<Metrics>,
    /// What changed something or was denied.
    pub audit: Option<Arc<AuditLog>>,
}

/// Tells about one operation, once, at the latest when it is dropped.
pub(crate) struct Finish {
    observers: Observers,
    hooks: Arc<HookBus>,
    operation: Operation,
    method: Method,
    rulings: Vec<Ruling>,
    started: Instant,
    outcome: Option<(StatusCode, String)>,
}

impl Finish {
    pub(crate) fn new(observers: &Observers, hooks: &Arc<HookBus>, operation: Operation, method: Method) -> Self {
        Self {
            observers: observers.clone(),
            hooks: Arc::clone(hooks),
            operation,
            method,
            rulings: Vec::new(),
            started: Instant::now(),
            outcome: None,
        }
    }

    pub(crate) fn operation(&self) -> &Operation {
        &self.operation
    }

    /// What the handler made of it: the object as it was named, what the hooks said, and the status.
    pub(crate) fn begun(
        &mut self,
        operation: Operation,
        rulings: Vec<Ruling>,
        status: StatusCode,
        error: Option<&Error>,
    ) {
        let micros = self.micros();
        let action = operation.action.as_str();
        self.observers.metrics.operation(action, status.as_u16(), self.started.elapsed());
        let message = error.map(|e| e.message().to_owned()).unwrap_or_default();
        match error {
            Some(error) if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
                error!(action, object = operation.object, status = status.as_u16(), micros, "{}", chain(error));
            }
            _ => debug!(action, object = operation.object, status = status.as_u16(), micros, message),
        }
        self.operation = operation;
        self.rulings = rulings;
        self.outcome = Some((status, message));
        self.audit(status, micros);
    }

    /// A stream broke.
    pub(crate) fn failed(&mut self, error: &Error) {
        warn!(action = %self.operation.action, object = self.operation.object, "stream: {}", chain(error));
        if let Some((_, message)) = &mut self.outcome {
            error.message().clone_into(message);
        }
        self.ended();
    }

    /// The answer is complete.
    pub(crate) fn ended(&mut self) {
        if let Some((status, message)) = self.outcome.take()
            && self.hooks.wants(self.operation.action)
        {
            let object = self.operation.object.clone();
            let outcome = Outcome { status: status.as_u16(), message, object };
            self.hooks.after(self.operation.clone(), outcome);
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn audit(&self, status: StatusCode, micros: u64) {
        let Some(audit) = &self.observers.audit else { return };
        let reads = self.method == Method::GET || self.method == Method::HEAD;
        if reads && status != StatusCode::FORBIDDEN {
            return;
        }
        let identity = &self.operation.identity;
        let record = Record {
            time: timestamp(),
            action: self.operation.action.as_str(),
            object: &self.operation.object,
            uid: identity.uid,
            pid: identity.pid,
            listener: &identity.listener,
            verdicts: &self.rulings,
            status: status.as_u16(),
            micros,
        };
        if let Err(error) = audit.record(&record) {
            error!(%error, "the audit log cannot be written");
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.ended();
    }
}

/// An error with its causes, for the log.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
