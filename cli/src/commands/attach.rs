//! `sheave attach`

use std::process::ExitCode;

use bollard::query_parameters::{AttachContainerOptionsBuilder, WaitContainerOptionsBuilder};
use clap::Args;

use super::run;
use crate::connection::Connection;
use crate::error::CliError;
use crate::{streams, terminal};

#[derive(Args)]
pub(crate) struct Attach {
    /// Output only
    #[arg(long)]
    no_stdin: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Container
    container: String,
}

impl Attach {
    pub(crate) async fn run(self, engine: &Connection) -> Result<ExitCode, CliError> {
        let docker = engine.docker().await?;
        let found = docker.inspect_container(&self.container, None).await?;
        let id = found.id.unwrap_or_else(|| self.container.clone());
        if !found.state.and_then(|s| s.running).unwrap_or(false) {
            let message = "You cannot attach to a stopped container, start it first".to_owned();
            return Err(CliError::Engine { status: 409, message });
        }
        let config = found.config.unwrap_or_default();
        let (tty, stdin) = (config.tty.unwrap_or(false), config.open_stdin.unwrap_or(false) && !self.no_stdin);
        let wait = docker.wait_container(&id, None::<bollard::query_parameters::WaitContainerOptions>);
        let waiting = tokio::spawn(run::exit_code(Box::pin(wait)));
        let mut options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).stdin(stdin);
        if let Some(keys) = &self.detach_keys {
            options = options.detach_keys(keys);
        }
        let session = docker.attach_container(&id, Some(options.build())).await?;
        let raw = if tty && stdin { terminal::Raw::enter() } else { None };
        if tty {
            tokio::spawn(streams::follow_size(docker.clone(), streams::Sized::Container(id.clone())));
        } else if self.sig_proxy {
            tokio::spawn(streams::proxy_signals(docker.clone(), id.clone()));
        }
        if stdin {
            tokio::spawn(streams::feed(session.input));
        }
        streams::drain(session.output).await?;
        drop(raw);
        if run::still_runs(&docker, &id).await {
            return Ok(ExitCode::SUCCESS);
        }
        let code = waiting.await.map_err(|e| CliError::Answer(e.to_string()))??;
        Ok(ExitCode::from(code))
    }
}

/// Options of a wait for the next exit.
pub(crate) fn next_exit() -> bollard::query_parameters::WaitContainerOptions {
    WaitContainerOptionsBuilder::new().condition("next-exit").build()
}
