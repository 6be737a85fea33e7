//! `GET /events`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Filters;

/// Parameters of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventsQuery {
    /// From when on: seconds since 1970 with an optional fraction, RFC 3339, or a Go duration before now.
    pub since: String,
    /// Until when, likewise; empty means for ever.
    pub until: String,
    /// Which.
    pub filters: Filters,
}

/// One event, with the fields that clients of versions before 1.52 index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMessage {
    /// The action, for containers and images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The id, for containers and images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The image, for containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `container`, `image`, `network`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// `start`, `die`, `exec_create: ls`, …
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: EventActor,
    /// `local`.
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventActor {
    /// Its id, or its name where it has no id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels and details.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// The keys of `filters`.
pub const FILTERS: &[&str] = &[
    "type",
    "event",
    "container",
    "image",
    "label",
    "network",
    "volume",
    "plugin",
    "daemon",
    "service",
    "node",
    "secret",
    "config",
    "scope",
];

impl EventMessage {
    /// Whether the filters let it through. `type`, `event` and so on are alternatives within a key; every label must match.
    pub fn passes(&self, filters: &Filters) -> bool {
        let attributes = &self.actor.attributes;
        let named = |kind: &str, wanted: &str| {
            let by_attribute = attributes.get(kind).is_some_and(|v| v == wanted);
            let name = attributes.get("name").is_some_and(|v| v == wanted);
            by_attribute || self.kind == kind && (name || !wanted.is_empty() && self.actor.id.starts_with(wanted))
        };
        filters.any("type", |v| v == self.kind)
            && filters.any("event", |v| self.is_action(v))
            && filters.any("scope", |v| v == self.scope)
            && filters.any("image", |v| self.is_image(v))
            && ["container", "network", "volume", "plugin", "daemon", "service", "node", "secret", "config"]
                .iter()
                .all(|kind| filters.any(kind, |v| named(kind, v)))
            && filters.labels(|key| attributes.get(key).map(String::as_str))
    }

    /// `exec_create`, `exec_start` and `health_status` name actions that carry a detail after a colon.
    fn is_action(&self, wanted: &str) -> bool {
        self.action == wanted || self.action.split_once(':').is_some_and(|(name, _)| name == wanted)
    }

    fn is_image(&self, wanted: &str) -> bool {
        let key = if self.kind == "image" { "name" } else { "image" };
        let untagged = |name: &str| match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository == wanted,
            _ => false,
        };
        let name = self.actor.attributes.get(key);
        name.is_some_and(|n| n == wanted || untagged(n)) || self.kind == "image" && self.actor.id == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        EventMessage {
            kind: kind.into(),
            action: action.into(),
            actor: EventActor { id: "abcdef0123".into(), attributes },
            scope: "local".into(),
            ..EventMessage::default()
        }
    }

    #[test]
    fn filters_events() {
        let start = event("container", "start", &[("name", "web"), ("image", "app:1"), ("tier", "front")]);
        let exec = event("container", "exec_start: ls -l", &[]);
        let connect = event("network", "connect", &[("name", "bridge"), ("container", "web")]);
        for (event, filters, passes) in [
            (&start, r"{}", true),
            (&start, r#"{"type":["container"]}"#, true),
            (&start, r#"{"type":{"image":true}}"#, false),
            (&start, r#"{"event":["die","start"]}"#, true),
            (&start, r#"{"container":["web"]}"#, true),
            (&start, r#"{"container":["abcdef"]}"#, true),
            (&start, r#"{"container":["b"]}"#, false),
            (&start, r#"{"image":["app"]}"#, true),
            (&start, r#"{"image":["app:2"]}"#, false),
            (&start, r#"{"label":["tier=front"]}"#, true),
            (&start, r#"{"label":["tier=front","x"]}"#, false),
            (&exec, r#"{"event":["exec_start"]}"#, true),
            (&exec, r#"{"event":["exec_start: ls -l"]}"#, true),
            (&exec, r#"{"event":["exec"]}"#, false),
            (&connect, r#"{"network":["bridge"]}"#, true),
            (&connect, r#"{"container":["web"]}"#, true),
            (&connect, r#"{"volume":["web"]}"#, false),
        ] {
            assert_eq!(event.passes(&Filters::parse(filters).expect(filters)), passes, "{filters} {}", event.action);
        }
    }
}
