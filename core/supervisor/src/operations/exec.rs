//! Exec: create, start, resize; and the process that health checks run the same way.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use oci_spec::runtime::{Process, SpecBuilder};
use sheave_api::containers::{ExecCreateRequest, ExecStartRequest};
use sheave_shim::protocol::{self, Attach, ExitRecord, Request, Seccomp, TerminalSize};
use sheave_types::{Action, Id};

use super::control::event;
use crate::driver::Context;
use crate::error::Error;
use crate::exec::{Exec, Phase};
use crate::io::keys::Sequence;
use crate::io::mux::Framing;
use crate::io::session::{Client, Left, Terms};
use crate::parts::Parts;
use crate::record::View;
use crate::setup::spec as build;
use crate::shim::{Shim, StreamReader, StreamWriter};
use crate::spec::{MergedConfig, exec_process, user};
use crate::state::{Denied, State};

/// A container that runs.
fn running(context: &Context, name: &str) -> Result<Arc<View>, Error> {
    let view = context.store.find(name)?.now();
    let reason = match view.state {
        State::Running(_) => return Ok(view),
        State::Paused(_) => Denied::ExecPaused,
        State::Restarting { .. } => Denied::IsRestarting,
        _ => Denied::NotRunning,
    };
    Err(Error::Denied { reason, id: view.id.to_string() })
}

fn announce(context: &Context, view: &View, exec: &Exec, action: &str) {
    let action = if action.ends_with(':') { format!("{action} {}", exec.command()) } else { action.to_owned() };
    event(context, view, action, &[("execID", exec.id.clone())]);
}

/// Makes one.
pub fn create(
    parts: &Parts,
    context: &Context,
    container: &str,
    request: ExecCreateRequest,
) -> Result<Arc<Exec>, Error> {
    let view = running(context, container)?;
    Sequence::parse(&request.detach_keys)?;
    let exec = parts.execs.create(view.id, request)?;
    announce(context, &view, &exec, "exec_create:");
    Ok(exec)
}

/// An exec whose client is to be served.
#[derive(Debug)]
pub struct ExecSession {
    parts: Arc<Parts>,
    context: Context,
    exec: Arc<Exec>,
    terms: Terms,
    size: Option<[u32; 2]>,
}

/// Starts it where it is detached; otherwise it starts when its client is there.
pub async fn start(
    parts: Arc<Parts>,
    context: &Context,
    id: &str,
    request: &ExecStartRequest,
) -> Result<Option<ExecSession>, Error> {
    let exec = parts.execs.find(id)?;
    let view = running(context, &exec.container.to_string())?;
    exec.begin()?;
    let size = request.console_size.or(exec.request.console_size);
    if request.detach {
        launch(&parts, context, &view, &exec, (size, true)).await?;
        return Ok(None);
    }
    let terms = Terms {
        framing: Framing::of(exec.request.tty),
        stdin: exec.request.attach_stdin,
        detach: exec.request.tty.then(|| Sequence::parse(&exec.request.detach_keys)).transpose()?,
    };
    Ok(Some(ExecSession { parts, context: context.clone(), exec, terms, size }))
}

impl ExecSession {
    /// Whether the client gets frames.
    pub fn multiplexed(&self) -> bool {
        self.terms.framing == Framing::Multiplexed
    }

    /// Starts the process and serves the client to the end.
    pub async fn serve(self, mut client: Client) {
        let Self { parts, context, exec, terms, size } = self;
        let started = async {
            let view = running(&context, &exec.container.to_string()).inspect_err(|_| {
                exec.ended(128);
            })?;
            Ok::<_, Error>((launch(&parts, &context, &view, &exec, (size, false)).await?, view))
        };
        match started.await {
            Ok((streams, view)) => {
                // The client asks for the exit code as soon as its stream ends.
                let told = |record: &ExitRecord| context.resources.exec_ended(&view, &exec.id, record);
                if client.serve(streams, &terms, told).await == Left::Detached {
                    announce(&context, &view, &exec, "exec_detach");
                }
            }
            Err(error) => {
                client.say(&terms, &format!("{error}\r\n")).await;
                client.close().await;
            }
        }
    }
}

/// Runs the process; a failure is its end, with the code that Docker gives it.
async fn launch(
    parts: &Parts,
    context: &Context,
    view: &View,
    exec: &Exec,
    (size, detach): (Option<[u32; 2]>, bool),
) -> Result<(StreamReader, StreamWriter), Error> {
    let request = &exec.request;
    let attach = Attach { stdin: request.attach_stdin, stdout: request.attach_stdout, stderr: request.attach_stderr };
    let order = async {
        Ok::<_, Error>(protocol::Exec {
            id: exec.id.clone(),
            process: process(parts, view, request).await?,
            seccomp: Seccomp::Init,
            terminal: request.tty.then(|| terminal(size)),
            attach: if detach { Attach::default() } else { attach },
            detach,
        })
    };
    announce(context, view, exec, "exec_start:");
    let shim = Shim::at(parts.settings.paths(&view.id).run);
    let outcome = match order.await {
        Ok(order) => shim.exec(order, None).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(Ok((started, reader, writer))) => {
            exec.started(started.pid);
            Ok((reader, writer))
        }
        Ok(Err(failure)) => {
            let code = if failure.exit_code() == 128 { 126 } else { failure.exit_code() };
            exec.ended(code);
            let message =
                format!("OCI runtime exec failed: exec failed: unable to start container process: {}", failure.message);
            Err(Error::Start { message, code, kind: sheave_types::ErrorKind::Invalid })
        }
        Err(error) => {
            exec.ended(126);
            Err(error)
        }
    }
}

fn terminal(size: Option<[u32; 2]>) -> TerminalSize {
    let [height, width] = size.unwrap_or_default().map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    TerminalSize { height, width }
}

/// The process of an exec, its user resolved by the files that the container has now.
pub async fn process(parts: &Parts, view: &View, request: &ExecCreateRequest) -> Result<Process, Error> {
    let Some(run) = view.state.run() else {
        return Err(Error::Denied { reason: Denied::NotRunning, id: view.id.to_string() });
    };
    let record = &view.record;
    let root = format!("/proc/{}/root", run.pid);
    let name = if request.user.is_empty() { record.config.user.clone() } else { request.user.clone() };
    let groups = record.host_config.group_add.clone().unwrap_or_default();
    let resolving = tokio::task::spawn_blocking(move || {
        let root = File::open(&root).map_err(Error::file("open the container's root"))?;
        Ok::<_, Error>(user::resolve(root.as_fd(), &name, &groups)?)
    });
    let user = resolving.await.map_err(|error| Error::Shim(error.to_string()))??;
    let config = MergedConfig { config: record.config.clone() };
    let process = exec_process(&config, &record.host_config, request, &user, &parts.host)?;
    let spec = SpecBuilder::default().process(process).build().map_err(crate::spec::SpecError::from)?;
    let mut spec = build::ask_hooks(parts, view, Action::ExecStart, spec).await?;
    spec.process_mut().take().ok_or_else(|| Error::Shim("a hook removed the process".to_owned()))
}

/// Sets the size of its terminal.
pub async fn resize(parts: &Parts, id: &str, size: TerminalSize) -> Result<(), Error> {
    let exec = parts.execs.find(id)?;
    if !matches!(exec.phase(), Phase::Running { .. } | Phase::Starting) {
        return Err(crate::error::Fault::ExecNotRunning(id.to_owned()).into());
    }
    let shim = Shim::at(parts.settings.paths(&exec.container).run);
    shim.order(&Request::Resize { exec: Some(id.to_owned()), size }).await
}

/// Forgets old records, here and in the shims.
pub async fn sweep(parts: &Parts) {
    let runs = |id: Id| parts.store.find(&id.to_string()).is_ok_and(|handle| handle.now().state.run().is_some());
    for (container, execs) in parts.execs.sweep(runs) {
        let shim = Shim::at(parts.settings.paths(&container).run);
        for id in execs {
            // A shim that is gone has forgotten.
            let _ = shim.order(&Request::ExecForget { id }).await;
        }
    }
}
