//! `GET /containers/json`: which containers, in which form.

use regex_lite::Regex;
use sheave_api::Filters;
use sheave_api::containers::ContainerListQuery;
use sheave_types::{Error, Result};

use crate::record::View;
use crate::state::State;
use crate::store::Store;
use crate::time::Timestamp;

/// The keys that the filters of a list may have.
pub const KEYS: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const STATUSES: [&str; 7] = ["paused", "restarting", "removing", "running", "dead", "created", "exited"];
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// Ports from one to another of a protocol.
#[derive(Debug)]
struct PortRange {
    first: u16,
    last: u16,
    protocol: String,
}

/// The filters, read once a request.
#[derive(Debug)]
pub struct Filter<'a> {
    filters: &'a Filters,
    all: bool,
    exited: Vec<i32>,
    ids: Vec<Regex>,
    names: Vec<Regex>,
    publish: Vec<PortRange>,
    expose: Vec<PortRange>,
    ancestors: Option<Vec<String>>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl<'a> Filter<'a> {
    /// Reads the filters. `image_id` finds the id of an image by name.
    ///
    /// # Errors
    /// `Invalid` for unknown keys and values, `NotFound` for a container of `before` or `since`.
    pub fn read(
        query: &'a ContainerListQuery,
        store: &Store,
        image_id: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let filters = &query.filters;
        filters.check(&KEYS)?;
        one_of(filters, "status", &STATUSES)?;
        one_of(filters, "health", &HEALTHS)?;
        let numbers = filters.get("exited").iter().map(|v| v.parse().map_err(|_| invalid("exited", v)));
        let ancestors = filters.0.get("ancestor").map(|names| {
            names.iter().map(|name| image_id(name).unwrap_or_else(|| name.to_owned())).collect::<Vec<String>>()
        });
        let created = |key: &str| match filters.get(key) {
            [] => Ok(None),
            [name] => Ok(Some(store.find(name)?.now().record.created)),
            [_, other, ..] => Err(invalid(key, other)),
        };
        Ok(Self {
            all: query.all || !filters.get("status").is_empty(),
            exited: numbers.collect::<Result<_>>()?,
            ids: patterns(filters, "id")?,
            names: patterns(filters, "name")?,
            publish: ranges(filters, "publish")?,
            expose: ranges(filters, "expose")?,
            ancestors,
            before: created("before")?,
            since: created("since")?,
            filters,
        })
    }

    /// Whether a container is in the list.
    pub fn includes(&self, view: &View, limited: bool) -> bool {
        let created = view.record.created;
        (self.all || limited || view.state.is_running())
            && self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.by_identity(view)
            && self.by_state(view)
            && self.by_parts(view)
            && self.by_ports(view)
    }

    fn by_identity(&self, view: &View) -> bool {
        let (id, slashed) = (view.id.to_string(), format!("/{}", view.name));
        let named = |pattern: &Regex| pattern.is_match(&view.name) || pattern.is_match(&slashed);
        let labels = view.record.config.labels.as_ref();
        (self.ids.is_empty() || self.ids.iter().any(|pattern| pattern.is_match(&id)))
            && (self.names.is_empty() || self.names.iter().any(named))
            && self.filters.labels(|key| labels?.get(key).map(String::as_str))
            && self.ancestors.as_ref().is_none_or(|images| {
                images.iter().any(|image| *image == view.record.image || *image == view.record.config.image)
            })
    }

    fn by_state(&self, view: &View) -> bool {
        let health = view.health.as_ref().map_or("none", |health| health.status.as_str());
        let ended = match &view.state {
            State::Restarting { .. } => None,
            state => state.last().map(|exit| exit.code),
        };
        self.filters.any("status", |status| status == view.state.status())
            && self.filters.any("health", |wanted| wanted == health)
            && (self.exited.is_empty() || ended.is_some_and(|code| self.exited.contains(&code)))
            && self.filters.any("is-task", |task| !matches!(task, "1" | "true" | "True"))
            && self.filters.any("isolation", |kind| matches!(kind, "" | "default"))
    }

    fn by_parts(&self, view: &View) -> bool {
        let networks = &view.network.networks;
        let mounts = &view.record.mounts;
        self.filters.any("network", |wanted| {
            networks.iter().any(|(name, endpoint)| name == wanted || endpoint.network_id == *wanted)
        }) && self.filters.any("volume", |wanted| {
            mounts.iter().any(|mount| mount.point.name == *wanted || mount.point.destination == *wanted)
        })
    }

    fn by_ports(&self, view: &View) -> bool {
        let ports = &view.network.ports;
        let published = |range: &PortRange| {
            ports.iter().any(|(port, bindings)| {
                let protocol = port.split_once('/').map_or("tcp", |(_, protocol)| protocol);
                let mut numbers = bindings.iter().flatten().filter_map(|binding| binding.host_port.parse().ok());
                protocol == range.protocol && numbers.any(|n: u16| (range.first..=range.last).contains(&n))
            })
        };
        let exposed = |range: &PortRange| {
            ports.keys().any(|port| {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                protocol == range.protocol && number.parse().is_ok_and(|n: u16| (range.first..=range.last).contains(&n))
            })
        };
        (self.publish.is_empty() || self.publish.iter().any(published))
            && (self.expose.is_empty() || self.expose.iter().any(exposed))
    }
}

fn invalid(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid filter '{key}={value}'"))
}

fn one_of(filters: &Filters, key: &str, known: &[&str]) -> Result<()> {
    match filters.get(key).iter().find(|value| !known.contains(&value.as_str())) {
        Some(value) => Err(invalid(key, value)),
        None => Ok(()),
    }
}

fn patterns(filters: &Filters, key: &str) -> Result<Vec<Regex>> {
    let read = |value: &String| Regex::new(value).or_else(|_| Regex::new(&regex_lite::escape(value)));
    filters.get(key).iter().map(|value| read(value).map_err(|_| invalid(key, value))).collect()
}

fn ranges(filters: &Filters, key: &str) -> Result<Vec<PortRange>> {
    let read = |value: &String| {
        let (numbers, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then(|| PortRange { first, last, protocol: protocol.to_ascii_lowercase() })
    };
    filters.get(key).iter().map(|value| read(value).ok_or_else(|| invalid(key, value))).collect()
}
