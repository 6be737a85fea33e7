//! `sheave volume …`

use bollard::models::VolumeCreateRequest;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::networks::confirmed;
use super::ps::{lines, text};
use super::{each, filters, inspect, pairs};
use crate::connection::{Connection, segment};
use crate::error::CliError;
use crate::{table, units};

#[derive(Subcommand)]
pub(crate) enum Volume {
    /// List volumes
    Ls(Ls),
    /// Create a volume
    Create(Create),
    /// Show everything known of volumes
    Inspect(Inspect),
    /// Remove volumes
    Rm(Rm),
    /// Remove volumes that are not used
    Prune(Prune),
}

#[derive(Args)]
pub(crate) struct Ls {
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    /// Only those that match
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Template for each line, or json
    #[arg(long)]
    format: Option<String>,
}

#[derive(Args)]
pub(crate) struct Create {
    /// Driver
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Set metadata
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Name; a random one where none is given
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// Template, or json
    #[arg(short, long)]
    format: Option<String>,
    /// Volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Rm {
    /// Missing ones are no error
    #[arg(short, long)]
    force: bool,
    /// Volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Prune {
    /// Named ones too
    #[arg(short, long)]
    all: bool,
    /// Only those that match
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Volume {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        match self {
            Self::Ls(c) => c.run(engine).await,
            Self::Create(c) => {
                let request = VolumeCreateRequest {
                    name: c.name,
                    driver: Some(c.driver),
                    driver_opts: Some(pairs(&c.opt)),
                    labels: Some(pairs(&c.label)),
                    ..VolumeCreateRequest::default()
                };
                println!("{}", engine.docker().await?.create_volume(request).await?.name);
                Ok(())
            }
            Self::Inspect(c) => {
                let (mut found, mut errors) = (Vec::new(), Vec::new());
                for name in &c.volumes {
                    match inspect::find(engine, name, Some("volume"), false).await {
                        Ok(value) => found.push(value),
                        Err(e) => errors.push(e.to_string()),
                    }
                }
                inspect::show(found, errors, c.format.as_deref())
            }
            Self::Rm(c) => {
                let force = [("force", if c.force { "1" } else { "0" })];
                each(&c.volumes, async |name| {
                    engine
                        .request("DELETE", &format!("/volumes/{}", segment(name)), &force)
                        .await
                        .map(|_| name.to_owned())
                })
                .await
            }
            Self::Prune(c) => c.run(engine).await,
        }
    }
}

impl Ls {
    async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let filters = filters(&self.filter)?;
        let answer = engine.get("/volumes", &[("filters", &filters)]).await?;
        let row = |v: &Value| json!({"Name": v["Name"], "Driver": v["Driver"], "Scope": v["Scope"], "Mountpoint": v["Mountpoint"]});
        let mut rows: Vec<Value> = answer["Volumes"].as_array().into_iter().flatten().map(row).collect();
        rows.sort_by_key(|r| text(&r["Name"]));
        if self.quiet {
            rows.iter().for_each(|r| println!("{}", text(&r["Name"])));
            return Ok(());
        }
        if let Some(format) = &self.format {
            return lines(format, &rows);
        }
        let cells: Vec<Vec<String>> = rows.iter().map(|r| vec![text(&r["Driver"]), text(&r["Name"])]).collect();
        print!("{}", table::render(&["DRIVER", "VOLUME NAME"], &cells));
        Ok(())
    }
}

impl Prune {
    async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let what = if self.all { "all" } else { "anonymous" };
        if !confirmed(
            self.force,
            &format!("This will remove {what} local volumes not used by at least one container."),
        )? {
            return Ok(());
        }
        let mut flags = self.filter.clone();
        if self.all {
            flags.push("all=true".to_owned());
        }
        let filters = filters(&flags)?;
        let answer = engine.request("POST", "/volumes/prune", &[("filters", &filters)]).await?;
        answer["VolumesDeleted"].as_array().into_iter().flatten().for_each(|n| println!("{}", text(n)));
        println!("Total reclaimed space: {}", units::size(answer["SpaceReclaimed"].as_i64().unwrap_or(0)));
        Ok(())
    }
}
