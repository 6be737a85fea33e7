//! `sheave pull`: bars on a terminal, plain lines otherwise.

use std::collections::HashMap;

use base64::Engine;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use clap::Args;
use futures_util::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use sheave_types::Reference;

use crate::connection::Connection;
use crate::error::CliError;
use crate::terminal;

#[derive(Args)]
pub(crate) struct Pull {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Platform
    #[arg(long)]
    platform: Option<String>,
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    /// Image
    image: String,
}

impl Pull {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let docker = engine.docker().await?;
        let reference = parse(&self.image)?;
        if self.all_tags && (reference.tag().is_some() || reference.digest().is_some()) {
            let reason = "tag can't be used with --all-tags/-a".to_owned();
            return Err(CliError::Flag { flag: "--all-tags", reason });
        }
        if !self.all_tags && reference.tag().is_none() && reference.digest().is_none() {
            eprintln!("Using default tag: latest");
        }
        let reference = if self.all_tags { reference } else { reference.or_latest() };
        transfer(&docker, &reference, self.platform.as_deref(), self.quiet).await?;
        println!("{reference}");
        Ok(())
    }
}

fn parse(image: &str) -> Result<Reference, CliError> {
    image
        .parse()
        .map_err(|e: sheave_types::ReferenceError| CliError::Flag { flag: "IMAGE", reason: format!("{image:?}: {e}") })
}

/// Pulls one image; progress goes to standard error, as for a `run`.
pub(crate) async fn download(
    docker: &Docker,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
) -> Result<(), CliError> {
    transfer(docker, &parse(image)?.or_latest(), platform, quiet && !terminal::draws()).await
}

async fn transfer(docker: &Docker, reference: &Reference, platform: Option<&str>, quiet: bool) -> Result<(), CliError> {
    let (name, digest) = (reference.name(), reference.digest().map(|d| d.to_string()));
    let tag = digest.as_deref().or(reference.tag());
    let mut options = CreateImageOptionsBuilder::new().from_image(&name);
    if let Some(tag) = tag {
        options = options.tag(tag);
    }
    if let Some(platform) = platform {
        options = options.platform(platform);
    }
    let mut messages = docker.create_image(Some(options.build()), None, credentials(reference.host()));
    let mut progress = Progress::new(quiet);
    while let Some(message) = messages.next().await {
        progress.show(message?);
    }
    Ok(())
}

/// What `docker login` stored for this registry in plain form. Credential helpers are asked by `docker` alone.
fn credentials(host: &str) -> Option<DockerCredentials> {
    let home = std::env::var_os("DOCKER_CONFIG").map(std::path::PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|h| std::path::Path::new(&h).join(".docker")))?;
    let config: Value = serde_json::from_slice(&std::fs::read(home.join("config.json")).ok()?).ok()?;
    let key = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
    let entry = config["auths"].get(key)?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(entry["auth"].as_str()?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(DockerCredentials {
        username: Some(username.to_owned()),
        password: Some(password.to_owned()),
        identitytoken: entry["identitytoken"].as_str().map(str::to_owned),
        serveraddress: Some(key.to_owned()),
        ..DockerCredentials::default()
    })
}

enum Progress {
    Quiet,
    Lines,
    Bars { all: MultiProgress, layers: HashMap<String, ProgressBar> },
}

impl Progress {
    fn new(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if terminal::draws() {
            Self::Bars { all: MultiProgress::new(), layers: HashMap::new() }
        } else {
            Self::Lines
        }
    }

    fn show(&mut self, message: CreateImageInfo) {
        let status = message.status.unwrap_or_default();
        let detail = message.progress_detail.unwrap_or_default();
        match (self, message.id) {
            (Self::Quiet, _) => {}
            (Self::Lines, id) => {
                // A line a change of state, not one a percent.
                if detail.current.is_none() {
                    let prefix = id.map(|i| format!("{i}: ")).unwrap_or_default();
                    eprintln!("{prefix}{status}");
                }
            }
            (Self::Bars { all, .. }, None) => {
                // A bar that cannot be drawn costs the picture, not the pull.
                let _ = all.println(status);
            }
            (Self::Bars { all, layers }, Some(id)) => {
                let bar = layers.entry(id.clone()).or_insert_with(|| all.add(layer_bar(&id)));
                if let (Some(current), Some(total)) = (detail.current, detail.total) {
                    bar.set_length(u64::try_from(total).unwrap_or(0));
                    bar.set_position(u64::try_from(current).unwrap_or(0));
                }
                bar.set_message(status.clone());
                if ["Pull complete", "Already exists"].contains(&status.as_str()) {
                    bar.finish();
                }
            }
        }
    }
}

fn layer_bar(id: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(id.to_owned());
    let style = ProgressStyle::with_template("{prefix:12} {msg:18} {bar:30} {bytes:>10}/{total_bytes:10}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
