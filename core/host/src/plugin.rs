//! A loaded plugin of one kind: calls on a bounded number of threads, under a deadline, with faults contained.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sheave_metadata::{Database, StateWrite};
use sheave_plugin::{Error, Make, Manifest};
use sheave_telemetry::events::{Event, EventBus, EventKind};
use sheave_telemetry::metrics::Metrics;
use sheave_types::Kinded;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::Instrument;

use crate::HostError;
use crate::context::Context;
use crate::error::kind_of;
use crate::grants::Grants;
use crate::lifecycle::{Input, State};

/// Calls of one plugin that run at once; further ones wait for a place within their deadline.
pub(crate) const THREADS: usize = 16;

/// What all calls of a plugin share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) manifest: Manifest,
    pub(crate) root: PathBuf,
    pub(crate) grants: Grants,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) deadline: Duration,
    pub(crate) database: Database,
    pub(crate) client: reqwest::Client,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) watch: Watch,
}

/// The plugin's state, and who is told of its changes.
pub(crate) struct Watch {
    pub(crate) origin: Instant,
    pub(crate) state: Mutex<State>,
    pub(crate) events: Arc<EventBus>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Watch {
    fn step(&self, plugin: &str, input: Input) {
        let (before, after) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let before = state.name();
            *state = std::mem::replace(&mut *state, State::Unloaded).step(input, self.origin.elapsed());
            (before, state.clone())
        };
        if before == after.name() {
            return;
        }
        let mut attributes = BTreeMap::from([("name".to_owned(), plugin.to_owned())]);
        match &after {
            State::Quarantined { reason, .. } => {
                tracing::warn!(plugin, reason, "plugin quarantined");
                attributes.insert("reason".to_owned(), reason.clone());
            }
            state => tracing::debug!(plugin, from = before, to = state.name(), "plugin state"),
        }
        self.events.publish(Event::now(EventKind::Plugin, after.name(), plugin, attributes));
    }

    fn admit(&self, plugin: &str) -> Result<(), HostError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.admits(self.origin.elapsed()) {
            return Ok(());
        }
        let reason = match &*state {
            State::Quarantined { reason, .. } => reason.clone(),
            other => other.name().to_owned(),
        };
        Err(HostError::Quarantined { plugin: plugin.to_owned(), reason })
    }
}

/// A loaded plugin that drives one kind; `D` is the kind's `AnyDriver`.
pub struct Plugin<D: ?Sized> {
    shared: Arc<Shared>,
    config: String,
    make: Make<D>,
    driver: RwLock<Arc<D>>,
    threads: Arc<Semaphore>,
}

impl<D: ?Sized> std::fmt::Debug for Plugin<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// The answer of a method that changes something. Execute the plan, then call [`Planned::commit`]; dropped without it, the
/// plugin's state writes of the call never happened.
#[must_use = "execute the plan, then commit"]
pub struct Planned<T> {
    value: T,
    writes: Vec<StateWrite>,
    shared: Arc<Shared>,
}

impl<T> Deref for Planned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Planned<T> {
    /// Commits the plugin's state writes of this call and returns what it answered.
    ///
    /// # Errors
    /// Those of the database; then none of the writes happened.
    pub fn commit(self) -> Result<T, HostError> {
        apply(&self.shared, &self.writes)?;
        Ok(self.value)
    }
}

fn apply(shared: &Shared, writes: &[StateWrite]) -> Result<(), HostError> {
    let state = shared.database.plugin_state();
    state.apply(&shared.name, writes).map_err(|source| HostError::State { plugin: shared.name.clone(), source })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

impl<D: ?Sized + Send + Sync + 'static> Plugin<D> {
    pub(crate) fn load(shared: Arc<Shared>, config: String, make: Make<D>) -> Result<Self, HostError> {
        shared.watch.step(&shared.name, Input::Verified);
        let driver = construct(&shared, make, &config)?;
        shared.watch.step(&shared.name, Input::Made);
        let threads = Arc::new(Semaphore::new(THREADS));
        Ok(Self { shared, config, make, driver: RwLock::new(driver), threads })
    }

    /// The plugin's name, for example `storage-vfs`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The driver's name among those of its kind: the plugin's without the kind, for example `vfs`.
    pub fn driver(&self) -> &str {
        driver_name(&self.shared.manifest)
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.shared.manifest
    }

    /// The directory that its paths are relative to.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// What it may do.
    pub fn grants(&self) -> &Grants {
        &self.shared.grants
    }

    /// Its present state.
    pub fn state(&self) -> State {
        self.shared.watch.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn current(&self) -> Arc<D> {
        self.driver.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls the plugin; its state writes are returned, not yet applied.
    pub(crate) async fn call<R, F>(&self, method: &'static str, f: F) -> Result<Planned<R>, HostError>
    where
        R: Send + 'static,
        F: FnOnce(&D) -> Result<R, Error> + Send + 'static,
    {
        let started = Instant::now();
        let result = self.call_inner(method, f).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(HostError::Panicked { .. }) => "panic",
            Err(HostError::Deadline { .. }) => "deadline",
            Err(HostError::Stuck { .. }) => "stuck",
            Err(HostError::Quarantined { .. }) => "quarantined",
            Err(_) => "error",
        };
        self.shared.watch.metrics.plugin_call(&self.shared.name, method, outcome, started.elapsed());
        result
    }

    async fn call_inner<R, F>(&self, method: &'static str, f: F) -> Result<Planned<R>, HostError>
    where
        R: Send + 'static,
        F: FnOnce(&D) -> Result<R, Error> + Send + 'static,
    {
        let plugin = || self.shared.name.clone();
        self.shared.watch.admit(&self.shared.name)?;
        let deadline = Instant::now() + self.shared.deadline;
        let until = tokio::time::Instant::from_std(deadline);
        let Ok(Ok(permit)) = timeout_at(until, self.threads.clone().acquire_owned()).await else {
            let error = HostError::Stuck { plugin: plugin(), threads: THREADS };
            self.shared.watch.step(&self.shared.name, Input::Fault(error.to_string()));
            return Err(error);
        };
        let context = Arc::new(Context { shared: self.shared.clone(), deadline, writes: Mutex::default() });
        let (driver, host) = (self.current(), context.clone());
        let span = tracing::debug_span!("plugin", plugin = %self.shared.name, method);
        let inside = span.clone();
        let task = tokio::task::spawn_blocking(move || {
            // Held until the call really ends: a stuck call keeps its place, so that a plugin never has more threads.
            let _permit = permit;
            let _entered = inside.entered();
            sheave_plugin::host::scope(host, || f(&driver))
        });
        match timeout_at(until, task).instrument(span).await {
            Ok(Ok(Ok(value))) => {
                self.shared.watch.step(&self.shared.name, Input::Answered);
                Ok(Planned { value, writes: context.take_writes(), shared: self.shared.clone() })
            }
            Ok(Ok(Err(error))) => {
                self.shared.watch.step(&self.shared.name, Input::Answered);
                Err(HostError::Answered { plugin: plugin(), kind: kind_of(error.kind), message: error.message })
            }
            Ok(Err(join)) => {
                let message = join.try_into_panic().map_or_else(|_| "cancelled".to_owned(), |p| panic_message(&*p));
                Err(self.fault(HostError::Panicked { plugin: plugin(), method, message }))
            }
            Err(_) => {
                let millis = self.shared.deadline.as_millis();
                Err(self.fault(HostError::Deadline { plugin: plugin(), method, millis }))
            }
        }
    }

    /// Records a fault; what a driver is in after one is unknown, so another is made in its place.
    fn fault(&self, error: HostError) -> HostError {
        tracing::warn!(plugin = %self.shared.name, %error, "plugin fault");
        self.shared.watch.step(&self.shared.name, Input::Fault(error.to_string()));
        match construct(&self.shared, self.make, &self.config) {
            Ok(fresh) => *self.driver.write().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(e) => self.shared.watch.step(&self.shared.name, Input::Fault(e.to_string())),
        }
        error
    }

    /// A call whose state writes are applied as soon as it has been answered.
    pub(crate) async fn call_and_apply<R, F>(&self, method: &'static str, f: F) -> Result<R, sheave_types::Error>
    where
        R: Send + 'static,
        F: FnOnce(&D) -> Result<R, Error> + Send + 'static,
    {
        Ok(self.call(method, f).await?.commit()?)
    }
}

fn construct<D: ?Sized>(shared: &Arc<Shared>, make: Make<D>, config: &str) -> Result<Arc<D>, HostError> {
    let deadline = Instant::now() + shared.deadline;
    let context = Arc::new(Context { shared: shared.clone(), deadline, writes: Mutex::default() });
    let host = context.clone();
    let config = config.to_owned();
    let made = catch_unwind(AssertUnwindSafe(|| sheave_plugin::host::scope(host, || make(config))));
    match made {
        Ok(Ok(driver)) => {
            apply(shared, &context.take_writes())?;
            Ok(Arc::from(driver))
        }
        Ok(Err(e)) => Err(HostError::Answered {
            plugin: shared.name.clone(),
            kind: kind_of(e.kind),
            message: format!("plugin {}: {}", shared.name, e.message),
        }),
        Err(payload) => Err(HostError::Panicked {
            plugin: shared.name.clone(),
            method: "constructor",
            message: panic_message(&*payload),
        }),
    }
}

/// The driver's name: `vfs` of the plugin `storage-vfs`.
pub(crate) fn driver_name(manifest: &Manifest) -> &str {
    let prefix = manifest.kinds.first().map(|k| format!("{k}-")).unwrap_or_default();
    manifest.name.strip_prefix(&prefix).unwrap_or(&manifest.name)
}

/// So that `?` carries a kind out of a failed call.
impl HostError {
    /// Whether the plugin itself answered, rather than failed to.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Answered { .. })
    }

    /// Its kind; the same as [`Kinded::kind`].
    pub fn error_kind(&self) -> sheave_types::ErrorKind {
        self.kind()
    }
}
