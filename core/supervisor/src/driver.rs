//! One task a container: it alone changes the container's state. Everybody else sends commands and reads the view.

use std::sync::Arc;

use sheave_api::containers::Health;
use sheave_metadata::Database;
use sheave_shim::protocol::Request;
use sheave_telemetry::events::{Event, EventBus, EventKind};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::Error;
use crate::command::{Command, Membership, Pending, Report, Resources, SetUpError};
use crate::record::View;
use crate::shim::Process;
use crate::state::{self, Denied, Effect, Happening, Input, State};
use crate::store::{Handle, Store};
use crate::time::Timestamp;
use crate::watcher::Watcher;

/// Commands that may wait for a driver.
const MAILBOX: usize = 64;

/// What every driver is given.
#[derive(Clone)]
pub struct Context {
    /// Where states are kept.
    pub database: Database,
    /// Where events go.
    pub events: Arc<EventBus>,
    /// All containers.
    pub store: Arc<Store>,
    /// The parts.
    pub resources: Arc<dyn Resources>,
}

/// The run that is going on.
struct Current {
    number: u64,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Current {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

struct Driver {
    context: Context,
    view: View,
    publisher: watch::Sender<Arc<View>>,
    mailbox: mpsc::Receiver<Command>,
    sender: mpsc::WeakSender<Command>,
    pending: Vec<Pending>,
    current: Current,
    take_down: Option<JoinHandle<()>>,
    intent: Intent,
}

/// What a driver has still to do, or must not.
#[derive(Debug, Default)]
struct Intent {
    /// The state has changed and is not stored.
    store: bool,
    /// The removal that is going on takes anonymous volumes too.
    remove_volumes: bool,
    /// A restart is going on: `--rm` does not apply to its stop.
    keep: bool,
}

/// Starts the driver of a container that is stored, and makes it known. `process` is the shim of one that runs already.
pub fn start(context: &Context, view: View, process: Option<Process>) -> Arc<Handle> {
    let (sender, mailbox) = mpsc::channel(MAILBOX);
    let (publisher, receiver) = watch::channel(Arc::new(view.clone()));
    let handle = Arc::new(Handle { id: view.id, mailbox: sender.clone(), view: receiver });
    let mut driver = Driver {
        context: context.clone(),
        view,
        publisher,
        mailbox,
        sender: sender.downgrade(),
        pending: Vec::new(),
        current: Current { number: 0, tasks: Vec::new() },
        take_down: None,
        intent: Intent::default(),
    };
    if let Some(process) = process {
        driver.watch(process);
        driver.accompany();
    }
    context.store.insert(handle.clone());
    tokio::spawn(driver.run());
    handle
}

impl Driver {
    async fn run(mut self) {
        loop {
            let due = self.due();
            let command = tokio::select! {
                command = self.mailbox.recv() => command,
                () = due => {
                    let result = self.step(Input::Due).await;
                    self.log("restart", result);
                    self.save();
                    continue;
                }
            };
            let Some(command) = command else { return };
            self.handle(command).await;
            self.save();
            if matches!(self.view.state, State::Gone { .. }) {
                return;
            }
        }
    }

    /// Ready when a restart is due; never in other states.
    fn due(&self) -> impl Future<Output = ()> + use<> {
        let wait = match &self.view.state {
            State::Restarting { until, .. } => Some(until.since(Timestamp::now())),
            _ => None,
        };
        async move {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Step { input, reply } => {
                let starts = input == Input::Start;
                let result = self.step(input).await.map(|()| self.published());
                let failed_start = starts && matches!(&result, Err(Error::Start { .. }));
                // A client that left does not undo what it asked for.
                let _ = reply.send(result);
                if failed_start {
                    self.auto_remove().await;
                }
            }
            Command::Remove { volumes, reply } => {
                self.intent.remove_volumes = volumes;
                let result = self.step(Input::Remove).await.map(|()| self.published());
                let _ = reply.send(result);
            }
            Command::Keep(keep) => {
                self.intent.keep = keep;
                self.auto_remove().await;
            }
            Command::Settle(reply) => {
                self.finish_take_down().await;
                let _ = reply.send(Ok(()));
            }
            Command::Attach(pending) => self.attach(pending),
            Command::Rename { name, reply } => {
                let old = self.view.name.clone();
                let renamed = self.rename(name);
                if renamed.is_ok() && self.view.state.run().is_some() {
                    self.context.resources.renamed(&self.view, &old).await;
                }
                let _ = reply.send(renamed);
            }
            Command::Network { change, reply } => {
                let _ = reply.send(self.membership(change));
            }
            Command::Health { run, health } => {
                if run == self.current.number && self.view.state.run().is_some() {
                    self.health(health);
                }
            }
            Command::Report { run, report } => {
                if run == self.current.number {
                    self.report(report).await;
                }
            }
        }
    }

    /// Decides and executes. The effects' own inputs are stepped before it returns.
    async fn step(&mut self, input: Input) -> Result<(), Error> {
        let denied = |reason: Denied| Error::Denied { reason, id: self.view.id.to_string() };
        let (next, effects) = state::step(&self.view.state, input).map_err(denied)?;
        let before = std::mem::replace(&mut self.view.state, next);
        self.intent.store = true;
        for effect in effects {
            let freezer = matches!(effect, Effect::Freeze | Effect::Thaw);
            if let Err(error) = Box::pin(self.execute(effect)).await {
                if freezer {
                    self.view.state = before;
                }
                return Err(error);
            }
        }
        self.publish();
        Ok(())
    }

    async fn execute(&mut self, effect: Effect) -> Result<(), Error> {
        match effect {
            Effect::SetUp => self.set_up().await,
            Effect::Signal(signal) => self.order(&Request::Kill { signal, all: false }).await,
            Effect::Freeze => self.order(&Request::Pause).await,
            Effect::Thaw => self.order(&Request::Resume).await,
            Effect::Announce(happening) => {
                self.announce(happening);
                Ok(())
            }
            Effect::TakeDown => {
                self.end_run();
                Ok(())
            }
            // The loop looks at the state for these two.
            Effect::Arm(_) | Effect::Disarm => Ok(()),
            Effect::Delete => self.delete().await,
        }
    }

    async fn set_up(&mut self) -> Result<(), Error> {
        self.finish_take_down().await;
        self.view.health = None;
        self.publish();
        let pending = std::mem::take(&mut self.pending);
        match self.context.resources.set_up(&self.view, pending).await {
            Ok(up) => {
                for warning in &up.warnings {
                    tracing::warn!(container = %self.view.id, warning, "container start");
                }
                self.view.network = Arc::new(up.network);
                self.watch(up.process);
                self.step(Input::Started { pid: up.pid, at: up.at }).await?;
                self.accompany();
                Ok(())
            }
            Err(SetUpError { failure, kind }) => {
                let error = Error::Start { message: failure.message.clone(), code: failure.code, kind };
                let restarting = matches!(&self.view.state, State::Starting { attempt, .. } if attempt.restarts > 0);
                self.view.network = Arc::new(self.context.resources.at_rest(&self.view));
                self.step(Input::Failed(failure)).await?;
                if restarting {
                    self.auto_remove().await;
                }
                Err(error)
            }
        }
    }

    /// An order to the shim. Where the process is gone already, its report is on the way and nothing is to be done.
    async fn order(&self, request: &Request) -> Result<(), Error> {
        match self.context.resources.shim(&self.view).order(request).await {
            Err(Error::ShimGone(_) | Error::Refused { kind: sheave_types::ErrorKind::Conflict, .. }) => Ok(()),
            other => other,
        }
    }

    fn announce(&self, happening: Happening) {
        let mut attributes = self.view.record.attributes(&self.view.name);
        let action = match happening {
            Happening::Start => "start",
            Happening::Die => {
                if let Some(exit) = self.view.state.last() {
                    let ran = exit.finished.since(exit.started).as_secs();
                    attributes.insert("exitCode".into(), exit.code.to_string());
                    attributes.insert("execDuration".into(), ran.to_string());
                }
                "die"
            }
            Happening::Kill(signal) => {
                attributes.insert("signal".into(), signal.to_string());
                "kill"
            }
            Happening::Pause => "pause",
            Happening::Unpause => "unpause",
            Happening::Destroy => "destroy",
        };
        self.event(action, attributes);
    }

    fn event(&self, action: impl Into<String>, attributes: std::collections::BTreeMap<String, String>) {
        self.context.events.publish(Event::now(EventKind::Container, action, self.view.id.to_string(), attributes));
    }

    /// Readers learn of the end first; what the run used is taken down beside everything else.
    fn end_run(&mut self) {
        self.view.ends += 1;
        self.view.health = None;
        let running = self.view.clone();
        self.current.tasks.drain(..).for_each(|task| task.abort());
        self.view.network = Arc::new(self.context.resources.at_rest(&self.view));
        self.context.resources.ended(&self.view);
        self.publish();
        self.save();
        let resources = self.context.resources.clone();
        self.take_down = Some(tokio::spawn(async move { resources.take_down(&running).await }));
    }

    async fn finish_take_down(&mut self) {
        if let Some(task) = self.take_down.take()
            && let Err(error) = task.await
        {
            tracing::error!(container = %self.view.id, %error, "take-down failed");
        }
    }

    async fn delete(&mut self) -> Result<(), Error> {
        self.finish_take_down().await;
        self.publish();
        match self.context.resources.delete(&self.view, self.intent.remove_volumes).await {
            Ok(()) => {
                if let Err(error) = self.context.database.containers().remove(&self.view.id.to_string()) {
                    return self.stuck(Error::Database(error)).await;
                }
                self.context.store.remove(self.view.id, &self.view.name);
                self.step(Input::Removed).await
            }
            Err(error) => self.stuck(error).await,
        }
    }

    async fn stuck(&mut self, error: Error) -> Result<(), Error> {
        self.step(Input::Stuck { reason: error.to_string() }).await?;
        Err(error)
    }

    async fn report(&mut self, report: Report) {
        match report {
            Report::Oom => self.event("oom", self.view.record.attributes(&self.view.name)),
            Report::ExecEnded { id, record } => self.context.resources.exec_ended(&self.view, &id, &record),
            Report::Ended { code, at, oom_killed, error } => {
                let policy = self.view.record.policy();
                let result = self.step(Input::Ended { code, at, oom_killed, error, policy }).await;
                self.log("end", result);
                self.auto_remove().await;
            }
        }
    }

    /// `--rm`: a container at rest that has run, or failed to, goes with its anonymous volumes.
    async fn auto_remove(&mut self) {
        let at_rest = matches!(self.view.state, State::Created { .. } | State::Exited(_));
        if at_rest && self.view.record.host_config.auto_remove && !self.intent.keep {
            self.intent.remove_volumes = true;
            let result = self.step(Input::Remove).await;
            self.log("removal", result);
        }
    }

    fn log(&self, what: &str, result: Result<(), Error>) {
        if let Err(error) = result {
            tracing::warn!(container = %self.view.id, %error, "{what} failed");
        }
    }

    fn attach(&mut self, pending: Pending) {
        match &self.view.state {
            State::Running(_) | State::Paused(_) => {
                let shim = self.context.resources.shim(&self.view);
                // On a task of its own: the shim may take its time, the driver may not.
                tokio::spawn(async move {
                    let _ = pending.reply.send(shim.attach(pending.streams).await);
                });
            }
            State::Removing { .. } | State::Dead { .. } | State::Gone { .. } => {
                let _ = pending.reply.send(Err(Error::Ended(self.view.id.to_string())));
            }
            _ => {
                self.pending.retain(|other| !other.reply.is_closed());
                self.pending.push(pending);
            }
        }
    }

    fn rename(&mut self, name: String) -> Result<Arc<View>, Error> {
        self.context.database.containers().rename(&self.view.id.to_string(), &name)?;
        let old = std::mem::replace(&mut self.view.name, name);
        self.context.store.release(&old, self.view.id);
        let mut attributes = self.view.record.attributes(&self.view.name);
        attributes.insert("oldName".into(), format!("/{old}"));
        self.event("rename", attributes);
        self.publish();
        Ok(self.published())
    }

    fn membership(&mut self, change: Membership) -> Result<(), Error> {
        let mut record = (*self.view.record).clone();
        let mut settings = (*self.view.network).clone();
        match change {
            Membership::Joined { network, wishes, now } => {
                settings.networks.insert(network.clone(), now.map_or_else(|| (*wishes).clone(), |now| *now));
                record.endpoints.insert(network, *wishes);
            }
            Membership::Left { network } => {
                settings.networks.remove(&network);
                record.endpoints.remove(&network);
            }
        }
        settings.repeat_default_bridge();
        self.context.database.containers().set_doc(&self.view.id.to_string(), &record)?;
        self.view.record = Arc::new(record);
        self.view.network = Arc::new(settings);
        self.intent.store = true;
        self.publish();
        Ok(())
    }

    fn health(&mut self, health: Arc<Health>) {
        let before = self.view.health.as_ref().map(|health| health.status.clone());
        if before.as_deref() != Some(health.status.as_str()) && before.is_some() {
            let attributes = self.view.record.attributes(&self.view.name);
            self.event(format!("health_status: {}", health.status), attributes);
        }
        self.view.health = Some(health);
        self.publish();
    }

    /// Begins a run: its shim is watched, and reports of earlier runs are no longer heard.
    fn watch(&mut self, process: Process) {
        let number = self.current.number + 1;
        let Some(mailbox) = self.sender.upgrade() else { return };
        let shim = self.context.resources.shim(&self.view);
        // The watcher also reaps the shim, so it outlives the run and ends by itself.
        tokio::spawn(Watcher::new(shim, process, number, mailbox).run());
        self.current = Current { number, tasks: Vec::new() };
    }

    fn accompany(&mut self) {
        let Some(mailbox) = self.sender.upgrade() else { return };
        self.current.tasks = self.context.resources.accompany(&self.view, self.current.number, mailbox);
    }

    fn publish(&mut self) {
        self.view.refresh();
        self.publisher.send_replace(Arc::new(self.view.clone()));
    }

    fn published(&self) -> Arc<View> {
        self.publisher.borrow().clone()
    }

    /// Stores the state if it changed. A set-up in progress is not stored: the shim's own record tells of it.
    fn save(&mut self) {
        let transient = matches!(self.view.state, State::Starting { .. } | State::Gone { .. });
        if !std::mem::take(&mut self.intent.store) || transient {
            return;
        }
        let stored = self.context.database.containers().set_state(&self.view.id.to_string(), &self.view.live());
        if let Err(error) = stored {
            tracing::error!(container = %self.view.id, %error, "the state was not stored");
            self.intent.store = true;
        }
    }
}
