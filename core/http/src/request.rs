//! What a handler gets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sheave_api::Version;
use sheave_api::version::{self, Params};
use sheave_hooks::Operation;
use sheave_types::{Action, Error, ErrorKind, Result};

use crate::error::HttpError;
use crate::reply::{JSON, MULTIPLEXED, RAW};

/// The largest JSON body.
pub const BODY_LIMIT: usize = 16 << 20;

/// How much of an unwanted body is read before the answer, and for how long.
const DRAIN_LIMIT: usize = 1 << 20;
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// A request, decoded, seen and perhaps amended by the hooks.
pub struct Request<Q = NoQuery, B = NoBody> {
    /// Where it came from and what it names.
    pub cx: Ctx,
    /// Its parameters.
    pub query: Q,
    /// Its body.
    pub body: B,
}

/// Where a request came from and what it names.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// The API version asked for. Needed where a stream's form depends on it; everything else is rewritten to the newest.
    pub version: Version,
    /// The operation, with the caller's identity.
    pub operation: Operation,
    /// The request's headers.
    pub headers: HeaderMap,
    pub(crate) params: Vec<(&'static str, String)>,
}

impl Ctx {
    /// A part of the path, by its name in the route's pattern; decoded, never empty for a name in the pattern.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }

    /// The value of a header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type of an output stream: frames without a terminal, from version 1.42 on named so.
    pub fn stream_type(&self, terminal: bool) -> &'static str {
        if terminal || self.version < Version(1, 42) { RAW } else { MULTIPLEXED }
    }
}

/// An endpoint without parameters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NoQuery {}

/// What a request's body can be: [`NoBody`], [`Json`], [`Upload`].
#[async_trait]
pub trait RequestBody: Sized + Send + 'static {
    /// Reads the body, rewriting it and the query to the newest version.
    ///
    /// # Errors
    /// `invalid`.
    async fn read(source: Source, query: &mut Params) -> Result<Self>;

    /// The body as hooks see it.
    ///
    /// # Errors
    /// `internal` when it cannot be written as JSON.
    fn view(&self) -> Result<Value>;

    /// Takes what a hook put in its place.
    ///
    /// # Errors
    /// `invalid`.
    fn amend(&mut self, value: Value) -> Result<()>;
}

/// A body not yet read.
pub struct Source {
    pub(crate) action: Action,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodySlot,
}

/// Holds the body until somebody reads it; what is left here belongs to a hijack.
pub(crate) type BodySlot = Arc<Mutex<Option<Incoming>>>;

impl Source {
    fn take(&self) -> Option<Incoming> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An endpoint that does not read its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBody;

#[async_trait]
impl RequestBody for NoBody {
    async fn read(source: Source, query: &mut Params) -> Result<Self> {
        version::upgrade(source.action, source.version, query, &mut Value::Null)?;
        Ok(Self)
    }

    fn view(&self) -> Result<Value> {
        Ok(Value::Null)
    }

    fn amend(&mut self, value: Value) -> Result<()> {
        nothing(&value)
    }
}

/// A JSON body. No body and `null` are the type's default; unknown fields are ignored.
#[derive(Debug, Clone, Default)]
pub struct Json<T>(pub T);

#[async_trait]
impl<T: Serialize + DeserializeOwned + Default + Send + 'static> RequestBody for Json<T> {
    async fn read(source: Source, query: &mut Params) -> Result<Self> {
        let text = match source.take() {
            Some(body) => collect(body).await?,
            None => Bytes::new(),
        };
        if !text.is_empty() {
            check_content_type(&source.headers)?;
        } else if source.action == Action::ContainerCreate {
            // The only body that Docker insists on.
            return Err(HttpError::NoBody.into());
        }
        if version::upgrades_body(source.action, source.version) {
            let mut value = if text.is_empty() { Value::Null } else { parse(&text)? };
            version::upgrade(source.action, source.version, query, &mut value)?;
            return Ok(Self(serde_json::from_value::<Option<T>>(value).map_err(HttpError::Json)?.unwrap_or_default()));
        }
        version::upgrade(source.action, source.version, query, &mut Value::Null)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(parse::<Option<T>>(&text)?.unwrap_or_default()))
    }

    fn view(&self) -> Result<Value> {
        serde_json::to_value(&self.0).map_err(|e| Error::with_source(ErrorKind::Internal, e.to_string(), e))
    }

    fn amend(&mut self, value: Value) -> Result<()> {
        self.0 = serde_json::from_value(value).map_err(HttpError::Json)?;
        Ok(())
    }
}

/// A body that is read as it comes: archives. Hooks see `null`.
pub struct Upload(Option<Incoming>);

impl Upload {
    /// The body's chunks. An error means that the client went away or broke the protocol.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, HttpError>> + Send + 'static {
        stream::unfold(self.0, |body| async move {
            let mut body = body?;
            loop {
                match body.frame().await? {
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => return Some((Ok(data), Some(body))),
                        Err(_trailers) => {}
                    },
                    Err(error) => return Some((Err(HttpError::Body(error)), None)),
                }
            }
        })
    }
}

#[async_trait]
impl RequestBody for Upload {
    async fn read(source: Source, query: &mut Params) -> Result<Self> {
        version::upgrade(source.action, source.version, query, &mut Value::Null)?;
        Ok(Self(source.take()))
    }

    fn view(&self) -> Result<Value> {
        Ok(Value::Null)
    }

    fn amend(&mut self, value: Value) -> Result<()> {
        nothing(&value)
    }
}

fn nothing(value: &Value) -> Result<()> {
    if value.is_null() { Ok(()) } else { Err(Error::invalid("this operation has no body to amend")) }
}

/// Reads what a client still writes, within bounds: a client that is cut off while it writes does not read its answer.
pub(crate) async fn drain(mut body: Incoming) {
    let mut left = DRAIN_LIMIT;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Nothing is lost when it takes longer: the connection ends with the answer.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}

async fn collect(mut body: Incoming) -> Result<Bytes, HttpError> {
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(HttpError::TooLarge(BODY_LIMIT));
    }
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(HttpError::Body)?.into_data() {
            if all.len() + data.len() > BODY_LIMIT {
                return Err(HttpError::TooLarge(BODY_LIMIT));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

fn check_content_type(headers: &HeaderMap) -> Result<(), HttpError> {
    let given = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(JSON) { Ok(()) } else { Err(HttpError::ContentType(given.to_owned())) }
}

/// Reads one JSON value and nothing after it.
fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, HttpError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = T::deserialize(&mut reader)?;
    reader.end().map_err(|_| HttpError::Trailing)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_rules() {
        #[derive(Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        struct Body {
            a: Option<Vec<u8>>,
        }
        for (text, expected) in [
            ("{}", Ok(None)),
            (r#"{"a":null}"#, Ok(None)),
            (r#"{"a":[1],"unknown":{"x":1}}  "#, Ok(Some(vec![1]))),
            (r#"{"a":[1]} {}"#, Err("unexpected content after JSON")),
            (r#"{"a":[1]}x"#, Err("unexpected content after JSON")),
            (r#"{"a":"#, Err("invalid JSON: EOF")),
            (r#"{"a":1}"#, Err("invalid JSON: invalid type")),
        ] {
            match (parse::<Body>(text.as_bytes()), expected) {
                (Ok(body), Ok(a)) => assert_eq!(body.a, a, "{text}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
                (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn content_types() {
        for (given, good) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/jsonx", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, given.parse().unwrap())]);
            assert_eq!(check_content_type(&headers).is_ok(), good, "{given}");
        }
        let error = check_content_type(&HeaderMap::new()).unwrap_err().to_string();
        assert_eq!(error, "unsupported Content-Type header (): must be 'application/json'");
    }
}
