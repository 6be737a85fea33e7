//! Follows one run to its end, whatever happens to its shim.

use std::time::Duration;

use sheave_shim::protocol::{Event, ExitRecord};
use tokio::sync::mpsc;

use crate::command::{Command, Report};
use crate::shim::{Process, Shim};
use crate::time::Timestamp;

/// How long a shim may take to end after its connection broke.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A run that is followed.
pub struct Watcher {
    shim: Shim,
    process: Process,
    run: u64,
    mailbox: mpsc::Sender<Command>,
}

impl Watcher {
    /// Follows run number `run` and reports to `mailbox`.
    pub fn new(shim: Shim, process: Process, run: u64, mailbox: mpsc::Sender<Command>) -> Self {
        Self { shim, process, run, mailbox }
    }

    /// Reports until the container has ended, then waits for its shim to end, and reaps it.
    pub async fn run(self) {
        let report = match self.events().await {
            Some(record) => ended(&record),
            None => {
                // The shim is gone or mute. Once it is gone, its record, if there is one, is complete.
                if tokio::time::timeout(LAST_WORDS, self.process.ended()).await.is_err() {
                    tracing::error!(dir = %self.shim.dir().display(), "the shim does not answer and is killed");
                    self.process.kill();
                    self.process.ended().await;
                }
                self.shim.exit_record().map_or_else(lost, |record| ended(&record))
            }
        };
        self.report(report).await;
        drop(self.mailbox);
        self.process.ended().await;
    }

    /// The record of the end, or nothing where the shim does not answer any more.
    async fn events(&self) -> Option<ExitRecord> {
        let mut events = self.shim.events().await.ok()?;
        loop {
            match events.next().await.ok()? {
                Event::Oom => self.report(Report::Oom).await,
                Event::ExecExited { id, record } => self.report(Report::ExecEnded { id, record }).await,
                Event::Exited(record) => return Some(record),
            }
        }
    }

    async fn report(&self, report: Report) {
        // An error means that the container is no more.
        let _ = self.mailbox.send(Command::Report { run: self.run, report }).await;
    }
}

/// The report of a recorded end.
pub fn ended(record: &ExitRecord) -> Report {
    let at = Timestamp::from_nanos(i64::try_from(record.finished_at).unwrap_or(i64::MAX));
    Report::Ended { code: record.code, at, oom_killed: record.oom_killed, error: String::new() }
}

/// The report of an end that nobody recorded.
pub fn lost() -> Report {
    Report::Ended { code: 137, at: Timestamp::now(), oom_killed: false, error: "shim-lost".to_owned() }
}
