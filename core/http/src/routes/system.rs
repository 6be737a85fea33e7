//! The engine itself: `/_ping`, `/version`, `/info`, `/events`, `/system/df`, `/plugins`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use sheave_api::events::{EventActor, EventMessage, EventsQuery, FILTERS};
use sheave_api::system::{DiskUsage, DiskUsageQuery, SystemInfo, SystemVersion};
use sheave_api::{Filters, Version, timestamp};
use sheave_telemetry::events::{Event, EventBus, EventKind};
use sheave_types::{Action, Error, ErrorKind, Result};
use tokio::sync::broadcast;

use crate::reply::{JSON, Reply};
use crate::request::Request;
use crate::route::Route;

/// What the system routes need.
#[async_trait]
pub trait System: Send + Sync {
    /// What this engine is.
    fn version(&self) -> SystemVersion;
    /// How it is set up and what it holds.
    async fn info(&self) -> Result<SystemInfo>;
    /// What happens in it.
    fn events(&self) -> &EventBus;
    /// What its things take on disk.
    async fn disk_usage(&self, query: DiskUsageQuery) -> Result<DiskUsage>;
}

/// The routes.
pub fn routes() -> Vec<Route<dyn System>> {
    vec![
        Route::get("/_ping", Action::SystemPing, ping),
        Route::new(Method::HEAD, "/_ping", Action::SystemPing, ping),
        Route::get("/version", Action::SystemVersion, version),
        Route::get("/info", Action::SystemInfo, info),
        Route::get("/events", Action::SystemEvents, events),
        Route::get("/system/df", Action::SystemDf, disk_usage),
        Route::get("/plugins", Action::PluginList, plugins),
        Route::get("/plugins/{name}/json", Action::PluginInspect, plugin),
    ]
}

async fn ping(_: Arc<dyn System>, _: Request) -> Result<Reply> {
    let no_store = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    Ok(Reply::text("OK")
        .with_header(HeaderName::from_static("builder-version"), HeaderValue::from_static("1"))
        .with_header(HeaderName::from_static("swarm"), HeaderValue::from_static("inactive"))
        .with_header(CACHE_CONTROL, no_store)
        .with_header(PRAGMA, HeaderValue::from_static("no-cache")))
}

async fn version(system: Arc<dyn System>, _: Request) -> Result<Reply> {
    Reply::json(StatusCode::OK, &system.version())
}

async fn info(system: Arc<dyn System>, _: Request) -> Result<Reply> {
    Reply::json(StatusCode::OK, &system.info().await?)
}

async fn disk_usage(system: Arc<dyn System>, request: Request<DiskUsageQuery>) -> Result<Reply> {
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(kind) = request.query.kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
        return Err(Error::invalid(format!("unknown object type: {kind}")));
    }
    Reply::json(StatusCode::OK, &system.disk_usage(request.query).await?)
}

/// Parameters of `GET /plugins`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PluginsQuery {
    filters: Filters,
}

/// Docker's managed plugins; Sheave's own are not of that kind.
async fn plugins(_: Arc<dyn System>, request: Request<PluginsQuery>) -> Result<Reply> {
    request.query.filters.check(&["capability", "enabled"])?;
    Reply::json(StatusCode::OK, &[(); 0])
}

/// `docker inspect` tries this last, and takes only 404 for "there is no such thing".
async fn plugin(_: Arc<dyn System>, request: Request) -> Result<Reply> {
    Err(Error::not_found(format!("plugin {:?} not found", request.cx.param("name"))))
}

async fn events(system: Arc<dyn System>, request: Request<EventsQuery>) -> Result<Reply> {
    let EventsQuery { since, until, filters } = request.query;
    filters.check(FILTERS)?;
    let now = now();
    let time = |text: &str| (!text.is_empty()).then(|| timestamp::parse(text, now)).transpose();
    let (since, until) = (time(&since)?, time(&until)?);
    // Docker replays from the start when only the end is given.
    let from = since.or(until.map(|_| 0));
    let (past, later) = system.events().subscribe(from);
    let past = stream::iter(past);
    let later = live(later, until.map(|t| t.saturating_sub(now)));
    let version = request.cx.version;
    let wanted = move |event: &Event| until.is_none_or(|t| event.time_nanos <= t) && !is_newer(event, version);
    let lines = past.chain(later).filter_map(move |event| {
        let line = wanted(&event).then(|| message(event)).filter(|m| m.passes(&filters)).map(|m| line(&m));
        std::future::ready(line)
    });
    Ok(Reply::stream(JSON, lines))
}

/// Events that came with a later version of the API, and that its older clients do not expect.
fn is_newer(event: &Event, version: Version) -> bool {
    version < Version(1, 46) && event.kind == EventKind::Image && event.action == "create"
}

/// The events to come, for so many nanoseconds.
fn live(receiver: broadcast::Receiver<Event>, nanos: Option<i64>) -> impl Stream<Item = Event> + Send + 'static {
    let end =
        nanos.map(|n| tokio::time::Instant::now() + std::time::Duration::from_nanos(u64::try_from(n).unwrap_or(0)));
    stream::unfold(receiver, move |mut receiver| async move {
        loop {
            let next = match end {
                Some(end) => tokio::time::timeout_at(end, receiver.recv()).await.ok()?,
                None => receiver.recv().await,
            };
            match next {
                Ok(event) => return Some((event, receiver)),
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a listener to events is too slow");
                }
            }
        }
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn message(event: Event) -> EventMessage {
    let Event { kind, action, id, attributes, time_nanos } = event;
    let legacy = matches!(kind, EventKind::Container | EventKind::Image);
    let from = if kind == EventKind::Container { attributes.get("image").cloned() } else { None };
    EventMessage {
        status: legacy.then(|| action.clone()),
        id: legacy.then(|| id.clone()),
        from,
        kind: kind.as_str().into(),
        action,
        actor: EventActor { id, attributes },
        scope: "local".into(),
        time: time_nanos / 1_000_000_000,
        time_nano: time_nanos,
    }
}

fn line(message: &EventMessage) -> Result<Bytes> {
    let fault = |e: serde_json::Error| Error::with_source(ErrorKind::Internal, e.to_string(), e);
    let mut text = serde_json::to_vec(message).map_err(fault)?;
    text.push(b'\n');
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn event(kind: EventKind, action: &str) -> Event {
        let attributes = BTreeMap::from([("image".to_owned(), "app:1".to_owned())]);
        Event { kind, action: action.into(), id: "abc".into(), attributes, time_nanos: 1_700_000_000_000_000_001 }
    }

    #[test]
    fn messages_have_what_old_clients_index() {
        let container = serde_json::to_value(message(event(EventKind::Container, "start"))).unwrap();
        let expected = serde_json::json!({
            "status": "start", "id": "abc", "from": "app:1", "Type": "container", "Action": "start",
            "Actor": { "ID": "abc", "Attributes": { "image": "app:1" } },
            "scope": "local", "time": 1_700_000_000, "timeNano": 1_700_000_000_000_000_001_i64,
        });
        assert_eq!(container, expected);
        let network = serde_json::to_value(message(event(EventKind::Network, "create"))).unwrap();
        assert!(network.get("status").is_none() && network.get("id").is_none());
    }

    #[test]
    fn creates_of_images_came_with_1_46() {
        let create = event(EventKind::Image, "create");
        assert!(is_newer(&create, Version(1, 45)) && !is_newer(&create, Version(1, 46)));
        assert!(!is_newer(&event(EventKind::Image, "pull"), Version(1, 24)));
    }

    #[tokio::test]
    async fn live_events_end_in_time() {
        let bus = EventBus::default();
        let (_, receiver) = bus.subscribe(None);
        bus.publish(event(EventKind::Container, "start"));
        let seen: Vec<_> = live(receiver, Some(50_000_000)).collect().await;
        assert_eq!(seen.len(), 1);
        let (_, receiver) = bus.subscribe(None);
        assert_eq!(live(receiver, Some(-1)).collect::<Vec<_>>().await.len(), 0);
    }
}
