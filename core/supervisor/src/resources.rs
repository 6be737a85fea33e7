//! The real parts behind a driver's decisions.

use std::sync::Arc;

use async_trait::async_trait;
use sheave_api::containers::NetworkSettings;
use sheave_shim::protocol::ExitRecord;
use sheave_telemetry::events::{Event, EventBus, EventKind};
use sheave_types::Id;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::command::{Command, Pending, Resources, SetUpError, Up};
use crate::error::Error;
use crate::parts::Parts;
use crate::record::{Record, View};
use crate::setup;
use crate::shim::Shim;

/// The parts, and the bus for events of what accompanies a run.
pub struct Real {
    /// The parts.
    pub parts: Arc<Parts>,
    /// The bus.
    pub events: Arc<EventBus>,
}

/// Removes what a container at rest consists of: its volumes' claims, its layer, its files.
pub async fn remove(parts: &Parts, id: &Id, record: &Record, volumes: bool) -> Result<(), Error> {
    for mounted in record.mounts.iter().filter(|mounted| mounted.point.kind == "volume") {
        let remove = volumes && mounted.anonymous;
        parts.neighbours.volumes.release(&mounted.point.name, id, remove).await?;
    }
    parts.neighbours.snapshots.remove(&record.driver, &id.to_string()).await?;
    crate::settings::remove_dir(&parts.settings.paths(id).bundle)
}

#[async_trait]
impl Resources for Real {
    async fn set_up(&self, view: &View, pending: Vec<Pending>) -> Result<Up, SetUpError> {
        setup::run(&self.parts, view, pending).await
    }

    async fn take_down(&self, view: &View) {
        setup::take_down(&self.parts, view).await;
    }

    async fn delete(&self, view: &View, volumes: bool) -> Result<(), Error> {
        remove(&self.parts, &view.id, &view.record, volumes).await?;
        self.parts.execs.container_removed(view.id);
        Ok(())
    }

    fn shim(&self, view: &View) -> Shim {
        Shim::at(self.parts.settings.paths(&view.id).run)
    }

    fn at_rest(&self, view: &View) -> NetworkSettings {
        crate::operations::create::at_rest(&view.record)
    }

    fn exec_ended(&self, view: &View, id: &str, record: &ExitRecord) {
        // A health check's exec is nobody's record.
        let Ok(exec) = self.parts.execs.find(id) else { return };
        if exec.ended(record.code) {
            let mut attributes = view.record.attributes(&view.name);
            attributes.insert("execID".into(), id.to_owned());
            attributes.insert("exitCode".into(), record.code.to_string());
            self.events.publish(Event::now(EventKind::Container, "exec_die", view.id.to_string(), attributes));
        }
    }

    fn ended(&self, view: &View) {
        self.parts.execs.container_ended(view.id);
    }

    fn accompany(&self, view: &View, run: u64, mailbox: mpsc::Sender<Command>) -> Vec<JoinHandle<()>> {
        crate::health::begin(self.parts.clone(), view, run, mailbox).into_iter().collect()
    }

    async fn renamed(&self, view: &View, from: &str) {
        self.parts.neighbours.networks.renamed(view, from).await;
    }
}
