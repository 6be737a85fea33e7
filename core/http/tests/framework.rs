//! The server over real sockets, byte by byte, with an area made for it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use sheave_hooks::HookBus;
use sheave_http::{
    Address, Duplex, Json, Listener, NoQuery, Observers, Reply, Request, Route, Router, Server, StreamKind, Upload,
    frame_header,
};
use sheave_types::{Action, Error, ErrorKind, Result};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};

#[async_trait]
trait Fake: Send + Sync {
    fn dropped(&self) -> &Notify;
}

#[derive(Default)]
struct Area {
    dropped: Notify,
}

impl Fake for Area {
    fn dropped(&self) -> &Notify {
        &self.dropped
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    name: String,
    list: Option<Vec<String>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Query {
    force: bool,
}

fn routes() -> Vec<Route<dyn Fake>> {
    vec![
        Route::named(
            Method::POST,
            "/containers/create",
            Action::ContainerCreate,
            |_: &NoQuery, body: &Json<Body>| body.0.name.clone(),
            create,
        ),
        Route::delete("/images/{name}", Action::ImageRemove, remove),
        Route::post("/containers/{id}/attach", Action::ContainerAttach, attach),
        Route::post("/containers/{id}/wait", Action::ContainerWait, wait),
        Route::post("/containers/{id}/start", Action::ContainerStart, panics),
        Route::post("/images/load", Action::ImageLoad, load),
        Route::get("/containers/{id}/logs", Action::ContainerLogs, logs),
    ]
}

async fn create(_: Arc<dyn Fake>, request: Request<NoQuery, Json<Body>>) -> Result<Reply> {
    let body = request.body.0;
    Reply::json(StatusCode::CREATED, &serde_json::json!({ "Id": body.name, "Warnings": body.list.unwrap_or_default() }))
}

async fn remove(_: Arc<dyn Fake>, request: Request<Query>) -> Result<Reply> {
    match request.cx.param("name") {
        "same" => Err(Error::new(ErrorKind::NotModified, "same")),
        "gone" => Ok(Reply::no_content()),
        name => Err(Error::conflict(format!("{name} is in use, force={}", request.query.force))),
    }
}

async fn attach(_: Arc<dyn Fake>, request: Request) -> Result<Reply> {
    let terminal = request.cx.param("id") == "tty";
    Ok(Reply::hijack(!terminal, |duplex| async move {
        let Duplex { mut reader, mut writer } = duplex;
        let mut input = Vec::new();
        let read = reader.read_to_end(&mut input).await;
        assert!(read.is_ok(), "{read:?}");
        let length = u32::try_from(input.len()).unwrap();
        writer.write_all(&frame_header(StreamKind::Stdout, length)).await.unwrap();
        writer.write_all(&input).await.unwrap();
    }))
}

struct Guard(Arc<dyn Fake>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dropped().notify_one();
    }
}

async fn wait(area: Arc<dyn Fake>, request: Request) -> Result<Reply> {
    let guard = Guard(area);
    let seconds: u64 = request.cx.param("id").parse().unwrap_or(0);
    Ok(Reply::later(async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        drop(guard);
        Ok(serde_json::json!({ "StatusCode": 0 }))
    }))
}

async fn panics(_: Arc<dyn Fake>, _: Request) -> Result<Reply> {
    panic!("a fault in a handler")
}

async fn load(_: Arc<dyn Fake>, request: Request<NoQuery, Upload>) -> Result<Reply> {
    use futures_util::TryStreamExt;
    let size = request.body.into_stream().try_fold(0, |n, chunk| async move { Ok(n + chunk.len()) }).await?;
    Reply::json(StatusCode::OK, &size)
}

async fn logs(_: Arc<dyn Fake>, request: Request) -> Result<Reply> {
    let chunks = stream::iter([Ok(Bytes::from("one\n")), Err(Error::internal("the disk is gone"))]);
    Ok(Reply::stream(request.cx.stream_type(false), chunks))
}

struct Running {
    dir: TempDir,
    area: Arc<dyn Fake>,
    down: watch::Sender<bool>,
    done: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Unix(dir.path().join("s"));
        let listeners = Listener::open(&address, Some("0")).unwrap();
        let area: Arc<dyn Fake> = Arc::new(Area::default());
        let router = Router::new().area(routes(), &area);
        let server = Server::new(router, Arc::new(HookBus::default()), Observers::default(), "1.2.3").unwrap();
        let (down, shutdown) = watch::channel(false);
        let done = tokio::spawn(server.run(listeners, shutdown));
        Self { dir, area, down, done }
    }

    async fn connect(&self) -> Client {
        Client(UnixStream::connect(self.dir.path().join("s")).await.unwrap())
    }
}

struct Client(UnixStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until `end` has come, or the connection ends.
    async fn until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        let read = async {
            loop {
                let mut buffer = [0; 1024];
                let n = self.0.read(&mut buffer).await.unwrap_or(0);
                all.extend_from_slice(&buffer[..n]);
                if n == 0 || !end.is_empty() && String::from_utf8_lossy(&all).contains(end) {
                    break;
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(5), read).await;
        let text = String::from_utf8_lossy(&all).into_owned();
        assert!(in_time.is_ok(), "{end:?} did not come, but {text:?}");
        text
    }

    /// A whole answer with a length.
    async fn answer(&mut self) -> (u16, String) {
        let head = self.until("\r\n\r\n").await;
        let (head, rest) = head.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let mut body = rest.to_owned();
        let length: usize = length.map_or(0, |l| l.parse().unwrap());
        while body.len() < length {
            let mut buffer = vec![0; length - body.len()];
            let n = self.0.read(&mut buffer).await.unwrap();
            body.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        (status, body)
    }

    async fn ask(&mut self, head: &str, body: &str) -> (u16, String) {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.send(&format!("{head}\r\nHost: x\r\n{length}\r\n{body}")).await;
        self.answer().await
    }
}

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn one_connection_survives_every_error() {
    let server = Running::start();
    let mut client = server.connect().await;
    let message = |text: &str| serde_json::json!({ "message": text }).to_string();
    let too_old = "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version";
    for (head, body, status, answer) in [
        ("GET /nothing HTTP/1.1".to_owned(), "", 404, message("page not found")),
        ("PUT /containers/create HTTP/1.1".to_owned(), "", 404, message("page not found")),
        ("GET /v1.23/images/json HTTP/1.1".to_owned(), "", 400, message(too_old)),
        (
            "GET /v1.99/images/json HTTP/1.1".to_owned(),
            "",
            400,
            message("client version 1.99 is too new. Maximum supported API version is 1.51"),
        ),
        ("GET /images/json HTTP/1.1".to_owned(), "", 501, message("image.list is not implemented by this engine")),
        (
            "GET /v1.40/swarm HTTP/1.1".to_owned(),
            "",
            503,
            message(
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
            ),
        ),
        ("OPTIONS /whatever HTTP/1.1".to_owned(), "", 200, String::new()),
        (
            format!("POST /v1.43/containers/create HTTP/1.1\r\n{JSON}"),
            r#"{"Name":"a","List":null,"Extra":1}"#,
            201,
            r#"{"Id":"a","Warnings":[]}"#.to_owned(),
        ),
        (
            "POST /containers/create HTTP/1.1".to_owned(),
            "",
            400,
            message("invalid JSON: got EOF while reading request body"),
        ),
        (
            "POST /containers/create HTTP/1.1\r\nContent-Type: text/plain".to_owned(),
            "{}",
            400,
            message("unsupported Content-Type header (text/plain): must be 'application/json'"),
        ),
        (format!("POST /containers/create HTTP/1.1\r\n{JSON}"), "{} {}", 400, message("unexpected content after JSON")),
        ("DELETE /images/a/b%3A1?force=TRUE HTTP/1.1".to_owned(), "", 409, message("a/b:1 is in use, force=true")),
        ("DELETE /images/gone HTTP/1.1".to_owned(), "", 204, String::new()),
        ("DELETE /images/same HTTP/1.1".to_owned(), "", 304, String::new()),
        (
            "POST /containers/x/start HTTP/1.1".to_owned(),
            "",
            500,
            message(
                "internal error: the operation container.start failed unexpectedly; the engine's log has the details",
            ),
        ),
        ("POST /images/load HTTP/1.1\r\nContent-Type: application/x-tar".to_owned(), "12345", 200, "5".to_owned()),
    ] {
        assert_eq!(client.ask(&head, body).await, (status, answer), "{head}");
    }
}

#[tokio::test]
async fn an_unread_body_does_not_cost_the_connection() {
    let server = Running::start();
    let body = "x".repeat(300_000);
    for (head, status) in
        [("POST /networks/create HTTP/1.1", 501), ("POST /nothing HTTP/1.1", 404), ("DELETE /images/a HTTP/1.1", 409)]
    {
        let mut client = server.connect().await;
        assert_eq!(client.ask(head, &body).await.0, status, "{head}");
        assert_eq!(client.ask("GET /nothing HTTP/1.1", "").await.0, 404, "the connection goes on after {head}");
    }
}

#[tokio::test]
async fn headers_of_every_answer() {
    let server = Running::start();
    let mut client = server.connect().await;
    client.send("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await.to_lowercase();
    for line in [
        "http/1.1 404 not found",
        "server: docker/1.2.3 (linux)",
        "api-version: 1.51",
        "ostype: linux",
        "docker-experimental: false",
        "content-type: application/json",
    ] {
        assert!(head.lines().any(|l| l == line), "{line} is not in\n{head}");
    }
}

#[tokio::test]
async fn hijack_with_upgrade_is_dockers_byte_for_byte() {
    let server = Running::start();
    let upgrade = "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    for (path, content_type) in [
        ("/v1.42/containers/c/attach", "application/vnd.docker.multiplexed-stream"),
        ("/v1.41/containers/c/attach", "application/vnd.docker.raw-stream"),
        ("/containers/tty/attach", "application/vnd.docker.raw-stream"),
    ] {
        let mut client = server.connect().await;
        // The first bytes come with the request, the rest after the answer, then the writing half is closed.
        client.send(&format!("POST {path} HTTP/1.1\r\n{upgrade}early ")).await;
        let head = format!(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        );
        assert_eq!(client.until("\r\n\r\n").await, head, "{path}");
        client.send("and late").await;
        client.0.shutdown().await.unwrap();
        assert_eq!(client.until("").await, "\u{1}\0\0\0\0\0\0\u{e}early and late", "{path}");
    }
}

#[tokio::test]
async fn hijack_without_upgrade() {
    let server = Running::start();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
    for (headers, first, rest) in [
        ("Content-Type: text/plain\r\n", "ab", "cd"),
        ("Transfer-Encoding: chunked\r\n", "2\r\nab\r\n", "2\r\ncd\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "", "4;x\r\nabcd\r\n0\r\n\r\n"),
        ("Content-Length: 0\r\n", "", "abcd"),
    ] {
        let mut client = server.connect().await;
        client.send(&format!("POST /containers/c/attach HTTP/1.1\r\nHost: x\r\n{headers}\r\n{first}")).await;
        assert_eq!(client.until("\r\n\r\n").await, head, "{headers}");
        client.send(rest).await;
        if !rest.ends_with("0\r\n\r\n") {
            client.0.shutdown().await.unwrap();
        }
        assert_eq!(client.until("").await, "\u{1}\0\0\0\0\0\0\u{4}abcd", "{headers}");
    }
}

#[tokio::test]
async fn wait_sends_its_headers_at_once_and_ends_with_its_client() {
    let server = Running::start();
    let mut client = server.connect().await;
    client.send("POST /containers/1000/wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    drop(client);
    let dropped = tokio::time::timeout(Duration::from_secs(5), server.area.dropped().notified()).await;
    assert!(dropped.is_ok(), "the waiting future outlives its client");

    let mut client = server.connect().await;
    client.send("POST /containers/0/wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(client.until("\r\n0\r\n\r\n").await.contains("{\"StatusCode\":0}\n"));
}

#[tokio::test]
async fn a_broken_stream_does_not_look_complete() {
    let server = Running::start();
    let mut client = server.connect().await;
    client.send("GET /containers/c/logs HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let all = client.until("").await;
    assert!(all.contains("4\r\none\n\r\n") && !all.ends_with("0\r\n\r\n"), "{all:?}");
}

#[tokio::test]
async fn malformed_requests_are_answered_or_cut() {
    let server = Running::start();
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(500));
    let large = format!(
        "POST /containers/create HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {}\r\n\r\n",
        sheave_http::BODY_LIMIT + 1
    );
    for (request, answer) in [
        ("nonsense\r\n\r\n", "HTTP/1.1 400"),
        ("GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 400"),
        ("GET /%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"),
        (many.as_str(), "HTTP/1.1 431"),
        (long.as_str(), "HTTP/1.1 4"),
        (large.as_str(), "HTTP/1.1 400"),
    ] {
        let mut client = server.connect().await;
        let _ = client.0.write_all(request.as_bytes()).await;
        let got = client.until("\r\n\r\n").await;
        assert!(got.starts_with(answer), "{:?}: {got:?}", &request[..request.len().min(40)]);
    }
    let mut client = server.connect().await;
    assert_eq!(client.ask("GET /nothing HTTP/1.1", "").await.0, 404, "the server still answers");
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_cuts_the_others() {
    let server = Running::start();
    let mut idle = server.connect().await;
    assert_eq!(idle.ask("GET /nothing HTTP/1.1", "").await.0, 404);
    let mut busy = server.connect().await;
    busy.send("POST /containers/1000/wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    busy.until("\r\n\r\n").await;
    server.down.send(true).unwrap();
    assert_eq!(idle.until("").await, "");
    let done = tokio::time::timeout(Duration::from_secs(10), server.done).await;
    assert!(done.is_ok_and(|d| d.is_ok()), "the server ends");
    assert!(!server.dir.path().join("s").exists(), "the socket is removed");
}

#[tokio::test]
async fn pages_of_other_sites_do_not_reach_a_loopback_listener() {
    use tokio::net::TcpStream;
    let listeners = Listener::open(&Address::parse("tcp://127.0.0.1:0").unwrap(), None).unwrap();
    let address = listeners[0].name().strip_prefix("tcp://").unwrap().to_owned();
    let area: Arc<dyn Fake> = Arc::new(Area::default());
    let router = Router::new().area(routes(), &area);
    let server = Server::new(router, Arc::new(HookBus::default()), Observers::default(), "1").unwrap();
    let (_down, shutdown) = watch::channel(false);
    tokio::spawn(server.run(listeners, shutdown));
    for (headers, status) in [
        ("Host: 127.0.0.1:2375", "HTTP/1.1 204"),
        ("Host: [::1]:2375", "HTTP/1.1 204"),
        ("Host: localhost", "HTTP/1.1 204"),
        ("Host: api.moby.localhost", "HTTP/1.1 204"),
        ("Host: evil.example:2375", "HTTP/1.1 403"),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site", "HTTP/1.1 403"),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("DELETE /images/gone HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(status), "{headers}: {answer}");
    }
}
