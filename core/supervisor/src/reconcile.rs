//! After a start of the daemon: what is in the kernel and on disk is compared with the database.
//!
//! | The shim | Its records | The container |
//! |---|---|---|
//! | lives, container runs | | goes on; the name server's sockets are taken over |
//! | lives, container ended | `exit.json` | ends now, with its true code and time |
//! | lives, no container yet | none | its set-up is undone |
//! | is gone | `exit.json` | ends now, with its true code and time |
//! | is gone | `state.json` alone | is killed, code 137, `shim-lost` |
//! | is gone | none (a reboot) | had ended with the host: code 137, `shim-lost` |

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sheave_api::containers::NetworkSettings;
use sheave_metadata::ContainerRow;
use sheave_plugin::storage::SnapshotKind;
use sheave_shim::protocol::{Phase, Request, Response, StateRecord};
use sheave_types::Id;

use crate::command::{Command, Report};
use crate::driver::{self, Context};
use crate::error::Error;
use crate::parts::Parts;
use crate::record::{Live, Record, View};
use crate::setup;
use crate::shim::{Process, Shim};
use crate::state::{Attempt, Ending, Input, Run, State};
use crate::store::Handle;
use crate::time::Timestamp;
use crate::watcher;

/// How long a shim without a container may take to undo its part.
const UNDONE: Duration = Duration::from_secs(2);

/// Where the cgroups of containers without a wish are. Engines share it, so what is in it is not compared: a container's
/// cgroups are found by its directory.
const CGROUP_PARENT: &str = "sheave";

/// What was found of a container.
enum Found {
    /// It runs, or its shim has its end to tell.
    Alive(Box<StateRecord>, Process, Option<bool>),
    /// It has ended in a way that is known.
    Ended(Run, Report),
    /// Nothing of it runs.
    AtRest,
}

/// Recovers.
pub async fn run(parts: &Arc<Parts>, context: &Context) -> Result<(), Error> {
    let rows: Vec<ContainerRow<Record, Live>> = context.database.containers().all()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    for row in &rows {
        if let Ok(id) = row.id.parse() {
            // Before anything is looked up: the containers refer to each other by name.
            context.store.reserve(&row.name, id)?;
        }
    }
    let mut live = Vec::new();
    let mut known = BTreeSet::new();
    for row in rows {
        let Ok(id) = row.id.parse::<Id>() else { continue };
        known.insert(id);
        let found = look(parts, id, &row, &boot).await;
        if matches!(found, Found::Alive(..)) {
            live.push(id);
        }
        let handle = bring_back(parts, context, row, id, found).await;
        tracing::debug!(container = %id, state = handle.now().state.status(), "recovered");
    }
    parts.neighbours.networks.reconcile(&live).await;
    sweep(parts, &known).await;
    begin(context).await;
    Ok(())
}

/// Finds out what is left of a container.
async fn look(parts: &Parts, id: Id, row: &ContainerRow<Record, Live>, boot: &str) -> Found {
    let paths = parts.settings.paths(&id);
    let shim = Shim::at(&paths.run);
    let record = shim.state_record().filter(|record| record.boot_id == boot);
    if let Some(record) = record {
        if let Some(process) = setup::adopt_process(&record) {
            match shim.request(&Request::State).await {
                Ok((Response::State(state), _)) => match state.phase {
                    Phase::Running | Phase::Exited(_) => return Found::Alive(Box::new(record), process, Some(false)),
                    Phase::Paused => return Found::Alive(Box::new(record), process, Some(true)),
                    // Its control connection is gone: it undoes its part and ends.
                    Phase::Starting => end(&process).await,
                },
                // It does not answer: the watcher decides whether it is lost.
                _ => return Found::Alive(Box::new(record), process, None),
            }
            if shim.exit_record().is_none() {
                return Found::AtRest;
            }
        }
        let run = run_of(&row.state.state, &record);
        return match shim.exit_record() {
            Some(exit) => Found::Ended(run, watcher::ended(&exit)),
            None => Found::Ended(run, watcher::lost()),
        };
    }
    match &row.state.state {
        State::Running(run) | State::Paused(run) => Found::Ended(run.clone(), watcher::lost()),
        _ => Found::AtRest,
    }
}

async fn end(process: &Process) {
    if tokio::time::timeout(UNDONE, process.ended()).await.is_err() {
        process.kill();
        process.ended().await;
    }
}

/// The run that a shim's record tells of; what the database knows of it beyond that is kept.
fn run_of(stored: &State, record: &StateRecord) -> Run {
    let started = Timestamp::from_nanos(i64::try_from(record.started_at).unwrap_or(i64::MAX));
    match stored.run() {
        Some(run) if run.pid == record.pid => run.clone(),
        _ => {
            let attempt = match stored {
                State::Restarting { attempt, .. } => *attempt,
                _ => Attempt::default(),
            };
            Run { pid: record.pid, started, ending: Ending::ByItself, attempt }
        }
    }
}

/// Starts the driver of a container, in the state that was found.
async fn bring_back(
    parts: &Arc<Parts>,
    context: &Context,
    row: ContainerRow<Record, Live>,
    id: Id,
    found: Found,
) -> Arc<Handle> {
    let mut live = row.state;
    let view = |live: Live| View::new(id, row.name.clone(), row.doc.clone(), live);
    match found {
        Found::Alive(record, process, paused) => {
            let run = run_of(&live.state, &record);
            live.state = if paused == Some(true) { State::Paused(run) } else { State::Running(run) };
            let view = view(live);
            let shim = Shim::at(parts.settings.paths(&id).run);
            match shim.dns_sockets().await {
                Ok(sockets) => parts.neighbours.networks.adopt(&view, sockets).await,
                Err(error) => tracing::warn!(container = %id, %error, "the name server's sockets are not to be had"),
            }
            driver::start(context, view, Some(process))
        }
        Found::Ended(run, report) => {
            live.state = State::Running(run);
            let handle = driver::start(context, view(live), None);
            // The number of a run that nobody watches.
            let _ = handle.mailbox.send(Command::Report { run: 0, report }).await;
            handle
        }
        Found::AtRest => {
            let removing = matches!(live.state, State::Removing { .. });
            if let State::Removing { last } = live.state {
                live.state = State::Dead { last, reason: "the engine ended during the removal".to_owned() };
            }
            live.network = NetworkSettings { networks: row.doc.endpoints.clone(), ..NetworkSettings::default() };
            let view = view(live);
            setup::take_down(parts, &view).await;
            let handle = driver::start(context, view, None);
            if removing {
                let (reply, _) = tokio::sync::oneshot::channel();
                let _ = handle.mailbox.send(Command::Remove { volumes: false, reply }).await;
            }
            handle
        }
    }
}

/// Removes directories, with their cgroups, and layers of containers that the database does not know.
async fn sweep(parts: &Parts, known: &BTreeSet<Id>) {
    for dir in [parts.settings.containers(), parts.settings.exec_root.clone()] {
        for id in ids_in(&dir).filter(|id| !known.contains(id)) {
            orphan(parts, &dir.join(id.to_string()), &id).await;
        }
    }
    let snapshots = &parts.neighbours.snapshots;
    let driver = snapshots.default_driver();
    match snapshots.list(driver).await {
        Ok(list) => {
            for snapshot in list {
                let Ok(id) = snapshot.key.parse::<Id>() else { continue };
                if snapshot.kind == SnapshotKind::Active && !known.contains(&id) {
                    log(&id, snapshots.remove(driver, &snapshot.key).await);
                }
            }
        }
        Err(error) => tracing::warn!(%error, "the layers were not compared"),
    }
}

fn ids_in(dir: &Path) -> impl Iterator<Item = Id> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The directory, and perhaps a shim, of a container whose creation or removal was cut off.
async fn orphan(parts: &Parts, dir: &Path, id: &Id) {
    let shim = Shim::at(dir);
    if let Some(record) = shim.state_record() {
        if let Some(process) = setup::adopt_process(&record) {
            process.kill();
            process.ended().await;
        }
        crate::cgroup::destroy(&record.cgroup).await;
    }
    crate::cgroup::destroy(&parts.hierarchies.placement(CGROUP_PARENT, &id.to_string())).await;
    let shm = dir.join("shm");
    if shm.exists() {
        // Not mounted is what is wanted.
        let _ = nix::mount::umount2(&shm, nix::mount::MntFlags::MNT_DETACH);
    }
    if let Err(error) = crate::settings::remove_dir(dir) {
        tracing::warn!(dir = %dir.display(), %error, "an orphan was not removed");
    }
}

fn log(id: &Id, result: sheave_types::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(container = %id, %error, "a layer without a container was not removed");
    }
}

/// Starts the containers whose policy says so.
async fn begin(context: &Context) {
    for view in context.store.all() {
        let again = matches!(&view.state, State::Exited(last) if view.record.policy().at_boot(last));
        let Ok(handle) = context.store.find(&view.id.to_string()) else { continue };
        if again {
            let (reply, _) = tokio::sync::oneshot::channel();
            // Not waited for: one that is slow to start must not hold up the others.
            let _ = handle.mailbox.send(Command::Step { input: Input::Start, reply }).await;
        }
    }
}
