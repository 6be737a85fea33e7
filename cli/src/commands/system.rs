//! `sheave version`, `info`, `events`, `completion`

use bollard::query_parameters::EventsOptionsBuilder;
use clap::{Args, CommandFactory};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::filter_map;
use super::ps::text;
use crate::connection::Connection;
use crate::error::CliError;
use crate::template::Template;
use crate::units;

#[derive(Args)]
pub(crate) struct Format {
    /// Template, or json
    #[arg(short, long)]
    format: Option<String>,
}

#[derive(Args)]
pub(crate) struct Events {
    /// From this time on (a time, or a duration before now)
    #[arg(long)]
    since: Option<String>,
    /// Until this time
    #[arg(long)]
    until: Option<String>,
    /// Only those that match
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Template for each line, or json
    #[arg(long)]
    format: Option<String>,
}

#[derive(Args)]
pub(crate) struct Completion {
    /// Shell
    shell: clap_complete::Shell,
}

impl Completion {
    pub(crate) fn run(self) {
        let mut command = crate::Cli::command();
        clap_complete::generate(self.shell, &mut command, "sheave", &mut std::io::stdout());
    }
}

impl Format {
    pub(crate) async fn version(self, engine: &Connection) -> Result<(), CliError> {
        let client =
            json!({"Version": env!("CARGO_PKG_VERSION"), "Os": std::env::consts::OS, "Arch": std::env::consts::ARCH});
        let server = engine.get("/version", &[]).await;
        if let Some(format) = &self.format {
            let value = json!({"Client": client, "Server": server?});
            println!("{}", Template::parse(format)?.render(&value)?);
            return Ok(());
        }
        println!(
            "Client: Sheave\n Version:      {}\n OS/Arch:      {}/{}",
            text(&client["Version"]),
            text(&client["Os"]),
            text(&client["Arch"])
        );
        let server = server?;
        println!("\nServer: {}", text(&server["Platform"]["Name"]));
        for (label, key) in [
            ("Version", "Version"),
            ("API version", "ApiVersion"),
            ("Oldest API", "MinAPIVersion"),
            ("Kernel", "KernelVersion"),
        ] {
            println!(" {:<13} {}", format!("{label}:"), text(&server[key]));
        }
        for component in server["Components"].as_array().into_iter().flatten() {
            println!(" {:<13} {}", format!("{}:", text(&component["Name"])), text(&component["Version"]));
        }
        Ok(())
    }

    pub(crate) async fn info(self, engine: &Connection) -> Result<(), CliError> {
        let info = engine.get("/info", &[]).await?;
        if let Some(format) = &self.format {
            println!("{}", Template::parse(format)?.render(&info)?);
            return Ok(());
        }
        let show = |label: &str, value: &Value| println!("{label}: {}", text(value));
        println!(
            "Containers: {} ({} running, {} paused, {} stopped)",
            info["Containers"], info["ContainersRunning"], info["ContainersPaused"], info["ContainersStopped"]
        );
        show("Images", &info["Images"]);
        show("Server version", &info["ServerVersion"]);
        show("Storage driver", &info["Driver"]);
        for pair in info["DriverStatus"].as_array().into_iter().flatten() {
            println!("  {}: {}", text(&pair[0]), text(&pair[1]));
        }
        for kind in ["Volume", "Network", "Log", "Authorization"] {
            let names: Vec<String> = info["Plugins"][kind].as_array().into_iter().flatten().map(text).collect();
            if !names.is_empty() {
                println!("{kind} drivers: {}", names.join(" "));
            }
        }
        println!("Cgroups: version {}, {}", text(&info["CgroupVersion"]), text(&info["CgroupDriver"]));
        for (label, key) in [
            ("Logging driver", "LoggingDriver"),
            ("Default runtime", "DefaultRuntime"),
            ("Kernel", "KernelVersion"),
            ("Operating system", "OperatingSystem"),
            ("CPUs", "NCPU"),
            ("Name", "Name"),
            ("ID", "ID"),
            ("Root directory", "DockerRootDir"),
        ] {
            show(label, &info[key]);
        }
        println!("Memory: {}", units::size(info["MemTotal"].as_i64().unwrap_or(0)));
        info["Warnings"].as_array().into_iter().flatten().for_each(|w| eprintln!("{}", text(w)));
        Ok(())
    }
}

impl Events {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let since = self.since.as_deref().map(|t| units::parse_time("--since", t)).transpose()?;
        let until = self.until.as_deref().map(|t| units::parse_time("--until", t)).transpose()?;
        let filters = filter_map(&self.filter)?;
        let mut options = EventsOptionsBuilder::new().filters(&filters);
        if let Some(since) = &since {
            options = options.since(since);
        }
        if let Some(until) = &until {
            options = options.until(until);
        }
        let template = self.format.as_deref().map(Template::parse).transpose()?;
        let docker = engine.docker().await?;
        let mut events = docker.events(Some(options.build()));
        while let Some(event) = events.next().await {
            let event = serde_json::to_value(event?).map_err(|e| CliError::Answer(e.to_string()))?;
            match &template {
                Some(template) => println!("{}", template.render(&event)?),
                None => println!("{}", line(&event)),
            }
        }
        Ok(())
    }
}

fn line(event: &Value) -> String {
    let nanos = event["timeNano"].as_i64().unwrap_or(0);
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanos.into()).ok();
    let time = time.and_then(|t| t.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default();
    let attributes = event["Actor"]["Attributes"].as_object().into_iter().flatten();
    let mut attributes: Vec<String> = attributes.map(|(k, v)| format!("{k}={}", text(v))).collect();
    attributes.sort();
    let (kind, action, id) = (text(&event["Type"]), text(&event["Action"]), text(&event["Actor"]["ID"]));
    format!("{time} {kind} {action} {id} ({})", attributes.join(", "))
}
