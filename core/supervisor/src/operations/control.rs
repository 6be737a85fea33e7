//! Start, stop, restart, kill, remove, rename, pause, resize.

use std::sync::Arc;
use std::time::Duration;

use sheave_shim::protocol::{Request, TerminalSize};
use sheave_telemetry::events::{Event, EventKind};
use sheave_types::{ErrorKind, Kinded};
use tokio::sync::oneshot;

use crate::command::{Command, Reply};
use crate::driver::Context;
use crate::error::{Error, Fault};
use crate::record::View;
use crate::state::{Denied, Input, State};
use crate::store::Handle;
use crate::{names, signal};

/// Docker's default for `stop`, in seconds.
const STOP_TIMEOUT: i64 = 10;
/// How long a killed container may take to end, in seconds.
const KILLED: u64 = 30;

/// Sends a command and waits for the answer.
pub async fn ask<T>(handle: &Handle, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
    let (reply, answer) = oneshot::channel();
    let gone = || Error::Ended(handle.id.to_string());
    handle.mailbox.send(command(reply)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

async fn step(handle: &Handle, input: Input) -> Result<Arc<View>, Error> {
    ask(handle, |reply| Command::Step { input, reply }).await
}

/// Publishes an event of a container.
pub fn event(context: &Context, view: &View, action: impl Into<String>, more: &[(&str, String)]) {
    let mut attributes = view.record.attributes(&view.name);
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    context.events.publish(Event::now(EventKind::Container, action, view.id.to_string(), attributes));
}

/// Starts it.
pub async fn start(handle: &Handle) -> Result<(), Error> {
    step(handle, Input::Start).await.map(drop)
}

/// Freezes it.
pub async fn pause(handle: &Handle) -> Result<(), Error> {
    step(handle, Input::Pause).await.map(drop)
}

/// Lets it go on.
pub async fn unpause(handle: &Handle) -> Result<(), Error> {
    step(handle, Input::Unpause).await.map(drop)
}

/// Waits until the run that was going on when there were `ends` ends is over; false when `limit` passes first.
async fn over(handle: &Handle, ends: u64, limit: Option<Duration>) -> bool {
    let mut view = handle.view.clone();
    let ended = view.wait_for(|view| view.ends > ends || !view.state.is_running());
    match limit {
        // An error means that its driver has ended, after its removal.
        Some(limit) => tokio::time::timeout(limit, ended).await.is_ok(),
        None => {
            let _ = ended.await;
            true
        }
    }
}

/// Asks it to end, and kills it when it does not in time. `timeout` is in seconds; negative waits for ever.
pub async fn stop(context: &Context, handle: &Handle, signal: Option<&str>, timeout: Option<i64>) -> Result<(), Error> {
    let view = handle.now();
    let config = &view.record.config;
    let wanted = signal.filter(|s| !s.is_empty()).unwrap_or(&config.stop_signal);
    let signal = if wanted.is_empty() { libc::SIGTERM } else { signal::parse(wanted)? };
    let seconds = timeout.or(config.stop_timeout).unwrap_or(STOP_TIMEOUT);
    step(handle, Input::Stop { signal }).await?;
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    if !over(handle, view.ends, patience).await {
        finish(handle, view.ends).await?;
    }
    settle(handle).await;
    event(context, &handle.now(), "stop", &[]);
    Ok(())
}

/// Waits until the ports and addresses of the last run are free.
async fn settle(handle: &Handle) {
    // An error means that it was removed, which takes it down too.
    let _ = ask(handle, Command::Settle).await;
}

/// Kills it and waits for its end.
async fn finish(handle: &Handle, ends: u64) -> Result<(), Error> {
    match step(handle, Input::Kill { signal: libc::SIGKILL, ends: true }).await {
        Ok(_) | Err(Error::Denied { reason: Denied::NotRunning, .. } | Error::Ended(_)) => {}
        Err(error) => return Err(error),
    }
    if over(handle, ends, Some(Duration::from_secs(KILLED))).await {
        Ok(())
    } else {
        Err(Error::DidNotEnd(handle.id.to_string(), KILLED))
    }
}

/// Stops it if it runs, and starts it.
pub async fn restart(
    context: &Context,
    handle: &Handle,
    signal: Option<&str>,
    timeout: Option<i64>,
) -> Result<(), Error> {
    let keep = |keep| handle.mailbox.send(Command::Keep(keep));
    keep(true).await.map_err(|_| Error::Ended(handle.id.to_string()))?;
    let result = async {
        match stop(context, handle, signal, timeout).await {
            Err(error) if error.kind() != ErrorKind::NotModified => return Err(error),
            _ => {}
        }
        start(handle).await?;
        event(context, &handle.now(), "restart", &[]);
        Ok(())
    }
    .await;
    let _ = keep(false).await;
    result
}

/// Sends a signal; `SIGKILL`, the default, is waited for.
pub async fn kill(handle: &Handle, signal: Option<&str>) -> Result<(), Error> {
    let signal = signal.filter(|s| !s.is_empty()).map_or(Ok(libc::SIGKILL), signal::parse)?;
    let view = handle.now();
    if signal == libc::SIGKILL {
        if !view.state.is_running() {
            return Err(Error::Denied { reason: Denied::NotRunning, id: view.id.to_string() });
        }
        finish(handle, view.ends).await?;
        settle(handle).await;
        return Ok(());
    }
    // A signal that is not the container's own for stopping does not mean that it is to stay down.
    let own = &view.record.config.stop_signal;
    let ends = own.is_empty() || signal::parse(own).is_ok_and(|own| own == signal);
    step(handle, Input::Kill { signal, ends }).await.map(drop)
}

/// Removes it; with `force` it is killed first, with `volumes` its anonymous volumes go too.
pub async fn remove(handle: &Handle, given: &str, force: bool, volumes: bool) -> Result<(), Error> {
    let view = handle.now();
    if view.state.is_running() {
        if !force {
            return Err(Error::CannotRemove { name: format!("/{}", view.name), status: view.state.status() });
        }
        finish(handle, view.ends).await?;
    }
    match ask(handle, |reply| Command::Remove { volumes, reply }).await {
        // It removed itself (`--rm`) when it was killed.
        Err(Error::Ended(_)) if force => Ok(()),
        Err(Error::Ended(_) | Error::Denied { reason: Denied::RemovalInProgress, .. }) => {
            Err(Error::Denied { reason: Denied::RemovalInProgress, id: given.to_owned() })
        }
        Err(Error::Denied { reason: Denied::MustStop | Denied::IsPaused, .. }) => {
            Err(Error::CannotRemove { name: format!("/{}", view.name), status: handle.now().state.status() })
        }
        other => other.map(drop),
    }
}

/// Gives it another name.
pub async fn rename(context: &Context, handle: &Handle, name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Fault::EmptyName.into());
    }
    let name = names::check(name)?;
    if handle.now().name == name {
        return Err(Fault::SameName.into());
    }
    context.store.reserve(name, handle.id)?;
    let result = ask(handle, |reply| Command::Rename { name: name.to_owned(), reply }).await;
    if result.is_err() {
        context.store.release(name, handle.id);
    }
    result.map(drop)
}

/// Sets the size of its terminal.
pub async fn resize(context: &Context, handle: &Handle, size: TerminalSize) -> Result<(), Error> {
    let view = handle.now();
    if !matches!(view.state, State::Running(_) | State::Paused(_)) {
        return Err(Error::Denied { reason: Denied::NotRunning, id: view.id.to_string() });
    }
    let shim = context.resources.shim(&view);
    match shim.order(&Request::Resize { exec: None, size }).await {
        // Without a terminal there is nothing to do, which is no error in Docker either.
        Ok(()) | Err(Error::Refused { kind: ErrorKind::Conflict, .. }) => {}
        Err(error) => return Err(error),
    }
    let more = [("height", size.height.to_string()), ("width", size.width.to_string())];
    event(context, &view, "resize", &more);
    Ok(())
}
