//! What a handler answers.

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use sheave_types::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use crate::hijack::{Duplex, Hijack};

/// The media type of JSON answers.
pub const JSON: &str = "application/json";
/// The media type of a stream in frames (see [`frame_header`]).
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// The media type of a stream without frames.
pub const RAW: &str = "application/vnd.docker.raw-stream";

pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// An answer.
pub struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: ReplyBody,
}

pub(crate) enum ReplyBody {
    Empty,
    Full(Bytes),
    Stream(ByteStream),
    Hijack(Hijack),
}

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Standard input.
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// An error of the engine.
    System = 3,
}

/// The eight bytes before the payload of a frame in a multiplexed stream.
pub fn frame_header(kind: StreamKind, length: u32) -> [u8; 8] {
    let [a, b, c, d] = length.to_be_bytes();
    [kind as u8, 0, 0, 0, a, b, c, d]
}

impl Reply {
    fn new(status: StatusCode, content_type: Option<&'static str>, body: ReplyBody) -> Self {
        Self { status, content_type, headers: Vec::new(), body }
    }

    /// `value` as JSON.
    ///
    /// # Errors
    /// `internal` when it cannot be written as JSON.
    pub fn json(status: StatusCode, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let text = serde_json::to_vec(value).map_err(|e| Error::with_source(ErrorKind::Internal, e.to_string(), e))?;
        Ok(Self::raw_json(status, text.into()))
    }

    /// JSON that is written already, for answers that are kept ready.
    pub fn raw_json(status: StatusCode, text: Bytes) -> Self {
        Self::new(status, Some(JSON), ReplyBody::Full(text))
    }

    /// Text.
    pub fn text(text: &'static str) -> Self {
        let text = ReplyBody::Full(Bytes::from_static(text.as_bytes()));
        Self::new(StatusCode::OK, Some("text/plain; charset=utf-8"), text)
    }

    /// No body: 204, 201 without an answer, HEAD.
    pub fn empty(status: StatusCode) -> Self {
        Self::new(status, None, ReplyBody::Empty)
    }

    /// 204.
    pub fn no_content() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    /// A body of chunks, each sent at once, and the headers before the first of them. An error cuts the connection, so that
    /// the client cannot take what it has for the whole. Dropped when the client is gone.
    pub fn stream(content_type: &'static str, chunks: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self::new(StatusCode::OK, Some(content_type), ReplyBody::Stream(Box::pin(chunks)))
    }

    /// Headers at once, and a JSON body when the future is ready (`wait`). An error becomes `{"message":…}` in the body.
    /// The future is dropped when the client is gone.
    pub fn later<T: Serialize>(value: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        let body = async move {
            let text = match value.await {
                Ok(value) => serde_json::to_vec(&value),
                Err(error) => serde_json::to_vec(&serde_json::json!({ "message": error.message() })),
            };
            let mut text = text.map_err(|e| Error::with_source(ErrorKind::Internal, e.to_string(), e))?;
            text.push(b'\n');
            Ok(Bytes::from(text))
        };
        Self::stream(JSON, stream::once(body))
    }

    /// The messages of an operation that takes its time, one JSON object each, ended by `\r\n`.
    ///
    /// `work` does it and is dropped when the client is gone. If it fails before the first message, its error is the
    /// answer; later its error is the last message, as clients expect it.
    ///
    /// # Errors
    /// That of `work`.
    pub async fn progress<T: Serialize + Send + 'static>(
        messages: mpsc::Receiver<T>,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<Self> {
        let mut progress = Progress { messages, work: Some(Box::pin(work)), failed: None };
        let Some(first) = progress.next().await else {
            return match progress.failed {
                Some(error) => Err(error),
                None => Ok(Self::new(StatusCode::OK, Some(JSON), ReplyBody::Empty)),
            };
        };
        let rest = stream::unfold(progress, |mut progress| async move {
            let line = match progress.next().await {
                Some(line) => line,
                None => in_band(&progress.failed.take()?),
            };
            Some((Ok(line), progress))
        });
        Ok(Self::stream(JSON, stream::iter([Ok(first)]).chain(rest)))
    }

    /// Leaves HTTP: 101 for a client that asked for an upgrade, 200 otherwise, then `run` has the connection.
    ///
    /// `multiplexed` tells whether what is written comes in frames (no terminal).
    pub fn hijack<F>(multiplexed: bool, run: impl FnOnce(Duplex) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hijack = Hijack { multiplexed, run: Box::new(|duplex| Box::pin(run(duplex))) };
        Self::new(StatusCode::SWITCHING_PROTOCOLS, None, ReplyBody::Hijack(hijack))
    }

    /// The same with a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer that tells an error.
    pub fn error(error: &Error) -> Self {
        let status = crate::error::status(error.kind());
        if status == StatusCode::NOT_MODIFIED {
            return Self::empty(status);
        }
        let text = serde_json::json!({ "message": error.message() }).to_string();
        Self::raw_json(status, text.into())
    }
}

/// A message after which nothing follows.
fn in_band(error: &Error) -> Bytes {
    let mut detail = serde_json::json!({ "message": error.message() });
    if error.kind() == ErrorKind::Unauthorized {
        detail["code"] = 401.into();
    }
    let message = serde_json::json!({ "errorDetail": detail, "error": error.message() });
    Bytes::from(format!("{message}\r\n"))
}

struct Progress<T> {
    messages: mpsc::Receiver<T>,
    work: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
    failed: Option<Error>,
}

impl<T: Serialize> Progress<T> {
    /// The next line; none when the work is done and everything it said was taken.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(work) = &mut self.work else {
                return self.messages.try_recv().ok().map(|m| line(&m));
            };
            tokio::select! {
                biased;
                Some(message) = self.messages.recv() => return Some(line(&message)),
                result = work => {
                    self.failed = result.err();
                    self.work = None;
                }
            }
        }
    }
}

fn line(message: &impl Serialize) -> Bytes {
    let mut writer = BytesMut::new().writer();
    if let Err(error) = serde_json::to_writer(&mut writer, message) {
        tracing::error!(%error, "progress message");
    }
    let mut line = writer.into_inner();
    line.put_slice(b"\r\n");
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    async fn text(reply: Reply) -> String {
        let ReplyBody::Stream(stream) = reply.body else { panic!("not a stream") };
        let chunks: Vec<_> = stream.map(|c| String::from_utf8(c.unwrap().to_vec()).unwrap()).collect().await;
        chunks.concat()
    }

    fn message(n: u32) -> BTreeMap<&'static str, u32> {
        BTreeMap::from([("n", n)])
    }

    #[tokio::test]
    async fn progress_puts_errors_where_clients_look() {
        let (sender, receiver) = mpsc::channel(4);
        let work = async move {
            sender.send(message(1)).await.unwrap();
            tokio::task::yield_now().await;
            sender.send(message(2)).await.unwrap();
            Err(Error::new(ErrorKind::Unauthorized, "no"))
        };
        let all = text(Reply::progress(receiver, work).await.unwrap()).await;
        let error = "{\"error\":\"no\",\"errorDetail\":{\"code\":401,\"message\":\"no\"}}\r\n";
        assert_eq!(all, format!("{{\"n\":1}}\r\n{{\"n\":2}}\r\n{error}"));

        let (_sender, receiver) = mpsc::channel::<u32>(1);
        let early = Reply::progress(receiver, async { Err(Error::not_found("x")) }).await;
        assert_eq!(early.err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    }

    #[test]
    fn frames() {
        assert_eq!(frame_header(StreamKind::Stderr, 0x0102_0304), [2, 0, 0, 0, 1, 2, 3, 4]);
    }
}
