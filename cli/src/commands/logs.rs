//! `sheave logs`

use bollard::query_parameters::LogsOptionsBuilder;
use clap::Args;

use crate::connection::{Connection, segment};
use crate::error::CliError;
use crate::{streams, units};

#[derive(Args)]
pub(crate) struct Logs {
    /// Go on as more comes
    #[arg(short, long)]
    follow: bool,
    /// The last N lines
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// With times
    #[arg(short, long)]
    timestamps: bool,
    /// Only from this time on (a time, or a duration before now)
    #[arg(long)]
    since: Option<String>,
    /// Only until this time
    #[arg(long)]
    until: Option<String>,
    /// Container
    container: String,
}

impl Logs {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        // The client library has whole seconds only for these two; checked here so that a bad time is refused.
        let seconds = |flag, value: &Option<String>| -> Result<i32, CliError> {
            let Some(value) = value else { return Ok(0) };
            let time = units::parse_time(flag, value)?;
            let whole = time.split('.').next().unwrap_or_default();
            whole.parse().map_err(|_| CliError::Flag { flag, reason: format!("{value:?} is out of range") })
        };
        let (since, until) = (seconds("--since", &self.since)?, seconds("--until", &self.until)?);
        engine.get(&format!("/containers/{}/json", segment(&self.container)), &[]).await?;
        let options = LogsOptionsBuilder::new()
            .follow(self.follow)
            .stdout(true)
            .stderr(true)
            .timestamps(self.timestamps)
            .tail(&self.tail)
            .since(since)
            .until(until)
            .build();
        let docker = engine.docker().await?;
        streams::drain(Box::pin(docker.logs(&self.container, Some(options)))).await
    }
}
