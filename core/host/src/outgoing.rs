//! Outgoing requests of plugins.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sheave_plugin::host::{HttpRequest, HttpResponse};
use sheave_plugin::{Error, ErrorKind, Label};

use crate::plugin::Shared;

/// Largest answer, in bytes.
const BODY: usize = 4 << 20;

/// The client that plugins share. It follows no redirect, since the target may not be granted: the plugin decides.
pub(crate) fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("sheave/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Sends a request from the blocking thread of a call.
pub(crate) fn send(
    shared: &Shared,
    url: reqwest::Url,
    request: &HttpRequest,
    time: Duration,
) -> Result<HttpResponse, Error> {
    let unavailable = |e: reqwest::Error| {
        let kind = if e.is_timeout() { ErrorKind::Deadline } else { ErrorKind::Unavailable };
        Error::of(kind, chain(&e))
    };
    let method = request.method.parse().map_err(|_| Error::invalid("method", request.method.clone()))?;
    let mut outgoing = shared.client.request(method, url).timeout(time);
    for header in &request.headers {
        outgoing = outgoing.header(&header.key, &header.value);
    }
    if request.body_base64 {
        let body = STANDARD.decode(&request.body).map_err(|e| Error::invalid("body", e.to_string()))?;
        outgoing = outgoing.body(body);
    } else if !request.body.is_empty() {
        outgoing = outgoing.body(request.body.clone());
    }
    shared.runtime.block_on(async {
        let mut response = outgoing.send().await.map_err(unavailable)?;
        let headers = response.headers().iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some(Label { key: name.as_str().to_owned(), value: value.to_owned() })
        });
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if bytes.len() + chunk.len() > BODY {
                return Err(Error::of(ErrorKind::Invalid, format!("the answer has more than {BODY} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        let (body, body_base64) = match String::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(e) => (STANDARD.encode(e.as_bytes()), true),
        };
        Ok(HttpResponse { status, headers, body, body_base64 })
    })
}

/// An error with all its causes: the cause is what tells a refused connection from an unknown name.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
