//! A container's line of `GET /containers/json`, serialised once a change instead of once a request.

use std::time::Duration;

use sheave_api::containers::{ContainerSummary, PortMap, PortSummary, SummaryHostConfig, SummaryNetworkSettings};

use crate::record::View;
use crate::state::{Exit, State};
use crate::time::{Timestamp, human};

/// Stands for the text that depends on the time of the request. A quotation mark cannot stand unescaped in JSON text.
const STATUS: &str = "\u{1}status\u{1}";
/// Stands for the image's name, which may have moved to another image.
const IMAGE: &str = "\u{1}image\u{1}";

/// The line, cut where the request decides.
#[derive(Debug, Default)]
pub struct Summary {
    before_image: String,
    between: String,
    after_status: String,
}

impl Summary {
    /// The line of a container as it is now.
    pub fn of(view: &View) -> Self {
        let text = serde_json::to_string(&ContainerSummary {
            image: IMAGE.to_owned(),
            status: STATUS.to_owned(),
            ..summary(view)
        })
        .unwrap_or_default();
        // The placeholders as JSON writes them.
        let (image, status) = ("\"\\u0001image\\u0001\"", "\"\\u0001status\\u0001\"");
        let (before_image, rest) = text.split_once(image).unwrap_or((&text, ""));
        let (between, after_status) = rest.split_once(status).unwrap_or((rest, ""));
        Self { before_image: before_image.into(), between: between.into(), after_status: after_status.into() }
    }

    /// Appends the line for a request at `now`, with the name that the image goes by.
    pub fn write(&self, out: &mut Vec<u8>, view: &View, image: &str, now: Timestamp) {
        out.extend_from_slice(self.before_image.as_bytes());
        // Writing a string to a vector does not fail.
        let _ = serde_json::to_writer(&mut *out, image);
        out.extend_from_slice(self.between.as_bytes());
        let _ = serde_json::to_writer(&mut *out, &status(view, now));
        out.extend_from_slice(self.after_status.as_bytes());
    }
}

/// The line as a value, without its `status`, and with the image's name as it was given.
pub fn summary(view: &View) -> ContainerSummary {
    let record = &view.record;
    ContainerSummary {
        id: view.id.to_string(),
        names: vec![format!("/{}", view.name)],
        image: record.config.image.clone(),
        image_id: record.image.clone(),
        image_manifest_descriptor: (!record.manifest.is_null()).then(|| record.manifest.clone()),
        command: command(&record.path, &record.args),
        created: record.created.seconds(),
        ports: ports(&view.network.ports),
        size_rw: None,
        size_root_fs: None,
        labels: record.config.labels.clone().unwrap_or_default(),
        state: view.state.status().to_owned(),
        status: String::new(),
        host_config: SummaryHostConfig {
            network_mode: record.host_config.network_mode.clone(),
            annotations: record.host_config.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings { networks: view.network.networks.clone() },
        mounts: record.mounts.iter().map(|mount| mount.point.clone()).collect(),
    }
}

fn command(path: &str, args: &[String]) -> String {
    let mut command = path.to_owned();
    for arg in args {
        command.push(' ');
        if arg.contains(' ') {
            command.push('\'');
            command.push_str(arg);
            command.push('\'');
        } else {
            command.push_str(arg);
        }
    }
    command
}

fn ports(map: &PortMap) -> Vec<PortSummary> {
    let mut ports = Vec::new();
    for (port, bindings) in map {
        let (number, kind) = port.split_once('/').unwrap_or((port, "tcp"));
        let Ok(private_port) = number.parse() else { continue };
        let exposed = PortSummary { ip: String::new(), private_port, public_port: 0, kind: kind.to_owned() };
        match bindings {
            Some(bindings) if !bindings.is_empty() => ports.extend(bindings.iter().map(|binding| PortSummary {
                ip: binding.host_ip.clone(),
                public_port: binding.host_port.parse().unwrap_or(0),
                ..exposed.clone()
            })),
            _ => ports.push(exposed),
        }
    }
    ports
}

/// Docker's words for a container's state at `now`: `Up 3 minutes (healthy)`.
pub fn status(view: &View, now: Timestamp) -> String {
    let lasted = |since: Timestamp| human(now.since(since).max(Duration::ZERO));
    let ended = |exit: &Exit, word: &str| format!("{word} ({}) {} ago", exit.code, lasted(exit.finished));
    match &view.state {
        State::Running(run) => match view.health.as_ref().map(|health| health.status.as_str()) {
            Some("starting") => format!("Up {} (health: starting)", lasted(run.started)),
            Some(health) => format!("Up {} ({health})", lasted(run.started)),
            None => format!("Up {}", lasted(run.started)),
        },
        State::Paused(run) => format!("Up {} (Paused)", lasted(run.started)),
        State::Restarting { last, .. } => ended(last, "Restarting"),
        State::Removing { .. } | State::Gone { .. } => "Removal In Progress".to_owned(),
        State::Dead { .. } => "Dead".to_owned(),
        state => state.last().map_or_else(|| "Created".to_owned(), |exit| ended(exit, "Exited")),
    }
}
