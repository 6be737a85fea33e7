//! `sheave exec`

use std::process::ExitCode;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use clap::Args;

use crate::connection::Connection;
use crate::error::CliError;
use crate::{streams, terminal};

#[derive(Args)]
pub(crate) struct Exec {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// User or uid, with group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Directory that the command starts in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// With all capabilities
    #[arg(long)]
    privileged: bool,
    /// Container
    container: String,
    /// Command and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, engine: &Connection) -> Result<ExitCode, CliError> {
        let docker = engine.docker().await?;
        let config = ExecConfig {
            attach_stdin: Some(self.interactive && !self.detach),
            attach_stdout: Some(!self.detach),
            attach_stderr: Some(!self.detach),
            tty: Some(self.tty),
            env: (!self.env.is_empty()).then_some(self.env),
            cmd: Some(self.command),
            privileged: Some(self.privileged),
            user: self.user,
            working_dir: self.workdir,
            ..ExecConfig::default()
        };
        let exec = docker.create_exec(&self.container, config).await?.id;
        let options = StartExecOptions { detach: self.detach, tty: self.tty, output_capacity: None };
        let started = docker.start_exec(&exec, Some(options)).await.map_err(|e| CliError::from(e).of_start())?;
        let StartExecResults::Attached { output, input } = started else { return Ok(ExitCode::SUCCESS) };
        let raw = if self.tty && self.interactive { terminal::Raw::enter() } else { None };
        if self.tty {
            tokio::spawn(streams::follow_size(docker.clone(), streams::Sized::Exec(exec.clone())));
        }
        if self.interactive {
            tokio::spawn(streams::feed(input));
        }
        streams::drain(output).await?;
        drop(raw);
        let code = docker.inspect_exec(&exec).await?.exit_code.unwrap_or(0);
        Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(125)))
    }
}
