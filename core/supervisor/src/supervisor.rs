//! The containers of an engine, for the API.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sheave_api::containers::{
    ContainerAttachQuery, ContainerCreateQuery, ContainerCreateRequest, ContainerCreateResponse, ContainerInspectQuery,
    ContainerInspectResponse, ContainerKillQuery, ContainerListQuery, ContainerLogsQuery, ContainerPruneQuery,
    ContainerPruneResponse, ContainerRemoveQuery, ContainerRenameQuery, ContainerStopQuery, ContainerTopQuery,
    ContainerTopResponse, ContainerWaitQuery, ContainerWaitResponse, EndpointSettings, ResizeQuery, WaitError,
};
use sheave_metadata::Database;
use sheave_shim::protocol::TerminalSize;
use sheave_telemetry::events::{Event, EventBus, EventKind};
use sheave_types::Result;
use tokio::sync::Semaphore;

use crate::driver::Context;
use crate::error::{Error, Fault};
use crate::exec_area::ExecArea;
use crate::list::Filter;
use crate::operations::attach::Attachment;
use crate::operations::logs::LogStream;
use crate::operations::prune::Prune;
use crate::operations::{attach, control, create, exec, inspect, logs, network, top};
use crate::parts::{Neighbours, Parts};
use crate::record::View;
use crate::resources::Real;
use crate::settings::Settings;
use crate::store::{Handle, Store};
use crate::time::Timestamp;
use crate::wait::{Condition, Waiter};

/// How often ended execs are looked for; one is forgotten the second time.
const SWEEP: Duration = Duration::from_secs(300);

/// The containers of an engine; a cheap handle.
#[derive(Debug, Clone)]
pub struct Supervisor {
    parts: Arc<Parts>,
    context: Context,
    // One prune at a time.
    pruning: Arc<Semaphore>,
}

impl Supervisor {
    /// Reads the containers from the database, finds those that still run, brings everything else to rest, and removes what
    /// belongs to none. Call it once, before the API is served.
    ///
    /// # Errors
    /// Those of the database and of the host's mount table.
    pub async fn open(
        settings: Settings,
        neighbours: Neighbours,
        database: Database,
        events: Arc<EventBus>,
    ) -> Result<Self> {
        let store = Arc::new(Store::default());
        let parts = Arc::new(Parts::new(settings, neighbours, store.clone())?);
        let resources = Arc::new(Real { parts: parts.clone(), events: events.clone() });
        let context = Context { database, events, store, resources };
        let supervisor = Self { parts, context, pruning: Arc::new(Semaphore::new(1)) };
        crate::reconcile::run(&supervisor.parts, &supervisor.context).await?;
        let swept = Arc::downgrade(&supervisor.parts);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(parts) = swept.upgrade() else { return };
                exec::sweep(&parts).await;
            }
        });
        Ok(supervisor)
    }

    fn find(&self, id: &str) -> Result<Arc<Handle>> {
        Ok(self.context.store.find(id)?)
    }

    /// All containers as they are now, newest first.
    pub fn views(&self) -> Vec<Arc<View>> {
        self.context.store.all()
    }

    /// The execs in them.
    pub fn execs(&self) -> ExecArea {
        ExecArea::new(self.parts.clone(), self.context.clone())
    }

    /// Makes a container.
    ///
    /// # Errors
    /// Docker's, by kind and text.
    pub async fn create(
        &self,
        query: ContainerCreateQuery,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse> {
        Ok(create::create(&self.parts, &self.context, query, request).await?)
    }

    /// The list, as JSON text.
    ///
    /// # Errors
    /// `Invalid` for filters that are not known.
    pub async fn list(&self, query: ContainerListQuery) -> Result<Vec<u8>> {
        let images = &self.parts.neighbours.images;
        let image_id = |name: &str| images.find(name, None).ok().map(|image| image.id);
        let filter = Filter::read(&query, &self.context.store, image_id)?;
        let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0);
        let views = self.context.store.all();
        let chosen = views.iter().filter(|view| filter.includes(view, limit.is_some()));
        let chosen = chosen.take(limit.unwrap_or(usize::MAX));
        let now = Timestamp::now();
        // A name is looked up once a request, however many containers have it.
        let mut names: HashMap<&str, Option<String>> = HashMap::new();
        let mut out = vec![b'['];
        for view in chosen {
            if out.len() > 1 {
                out.push(b',');
            }
            let (given, own) = (view.record.config.image.as_str(), view.record.image.as_str());
            let current = names.entry(given).or_insert_with(|| image_id(given));
            let image = if current.as_deref().is_none_or(|id| id == own) { given } else { own };
            view.summary.write(&mut out, view, image, now);
            if query.size {
                let (rw, root) = self.sizes(view).await;
                out.pop();
                out.extend_from_slice(format!(",\"SizeRw\":{rw},\"SizeRootFs\":{root}}}").as_bytes());
            }
        }
        out.push(b']');
        Ok(out)
    }

    /// Bytes of the writable layer, and of all layers together.
    async fn sizes(&self, view: &View) -> (u64, u64) {
        let snapshots = &self.parts.neighbours.snapshots;
        let rw = snapshots.usage(&view.record.driver, &view.id.to_string()).await.unwrap_or(0);
        let image = self.parts.neighbours.images.size(&view.record.image).unwrap_or(0);
        (rw, rw + image)
    }

    /// Everything about a container.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn inspect(&self, id: &str, query: ContainerInspectQuery) -> Result<ContainerInspectResponse> {
        let view = self.find(id)?.now();
        let paths = self.parts.settings.paths(&view.id);
        let mut shown = inspect::inspect(&view, &paths, self.parts.execs.of(view.id));
        if query.size {
            let (rw, root) = self.sizes(&view).await;
            shown.size_rw = i64::try_from(rw).ok();
            shown.size_root_fs = i64::try_from(root).ok();
        }
        Ok(shown)
    }

    /// Starts it.
    ///
    /// # Errors
    /// `NotModified` where it runs; why it could not be started, with Docker's words.
    pub async fn start(&self, id: &str) -> Result<()> {
        Ok(control::start(&*self.find(id)?).await?)
    }

    /// Stops it.
    ///
    /// # Errors
    /// `NotModified` where it does not run.
    pub async fn stop(&self, id: &str, query: ContainerStopQuery) -> Result<()> {
        let handle = self.find(id)?;
        let stopped = control::stop(&self.context, &handle, query.signal.as_deref(), query.t).await;
        Ok(stopped.map_err(|error| error.during("cannot stop container", id))?)
    }

    /// Stops it if it runs, and starts it.
    ///
    /// # Errors
    /// As [`Supervisor::stop`] and [`Supervisor::start`].
    pub async fn restart(&self, id: &str, query: ContainerStopQuery) -> Result<()> {
        let handle = self.find(id)?;
        let restarted = control::restart(&self.context, &handle, query.signal.as_deref(), query.t).await;
        Ok(restarted.map_err(|error| error.during("cannot restart container", id))?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `Conflict` where it does not run.
    pub async fn kill(&self, id: &str, query: ContainerKillQuery) -> Result<()> {
        let killed = control::kill(&*self.find(id)?, query.signal.as_deref()).await;
        Ok(killed.map_err(|error| error.during("cannot kill container", id))?)
    }

    /// Freezes it.
    ///
    /// # Errors
    /// `Conflict` where it does not run or is frozen.
    pub async fn pause(&self, id: &str) -> Result<()> {
        Ok(control::pause(&*self.find(id)?).await?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// `Conflict` where it is not frozen.
    pub async fn unpause(&self, id: &str) -> Result<()> {
        Ok(control::unpause(&*self.find(id)?).await?)
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// `Conflict` where another has it.
    pub async fn rename(&self, id: &str, query: ContainerRenameQuery) -> Result<()> {
        let handle = self.find(id)?;
        Ok(control::rename(&self.context, &handle, query.name.as_deref().unwrap_or_default()).await?)
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// `Conflict` where it does not run.
    pub async fn resize(&self, id: &str, query: ResizeQuery) -> Result<()> {
        let handle = self.find(id)?;
        Ok(control::resize(&self.context, &handle, size(query)?).await?)
    }

    /// Registers someone who waits; the future is ready with the outcome.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for an unknown condition.
    pub fn wait(
        &self,
        id: &str,
        query: &ContainerWaitQuery,
    ) -> Result<impl Future<Output = ContainerWaitResponse> + Send + use<>> {
        let condition = Condition::parse(query.condition.as_deref().unwrap_or_default())?;
        let waiter = Waiter::new(self.find(id)?.view.clone(), condition);
        Ok(async move {
            let outcome = waiter.outcome().await;
            let error = outcome.error.map(|message| WaitError { message });
            ContainerWaitResponse { status_code: i64::from(outcome.code), error }
        })
    }

    /// Reads its log.
    ///
    /// # Errors
    /// `Invalid` for parameters that are wrong.
    pub fn logs(&self, id: &str, query: &ContainerLogsQuery) -> Result<LogStream> {
        let handle = self.find(id)?;
        Ok(logs::read(&handle, self.parts.settings.paths(&handle.id).log(), query)?)
    }

    /// Attaches a client; it is registered when this returns.
    ///
    /// # Errors
    /// `Conflict` where it is frozen or waits for its restart.
    pub async fn attach(&self, id: &str, query: ContainerAttachQuery) -> Result<Attachment> {
        let handle = self.find(id)?;
        let log = self.parts.settings.paths(&handle.id).log();
        Ok(attach::attach(&self.context, handle, query, log).await?)
    }

    /// Its processes, by the host's `ps`.
    ///
    /// # Errors
    /// `Conflict` where it does not run; those of `ps`.
    pub async fn top(&self, id: &str, query: ContainerTopQuery) -> Result<ContainerTopResponse> {
        let view = self.find(id)?.now();
        let arguments = query.ps_args.unwrap_or_else(|| "-ef".to_owned());
        let placement = crate::setup::placement(&self.parts, &view);
        let shown = top::top(&view, placement, &arguments).await?;
        control::event(&self.context, &view, "top", &[]);
        Ok(shown)
    }

    /// Removes it.
    ///
    /// # Errors
    /// `Conflict` where it runs and `force` is not given.
    pub async fn remove(&self, id: &str, query: ContainerRemoveQuery) -> Result<()> {
        if query.link {
            return Err(Error::Unsupported("the removal of links").into());
        }
        let handle = self.find(id)?;
        Ok(control::remove(&handle, id, query.force, query.v).await?)
    }

    /// Joins a container to a network.
    ///
    /// # Errors
    /// `Denied` where it is in it, `Invalid` where its namespace is another's.
    pub async fn connect(&self, id: &str, name: &str, wishes: EndpointSettings) -> Result<()> {
        Ok(network::connect(&self.parts, &*self.find(id)?, name, wishes).await?)
    }

    /// Takes a container out of a network.
    ///
    /// # Errors
    /// `Denied` where it is not in it.
    pub async fn disconnect(&self, id: &str, name: &str) -> Result<()> {
        Ok(network::disconnect(&self.parts, &*self.find(id)?, name).await?)
    }

    /// Removes those that do not run.
    ///
    /// # Errors
    /// `Conflict` where another prune is going on, `Invalid` for unknown filters.
    pub async fn prune(&self, query: ContainerPruneQuery) -> Result<ContainerPruneResponse> {
        let prune = Prune::read(&query.filters, Timestamp::now())?;
        let _permit = self.pruning.try_acquire().map_err(|_| Error::PruneRunning)?;
        let (mut deleted, mut reclaimed) = (Vec::new(), 0);
        for view in self.context.store.all() {
            if !prune.takes(&view) {
                continue;
            }
            let (size, _) = self.sizes(&view).await;
            let Ok(handle) = self.context.store.find(&view.id.to_string()) else { continue };
            // One that was started or removed meanwhile is left to whoever did it.
            match control::remove(&handle, &view.name, false, false).await {
                Ok(()) => {
                    deleted.push(view.id.to_string());
                    reclaimed += size;
                }
                Err(error) => tracing::debug!(container = %view.id, %error, "not pruned"),
            }
        }
        let attributes = [("reclaimed".to_owned(), reclaimed.to_string())].into();
        self.context.events.publish(Event::now(EventKind::Container, "prune", "", attributes));
        let containers_deleted = (!deleted.is_empty()).then_some(deleted);
        Ok(ContainerPruneResponse { containers_deleted, space_reclaimed: reclaimed })
    }
}

/// Reads a terminal's size.
pub fn size(query: ResizeQuery) -> Result<TerminalSize, Error> {
    let number = |name, value: Option<u32>| {
        let text = value.map(|n| n.to_string()).unwrap_or_default();
        value.and_then(|n| u16::try_from(n).ok()).ok_or(Fault::Value { name, value: text })
    };
    Ok(TerminalSize { height: number("h", query.h)?, width: number("w", query.w)? })
}
