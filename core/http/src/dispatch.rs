//! One request: match, version gate, decode, hooks, handler, answer.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, ORIGIN, SERVER, UPGRADE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::{Body, Incoming};
use percent_encoding::percent_decode_str;
use sheave_api::version::{self, Version};
use sheave_hooks::{HookBus, Identity, Operation};
use sheave_types::{Action, Error, Result};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::body::ResponseBody;
use crate::error::HttpError;
use crate::finish::{Finish, Observers};
use crate::hijack::Takeover;
use crate::query;
use crate::reply::{Reply, ReplyBody};
use crate::request::{BodySlot, Ctx, drain};
use crate::route::{Call, Endpoint};
use crate::router::{Router, Target, split_version};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) router: Router,
    pub(crate) hooks: Arc<HookBus>,
    pub(crate) observers: Observers,
    pub(crate) server: HeaderValue,
}

/// What the requests of one connection share.
pub(crate) struct Connection {
    pub(crate) identity: Arc<Identity>,
    /// Whether it came by TCP, where browsers reach it.
    pub(crate) tcp: bool,
    pub(crate) takeover: Mutex<Option<Takeover>>,
    pub(crate) taken: Notify,
}

type Request = hyper::Request<Incoming>;
type Response = hyper::Response<ResponseBody>;

/// Answers a request. For a hijack it never returns: the connection takes over.
pub(crate) async fn dispatch(shared: Arc<Shared>, connection: Arc<Connection>, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return respond(&shared, Reply::empty(StatusCode::OK), None);
    }
    match route(&shared, &connection, &request) {
        Ok(Routed { action, endpoint, cx }) => operate(shared, connection, request, action, endpoint, cx).await,
        Err(error) => {
            drain(request.into_body()).await;
            respond(&shared, Reply::error(&error.into()), None)
        }
    }
}

struct Routed {
    action: Action,
    endpoint: Arc<dyn Endpoint>,
    cx: Ctx,
}

fn route(shared: &Shared, connection: &Connection, request: &Request) -> Result<Routed, HttpError> {
    if connection.tcp {
        refuse_cross_site(request)?;
    }
    let path = percent_decode_str(request.uri().path()).decode_utf8().map_err(|_| HttpError::UnknownPath)?;
    let (version, path) = split_version(&path);
    let (target, params) = shared.router.find(request.method(), path).ok_or(HttpError::UnknownPath)?;
    let version = match version.map(Version::parse) {
        None => Version::MAX,
        Some(v) if v < Version::MIN => return Err(HttpError::TooOld(v)),
        Some(v) if v > Version::MAX => return Err(HttpError::TooNew(v)),
        Some(v) => v,
    };
    let (action, endpoint) = match target {
        Target::Operation(action, endpoint) => (action, endpoint),
        Target::Missing(name) => return Err(HttpError::Missing(name)),
        Target::NoSwarm => return Err(HttpError::NoSwarm),
    };
    let object = params.first().map_or_else(String::new, |(_, value)| value.clone());
    let operation = Operation { action, object, identity: Arc::clone(&connection.identity) };
    Ok(Routed { action, endpoint, cx: Ctx { version, operation, headers: request.headers().clone(), params } })
}

/// A page in a browser on this host could otherwise send requests to a loopback listener, or have its name resolve to it.
fn refuse_cross_site(request: &Request) -> Result<(), HttpError> {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let site = header("sec-fetch-site");
    if matches!(site, "cross-site" | "same-site") {
        return Err(HttpError::CrossSite(header(ORIGIN.as_str()).to_owned()));
    }
    let host = header(HOST.as_str());
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    if name.is_empty() || address || name == "localhost" || name.ends_with(".localhost") || name == "docker" {
        return Ok(());
    }
    Err(HttpError::CrossSite(format!("the Host header names {name:?}, not a loopback address or localhost")))
}

async fn operate(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request,
    action: Action,
    endpoint: Arc<dyn Endpoint>,
    cx: Ctx,
) -> Response {
    let (head, body) = request.into_parts();
    let version = cx.version;
    let upgrade = head.headers.contains_key(UPGRADE);
    let body: BodySlot = Arc::new(Mutex::new(Some(body)));
    let mut finish = Finish::new(&shared.observers, &shared.hooks, cx.operation.clone(), head.method.clone());
    let query = query::parse(head.uri.query().unwrap_or_default());
    let mut call = Call { cx, query, body: Arc::clone(&body), hooks: Arc::clone(&shared.hooks), rulings: Vec::new() };
    let span = tracing::info_span!("operation", action = action.as_str(), object = call.cx.operation.object);
    let task = tokio::spawn(
        async move {
            let result = endpoint.call(&mut call).await;
            (result, call.cx.operation, call.rulings)
        }
        .instrument(span),
    );
    // What only reads ends with its client; what changes something runs to its end.
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    let (result, operation, rulings) = match (Task { handle: task, abort: reads }).join().await {
        Ok(done) => done,
        Err(()) => (Err(HttpError::Panicked(action.as_str()).into()), finish.operation().clone(), Vec::new()),
    };
    let result = result.and_then(|reply| shape(action, version, reply));
    let status = match &result {
        Ok(reply) => reply.status,
        Err(error) => crate::error::status(error.kind()),
    };
    finish.begun(operation, rulings, status, result.as_ref().err());
    match result {
        Ok(Reply { body: ReplyBody::Hijack(hijack), .. }) => {
            finish.ended();
            let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            let takeover = Takeover { hijack, version, upgrade, body: body.filter(|b| !b.is_end_stream()) };
            *connection.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
            connection.taken.notify_one();
            std::future::pending().await
        }
        other => {
            let unread = body.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|b| !b.is_end_stream());
            if let Some(unread) = unread {
                drain(unread).await;
            }
            let reply = other.unwrap_or_else(|error| Reply::error(&error));
            respond(&shared, reply, Some(finish))
        }
    }
}

/// A handler's task, stopped with this value where `abort` is set.
struct Task<T> {
    handle: JoinHandle<T>,
    abort: bool,
}

impl<T> Task<T> {
    async fn join(mut self) -> Result<T, ()> {
        (&mut self.handle).await.map_err(|_panicked| ())
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if self.abort {
            self.handle.abort();
        }
    }
}

/// Rewrites a reply for an older client.
fn shape(action: Action, version: Version, mut reply: Reply) -> Result<Reply> {
    if let ReplyBody::Full(text) = &mut reply.body
        && version::downgrades(action, version)
    {
        let fault = |e: serde_json::Error| Error::internal(format!("shaping the answer for {version}: {e}"));
        let mut value = serde_json::from_slice(text).map_err(fault)?;
        version::downgrade(action, version, &mut value);
        *text = Bytes::from(serde_json::to_vec(&value).map_err(fault)?);
    }
    Ok(reply)
}

fn respond(shared: &Shared, reply: Reply, finish: Option<Finish>) -> Response {
    let body = match reply.body {
        ReplyBody::Full(text) => ResponseBody::Full(text),
        ReplyBody::Stream(stream) => match finish {
            Some(finish) => ResponseBody::Stream(stream, finish),
            None => ResponseBody::Empty,
        },
        ReplyBody::Empty | ReplyBody::Hijack(_) => ResponseBody::Empty,
    };
    let mut response = hyper::Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(SERVER, shared.server.clone());
    for (name, value) in [("api-version", API_VERSION), ("ostype", "linux"), ("docker-experimental", "false")] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Some(content_type) = reply.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in reply.headers {
        headers.append(name, value);
    }
    response
}

/// [`Version::MAX`] as text.
const API_VERSION: &str = "1.51";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_newest_version() {
        assert_eq!(API_VERSION, Version::MAX.to_string());
    }
}
