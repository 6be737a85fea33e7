//! The verbs that change what containers do: start, stop, restart, kill, pause, unpause, wait, rename, rm.

use std::process::ExitCode;

use bollard::query_parameters::AttachContainerOptionsBuilder;
use clap::Args;
use serde_json::Value;

use super::{attach, each, run};
use crate::connection::{Connection, segment};
use crate::error::CliError;
use crate::streams;

#[derive(Args)]
pub(crate) struct Names {
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Start {
    /// Show its output and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Stop {
    /// Seconds until it is killed
    #[arg(short, long, visible_alias = "timeout", allow_negative_numbers = true)]
    time: Option<i64>,
    /// Signal to stop it with
    #[arg(short, long)]
    signal: Option<String>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Kill {
    /// Signal
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Rename {
    /// Container
    container: String,
    /// New name
    name: String,
}

#[derive(Args)]
pub(crate) struct Rm {
    /// Running ones too
    #[arg(short, long)]
    force: bool,
    /// With their anonymous volumes
    #[arg(short, long)]
    volumes: bool,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

async fn post(engine: &Connection, name: &str, verb: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
    engine.request("POST", &format!("/containers/{}/{verb}", segment(name)), query).await
}

impl Names {
    pub(crate) async fn act(self, engine: &Connection, verb: &str) -> Result<(), CliError> {
        each(&self.containers, async |name| post(engine, name, verb, &[]).await.map(|_| name.to_owned())).await
    }

    pub(crate) async fn wait(self, engine: &Connection) -> Result<(), CliError> {
        each(&self.containers, async |name| {
            let answer = post(engine, name, "wait", &[]).await?;
            Ok(answer["StatusCode"].to_string())
        })
        .await
    }
}

impl Start {
    pub(crate) async fn run(self, engine: &Connection) -> Result<ExitCode, CliError> {
        if !self.attach && !self.interactive {
            each(&self.containers, async |name| post(engine, name, "start", &[]).await.map(|_| name.to_owned()))
                .await?;
            return Ok(ExitCode::SUCCESS);
        }
        let [name] = self.containers.as_slice() else {
            let reason = "you cannot start and attach multiple containers at once".to_owned();
            return Err(CliError::Flag { flag: "--attach", reason });
        };
        let docker = engine.docker().await?;
        let options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true);
        let session = docker.attach_container(name, Some(options.stdin(self.interactive).build())).await?;
        let waiting = tokio::spawn(run::exit_code(Box::pin(docker.wait_container(name, Some(attach::next_exit())))));
        post(engine, name, "start", &[]).await.map_err(CliError::of_start)?;
        tokio::spawn(streams::proxy_signals(docker.clone(), name.clone()));
        if self.interactive {
            tokio::spawn(streams::feed(session.input));
        }
        streams::drain(session.output).await?;
        let code = waiting.await.map_err(|e| CliError::Answer(e.to_string()))??;
        Ok(ExitCode::from(code))
    }
}

impl Stop {
    pub(crate) async fn run(self, engine: &Connection, verb: &str) -> Result<(), CliError> {
        let time = self.time.map(|t| t.to_string());
        let mut query = Vec::new();
        if let Some(time) = &time {
            query.push(("t", time.as_str()));
        }
        if let Some(signal) = &self.signal {
            query.push(("signal", signal.as_str()));
        }
        each(&self.containers, async |name| post(engine, name, verb, &query).await.map(|_| name.to_owned())).await
    }
}

impl Kill {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let query = [("signal", self.signal.as_str())];
        each(&self.containers, async |name| post(engine, name, "kill", &query).await.map(|_| name.to_owned())).await
    }
}

impl Rename {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        post(engine, &self.container, "rename", &[("name", &self.name)]).await.map(|_| ())
    }
}

impl Rm {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let flag = |b: bool| if b { "1" } else { "0" };
        let query = [("force", flag(self.force)), ("v", flag(self.volumes))];
        each(&self.containers, async |name| {
            let path = format!("/containers/{}", segment(name));
            engine.request("DELETE", &path, &query).await.map(|_| name.to_owned())
        })
        .await
    }
}
