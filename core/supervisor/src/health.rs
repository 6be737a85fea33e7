//! Health checks: a program run in the container from time to time, whose result is the container's health.
//!
//! Docker: <https://docs.docker.com/reference/dockerfile/#healthcheck>

use std::sync::Arc;
use std::time::Duration;

use sheave_api::containers::{ExecCreateRequest, Health, HealthcheckResult};
use sheave_shim::protocol::{self, Attach, Request, Seccomp};
use sheave_types::Id;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::command::Command;
use crate::error::Error;
use crate::operations::exec;
use crate::parts::Parts;
use crate::record::View;
use crate::shim::{Output, Shim, StreamReader};
use crate::state::State;
use crate::time::Timestamp;

/// Results that are kept.
const KEPT: usize = 5;
/// Bytes of output that are kept of each.
const OUTPUT: usize = 4096;
/// The exit code of a check that took too long.
const TIMED_OUT: i64 = -1;

/// A check with its defaults filled in.
struct Check {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Check {
    fn of(view: &View) -> Option<Self> {
        let config = &view.record.config;
        let check = config.healthcheck.as_ref()?;
        let (kind, arguments) = check.test.split_first()?;
        let command = match kind.as_str() {
            "CMD" => arguments.to_vec(),
            "CMD-SHELL" => {
                let shell = config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
                shell.into_iter().chain(arguments.first().cloned()).collect()
            }
            _ => return None,
        };
        let or = |nanos: i64, default: u64| {
            u64::try_from(nanos).ok().filter(|n| *n > 0).map_or(Duration::from_secs(default), Duration::from_nanos)
        };
        Some(Self {
            command,
            interval: or(check.interval, 30),
            timeout: or(check.timeout, 30),
            start_period: Duration::from_nanos(u64::try_from(check.start_period).unwrap_or(0)),
            start_interval: or(check.start_interval, 5),
            retries: if check.retries > 0 { check.retries } else { 3 },
        })
    }
}

/// Begins the checks of a run; they end with the task.
pub fn begin(parts: Arc<Parts>, view: &View, run: u64, mailbox: mpsc::Sender<Command>) -> Option<JoinHandle<()>> {
    let check = Check::of(view)?;
    let id = view.id;
    Some(tokio::spawn(async move {
        let began = Instant::now();
        let mut health = Health { status: "starting".to_owned(), ..Health::default() };
        loop {
            let report = Command::Health { run, health: Arc::new(health.clone()) };
            if mailbox.send(report).await.is_err() {
                return;
            }
            let starting = health.status == "starting" && began.elapsed() < check.start_period;
            tokio::time::sleep(if starting { check.start_interval } else { check.interval }).await;
            let Ok(handle) = parts.store.find(&id.to_string()) else { return };
            let now = handle.now();
            if !matches!(now.state, State::Running(_)) {
                continue;
            }
            let result = probe(&parts, &now, &check).await;
            judge(&mut health, result, &check, began.elapsed());
        }
    }))
}

/// Takes a result into account.
fn judge(health: &mut Health, result: HealthcheckResult, check: &Check, since: Duration) {
    let failed = result.exit_code != 0;
    health.log.push(result);
    if health.log.len() > KEPT {
        health.log.remove(0);
    }
    if !failed {
        (health.status, health.failing_streak) = ("healthy".to_owned(), 0);
        return;
    }
    if health.status == "starting" && since < check.start_period {
        return;
    }
    health.failing_streak += 1;
    if health.failing_streak >= check.retries {
        health.status = "unhealthy".to_owned();
    }
}

async fn probe(parts: &Parts, view: &View, check: &Check) -> HealthcheckResult {
    let start = Timestamp::now();
    let (exit_code, output) = match run(parts, view, check).await {
        Ok(result) => result,
        Err(error) => (i64::from(libc::EXIT_FAILURE), error.to_string()),
    };
    HealthcheckResult { start: start.to_string(), end: Timestamp::now().to_string(), exit_code, output }
}

async fn run(parts: &Parts, view: &View, check: &Check) -> Result<(i64, String), Error> {
    let request = ExecCreateRequest { cmd: Some(check.command.clone()), ..ExecCreateRequest::default() };
    let id = Id::random().to_string();
    let order = protocol::Exec {
        id: id.clone(),
        process: exec::process(parts, view, &request).await?,
        seccomp: Seccomp::Init,
        terminal: None,
        attach: Attach { stdin: false, stdout: true, stderr: true },
        detach: false,
    };
    let shim = Shim::at(parts.settings.paths(&view.id).run);
    let mut output = Vec::new();
    let code = match shim.exec(order, None).await? {
        Err(failure) => {
            output = failure.message.into_bytes();
            1
        }
        Ok((_, mut reader, _writer)) => {
            match tokio::time::timeout(check.timeout, drain(&mut reader, &mut output)).await {
                Ok(code) => code?,
                Err(_) => {
                    let _ = shim.order(&Request::KillExec { id: id.clone(), signal: libc::SIGKILL }).await;
                    output = format!("Health check exceeded timeout ({:?})", check.timeout).into_bytes();
                    TIMED_OUT
                }
            }
        }
    };
    // Nobody asks for it again.
    let _ = shim.order(&Request::ExecForget { id }).await;
    Ok((code, String::from_utf8_lossy(&output).into_owned()))
}

async fn drain(reader: &mut StreamReader, output: &mut Vec<u8>) -> Result<i64, Error> {
    loop {
        match reader.next().await? {
            Output::Bytes(_, bytes) => {
                let room = OUTPUT.saturating_sub(output.len());
                output.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Output::Exited(record) => return Ok(i64::from(record.code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_results() {
        let check = Check {
            command: Vec::new(),
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            start_period: Duration::from_secs(10),
            start_interval: Duration::ZERO,
            retries: 2,
        };
        let mut health = Health { status: "starting".to_owned(), ..Health::default() };
        for (code, since, status, streak) in [
            (1, 1, "starting", 0),
            (0, 2, "healthy", 0),
            (1, 3, "healthy", 1),
            (1, 4, "unhealthy", 2),
            (0, 5, "healthy", 0),
            (1, 20, "healthy", 1),
        ] {
            let result = HealthcheckResult { exit_code: code, ..HealthcheckResult::default() };
            judge(&mut health, result, &check, Duration::from_secs(since));
            assert_eq!((health.status.as_str(), health.failing_streak), (status, streak));
        }
        assert_eq!(health.log.len(), KEPT);
    }
}
