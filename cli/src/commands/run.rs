//! `sheave run` and `sheave create`

use std::process::ExitCode;

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, StartContainerOptions, WaitContainerOptionsBuilder,
};
use clap::Args;
use futures_util::StreamExt;

use super::pull;
use crate::connection::Connection;
use crate::error::CliError;
use crate::flags::ContainerFlags;
use crate::{streams, terminal};

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Run {
    /// Run in the background and print the id
    #[arg(short, long)]
    detach: bool,
    /// Write the id to a file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<std::path::PathBuf>,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    container: ContainerFlags,
}

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Create {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    container: ContainerFlags,
}

async fn create(docker: &Docker, flags: &ContainerFlags, body: ContainerCreateBody) -> Result<String, CliError> {
    if flags.pull == "always" {
        pull::download(docker, &flags.image, flags.platform.as_deref(), true).await?;
    }
    let mut options = CreateContainerOptionsBuilder::new();
    if let Some(name) = &flags.name {
        options = options.name(name);
    }
    if let Some(platform) = &flags.platform {
        options = options.platform(platform);
    }
    let options = options.build();
    let created = match docker.create_container(Some(options.clone()), body.clone()).await.map_err(CliError::from) {
        Err(CliError::Engine { status: 404, message })
            if flags.pull != "never" && message.contains("No such image") =>
        {
            eprintln!("Unable to find image '{}' locally", flags.image);
            pull::download(docker, &flags.image, flags.platform.as_deref(), true).await?;
            docker.create_container(Some(options), body).await?
        }
        other => other?,
    };
    created.warnings.iter().for_each(|w| eprintln!("WARNING: {w}"));
    Ok(created.id)
}

impl Create {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let docker = engine.docker().await?;
        println!("{}", create(&docker, &self.container, self.container.body(false)?).await?);
        Ok(())
    }
}

impl Run {
    pub(crate) async fn run(self, engine: &Connection) -> Result<ExitCode, CliError> {
        let docker = engine.docker().await.map_err(CliError::of_start)?;
        let body = self.container.body(!self.detach)?;
        let id = create(&docker, &self.container, body).await.map_err(CliError::of_start)?;
        if let Some(file) = &self.cidfile {
            std::fs::write(file, &id)?;
        }
        if self.detach {
            docker
                .start_container(&id, None::<StartContainerOptions>)
                .await
                .map_err(|e| CliError::from(e).of_start())?;
            println!("{id}");
            return Ok(ExitCode::SUCCESS);
        }
        self.foreground(&docker, &id).await
    }

    async fn foreground(&self, docker: &Docker, id: &str) -> Result<ExitCode, CliError> {
        let flags = &self.container;
        let mut options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true);
        options = options.stdin(flags.interactive);
        if let Some(keys) = &self.detach_keys {
            options = options.detach_keys(keys);
        }
        let session = docker.attach_container(id, Some(options.build())).await?;
        let condition = if flags.rm { "removed" } else { "next-exit" };
        let wait = docker.wait_container(id, Some(WaitContainerOptionsBuilder::new().condition(condition).build()));
        let waiting = tokio::spawn(exit_code(Box::pin(wait)));
        let started = docker.start_container(id, None::<StartContainerOptions>).await;
        started.map_err(|e| CliError::from(e).of_start())?;
        let raw = if flags.tty && flags.interactive { terminal::Raw::enter() } else { None };
        if flags.tty {
            tokio::spawn(streams::follow_size(docker.clone(), streams::Sized::Container(id.to_owned())));
        } else {
            tokio::spawn(streams::proxy_signals(docker.clone(), id.to_owned()));
        }
        if flags.interactive {
            tokio::spawn(streams::feed(session.input));
        }
        streams::drain(session.output).await?;
        drop(raw);
        let detached = flags.tty && still_runs(docker, id).await;
        if detached {
            return Ok(ExitCode::SUCCESS);
        }
        let code = waiting.await.map_err(|e| CliError::Answer(e.to_string()))??;
        Ok(ExitCode::from(code))
    }
}

/// Whether a session ended because the user detached.
pub(crate) async fn still_runs(docker: &Docker, id: &str) -> bool {
    let found = docker.inspect_container(id, None).await;
    found.ok().and_then(|c| c.state).and_then(|s| s.running).unwrap_or(false)
}

type Waiting = std::pin::Pin<
    Box<dyn futures_util::Stream<Item = Result<bollard::models::ContainerWaitResponse, bollard::errors::Error>> + Send>,
>;

/// The exit code that the engine answers a wait with.
pub(crate) async fn exit_code(mut wait: Waiting) -> Result<u8, CliError> {
    let code = match wait.next().await {
        Some(Ok(answer)) => answer.status_code,
        Some(Err(bollard::errors::Error::DockerContainerWaitError { error, code })) => {
            if !error.is_empty() {
                eprintln!("sheave: {error}");
            }
            code
        }
        Some(Err(e)) => return Err(e.into()),
        None => return Err(CliError::Answer("the engine ended a wait without an exit code".to_owned())),
    };
    Ok(u8::try_from(code & 0xff).unwrap_or(125))
}
