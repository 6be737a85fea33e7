//! The execs of a container: running ones, and what became of the others.

use std::collections::BTreeMap;

use sheave_shim::protocol::{ExecPhase, ExitRecord, Response, Started};

use super::peer::Role;
use super::peers::Peers;
use super::task::{Task, TaskId};

#[derive(Debug)]
struct Entry {
    phase: ExecPhase,
    task: Option<Task>,
    /// The connection that waits for the start.
    waiter: u64,
    detached: bool,
}

/// The execs by id.
#[derive(Debug, Default)]
pub struct Execs(BTreeMap<String, Entry>);

impl Execs {
    /// Whether there is, or was, one of this id.
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Adds one that was just made, for a connection.
    pub fn add(&mut self, id: String, task: Task, waiter: u64, detached: bool) {
        self.0.insert(id, Entry { phase: ExecPhase::Starting, task: Some(task), waiter, detached });
    }

    /// The processes there are.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.0.iter().filter_map(|(id, entry)| Some((TaskId::Exec(id.clone()), entry.task.as_ref()?)))
    }

    /// The process of one.
    pub fn task(&self, id: &str) -> Option<&Task> {
        self.0.get(id)?.task.as_ref()
    }

    /// The process of one.
    pub fn task_mut(&mut self, id: &str) -> Option<&mut Task> {
        self.0.get_mut(id)?.task.as_mut()
    }

    /// How one stands.
    pub fn phase(&self, id: &str) -> Option<&ExecPhase> {
        self.0.get(id).map(|entry| &entry.phase)
    }

    /// How all stand.
    pub fn phases(&self) -> BTreeMap<String, ExecPhase> {
        self.0.iter().map(|(id, entry)| (id.clone(), entry.phase.clone())).collect()
    }

    /// Forgets one that has ended; `None` where there is none, `Some(false)` where it runs.
    pub fn forget(&mut self, id: &str) -> Option<bool> {
        let ended = matches!(self.0.get(id)?.phase, ExecPhase::Failed(_) | ExecPhase::Exited(_));
        if ended {
            self.0.remove(id);
        }
        Some(ended)
    }

    /// Its program runs.
    pub fn started(&mut self, id: &str, started: Started, peers: &mut Peers) {
        let Some(entry) = self.0.get_mut(id) else { return };
        entry.phase = ExecPhase::Running { pid: started.pid };
        if let Some(peer) = peers.get_mut(entry.waiter) {
            peer.send(&Response::ExecStarted(started));
            if entry.detached {
                peer.role = Role::Requests;
            }
        }
    }

    /// It could not be set up.
    pub fn failed(&mut self, id: &str, peers: &mut Peers) {
        let Some(entry) = self.0.get_mut(id) else { return };
        let Some(failed) = entry.task.take().and_then(|task| task.failure) else { return };
        entry.phase = ExecPhase::Failed(failed.clone());
        if let Some(peer) = peers.get_mut(entry.waiter) {
            peer.send(&Response::ExecFailed(failed));
            peer.role = Role::Requests;
        }
    }

    /// It ended. Output that processes it left behind still write is read and dropped, so that they are not stopped.
    pub fn ended(&mut self, id: &str, oom_killed: bool) -> Option<ExitRecord> {
        let entry = self.0.get_mut(id)?;
        let record = entry.task.as_ref()?.exit_record(oom_killed);
        entry.phase = ExecPhase::Exited(record);
        Some(record)
    }

    /// Forgets the processes of those that have ended and have no output any more.
    pub fn sweep(&mut self) {
        for entry in self.0.values_mut() {
            let ended = matches!(entry.phase, ExecPhase::Exited(_));
            if ended && entry.task.as_ref().is_some_and(|task| !task.io.is_open()) {
                entry.task = None;
            }
        }
    }
}
