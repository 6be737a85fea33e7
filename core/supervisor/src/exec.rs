//! Programs run in running containers: their records, from create to the sweep that forgets them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sheave_api::containers::{ExecCreateRequest, ExecInspectResponse, ExecProcessConfig};
use sheave_types::Id;

use crate::error::{Error, Fault};

/// Where an exec is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It was never started.
    Created,
    /// It is being set up.
    Starting,
    /// It runs.
    Running {
        /// In the host's numbering.
        pid: i32,
    },
    /// It ended, or could not be run.
    Ended {
        /// Its exit code; 126 and 127 where it could not be run.
        code: i32,
    },
}

/// An exec.
#[derive(Debug)]
pub struct Exec {
    /// Its id.
    pub id: String,
    /// The container it is of.
    pub container: Id,
    /// What was asked for.
    pub request: ExecCreateRequest,
    phase: Mutex<Phase>,
}

impl Exec {
    /// Where it is.
    pub fn phase(&self) -> Phase {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it from created to starting; only one caller succeeds.
    ///
    /// # Errors
    /// `Conflict` when it runs or has run.
    pub fn begin(&self) -> Result<(), Error> {
        let mut phase = self.lock();
        match *phase {
            Phase::Created => {
                *phase = Phase::Starting;
                Ok(())
            }
            Phase::Starting | Phase::Running { .. } => Err(Fault::ExecRuns(self.id.clone()).into()),
            Phase::Ended { .. } => Err(Fault::ExecHasRun(self.id.clone()).into()),
        }
    }

    /// It runs, unless its end was reported before.
    pub fn started(&self, pid: i32) {
        let mut phase = self.lock();
        if *phase == Phase::Starting {
            *phase = Phase::Running { pid };
        }
    }

    /// It ended; false if that was known.
    pub fn ended(&self, code: i32) -> bool {
        let mut phase = self.lock();
        let news = !matches!(*phase, Phase::Ended { .. });
        *phase = Phase::Ended { code };
        news
    }

    /// The command as events name it.
    pub fn command(&self) -> String {
        self.request.cmd.as_deref().unwrap_or_default().join(" ")
    }

    /// What inspect shows.
    pub fn inspect(&self) -> ExecInspectResponse {
        let phase = self.phase();
        let mut command = self.request.cmd.clone().unwrap_or_default().into_iter();
        ExecInspectResponse {
            id: self.id.clone(),
            running: matches!(phase, Phase::Running { .. }),
            exit_code: match phase {
                Phase::Ended { code } => Some(i64::from(code)),
                _ => None,
            },
            process_config: ExecProcessConfig {
                tty: self.request.tty,
                entrypoint: command.next().unwrap_or_default(),
                arguments: command.collect(),
                privileged: Some(self.request.privileged),
                user: self.request.user.clone(),
            },
            open_stdin: self.request.attach_stdin,
            open_stderr: self.request.attach_stderr,
            open_stdout: self.request.attach_stdout,
            can_remove: matches!(phase, Phase::Ended { .. }),
            container_id: self.container.to_string(),
            detach_keys: String::new(),
            pid: match phase {
                Phase::Running { pid } => i64::from(pid),
                _ => 0,
            },
        }
    }
}

#[derive(Debug)]
struct Entry {
    exec: Arc<Exec>,
    // How many sweeps have found it ended.
    sweeps: u32,
}

/// All execs.
#[derive(Debug, Default)]
pub struct Execs {
    entries: Mutex<HashMap<String, Entry>>,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an exec to a container that runs.
    ///
    /// # Errors
    /// `Invalid` without a command.
    pub fn create(&self, container: Id, request: ExecCreateRequest) -> Result<Arc<Exec>, Error> {
        if request.cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Fault::NoCommand.into());
        }
        let id = Id::random().to_string();
        let exec = Arc::new(Exec { id: id.clone(), container, request, phase: Mutex::new(Phase::Created) });
        self.lock().insert(id, Entry { exec: exec.clone(), sweeps: 0 });
        Ok(exec)
    }

    /// Finds one by its id.
    ///
    /// # Errors
    /// `NotFound` with Docker's text.
    pub fn find(&self, id: &str) -> Result<Arc<Exec>, Error> {
        self.lock().get(id).map(|entry| entry.exec.clone()).ok_or_else(|| Error::NoSuchExec(id.to_owned()))
    }

    /// Ids of those of a container that have not ended, for its inspect; `None` if there are none.
    pub fn of(&self, container: Id) -> Option<Vec<String>> {
        let entries = self.lock();
        let live = entries.values().filter(|entry| entry.exec.container == container);
        let live = live.filter(|entry| !matches!(entry.exec.phase(), Phase::Ended { .. }));
        let ids: Vec<_> = live.map(|entry| entry.exec.id.clone()).collect();
        (!ids.is_empty()).then_some(ids)
    }

    /// A container ended, and with it all that ran in it.
    pub fn container_ended(&self, container: Id) {
        for entry in self.lock().values().filter(|entry| entry.exec.container == container) {
            if entry.exec.phase() != Phase::Created {
                entry.exec.ended(137);
            }
        }
    }

    /// Forgets those of a container that is removed.
    pub fn container_removed(&self, container: Id) {
        self.lock().retain(|_, entry| entry.exec.container != container);
    }

    /// Forgets those that had ended at the last sweep already, and those never started in a container that does not run.
    /// Returns the forgotten ones by container, so that shims forget them too.
    pub fn sweep(&self, runs: impl Fn(Id) -> bool) -> BTreeMap<Id, Vec<String>> {
        let mut forgotten: BTreeMap<Id, Vec<String>> = BTreeMap::new();
        self.lock().retain(|id, entry| {
            let exec = &entry.exec;
            let over = matches!(exec.phase(), Phase::Ended { .. }) || !runs(exec.container);
            entry.sweeps = if over { entry.sweeps + 1 } else { 0 };
            if entry.sweeps > 1 {
                forgotten.entry(exec.container).or_default().push(id.clone());
            }
            entry.sweeps <= 1
        });
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ExecCreateRequest {
        ExecCreateRequest { cmd: Some(vec!["ls".into(), "-l".into()]), ..ExecCreateRequest::default() }
    }

    #[test]
    fn runs_once() {
        let execs = Execs::default();
        let container = Id::random();
        assert!(execs.create(container, ExecCreateRequest::default()).is_err());
        let exec = execs.create(container, request()).unwrap();
        assert_eq!(exec.command(), "ls -l");
        assert_eq!(exec.inspect().exit_code, None);
        exec.begin().unwrap();
        assert!(exec.begin().is_err());
        exec.started(5);
        assert_eq!(execs.of(container), Some(vec![exec.id.clone()]));
        assert!(exec.ended(3) && !exec.ended(3));
        exec.started(5);
        assert_eq!((exec.inspect().exit_code, exec.inspect().running), (Some(3), false));
        assert_eq!(execs.of(container), None);
        assert!(exec.begin().is_err());
    }

    #[test]
    fn forgets_at_the_second_sweep() {
        let execs = Execs::default();
        let container = Id::random();
        let ended = execs.create(container, request()).unwrap();
        let waiting = execs.create(container, request()).unwrap();
        ended.begin().unwrap();
        ended.ended(0);
        assert!(execs.sweep(|_| true).is_empty());
        assert_eq!(execs.sweep(|_| true).get(&container), Some(&vec![ended.id.clone()]));
        assert!(execs.find(&ended.id).is_err() && execs.find(&waiting.id).is_ok());
        execs.sweep(|_| false);
        assert_eq!(execs.sweep(|_| false).get(&container), Some(&vec![waiting.id.clone()]));
    }
}
