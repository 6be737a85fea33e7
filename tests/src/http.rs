//! HTTP/1.1 by hand over a unix socket: what a client library would smooth over is what these tests look at.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// An answer with its whole body.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is something else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The JSON of an answer that must have this status.
    ///
    /// # Panics
    /// If the status is another, or the body is not JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert!(self.status == status, "expected {status}, got {} {}", self.status, self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The `message` of an error that must have this status.
    ///
    /// # Panics
    /// If the status is another, or the body is not an error's.
    #[track_caller]
    pub fn error(&self, status: u16) -> String {
        let value = self.expect(status);
        value["message"].as_str().unwrap_or_else(|| panic!("no message in {value}")).to_owned()
    }

    /// The JSON objects of a stream, however they are separated.
    ///
    /// # Panics
    /// If the body is not a sequence of JSON values.
    #[track_caller]
    pub fn messages(&self) -> Vec<Value> {
        let stream = serde_json::Deserializer::from_slice(&self.body).into_iter();
        stream.map(|value| value.unwrap_or_else(|error| panic!("{error}: {}", self.text()))).collect()
    }
}

/// A client that makes a connection for each request.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the engine that listens at this path.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// If nothing listens.
    pub fn connect(&self) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }

    /// A request without a body.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    /// A request without a body, of another method.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str) -> Response {
        self.send(method, path, &[], b"")
    }

    /// A request with a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// Any request; waits for the whole answer.
    ///
    /// # Panics
    /// If nothing listens or the answer is not HTTP.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let result = self.try_send(method, path, headers, body);
        result.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Any request; waits for the whole answer.
    ///
    /// # Errors
    /// If nothing listens or the answer is not HTTP.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let mut stream = self.connect()?;
        write_request(&mut stream, method, path, headers, body)?;
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader)?;
        let body = read_body(&mut reader, method, status, &headers)?;
        Ok(Response { status, headers, body })
    }

    /// A request whose answer's body is read by the caller as it comes; gives status, headers and the raw connection.
    ///
    /// # Panics
    /// If nothing listens or the answer is not HTTP.
    #[track_caller]
    pub fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Vec<(String, String)>, BufReader<UnixStream>) {
        let mut stream = self.connect().expect("the engine listens");
        write_request(&mut stream, method, path, headers, body).expect("a request can be written");
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader).expect("an answer");
        (status, headers, reader)
    }

    /// A request that takes the connection over (attach, exec start); gives the raw duplex after a 101.
    ///
    /// # Panics
    /// If the answer is not 101.
    #[track_caller]
    pub fn hijack(&self, path: &str, body: &[u8]) -> (Vec<(String, String)>, BufReader<UnixStream>) {
        let kind = if body.is_empty() { "text/plain" } else { "application/json" };
        let headers = [("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Type", kind)];
        let (status, headers, mut reader) = self.open("POST", path, &headers, body);
        if status != 101 {
            let body = read_body(&mut reader, "POST", status, &headers).unwrap_or_default();
            panic!("{path}: expected 101, got {status} {}", String::from_utf8_lossy(&body));
        }
        (headers, reader)
    }
}

fn write_request(
    to: &mut impl Write,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    let upgrade = headers.iter().any(|(name, _)| *name == "Upgrade");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: engine\r\n");
    if !upgrade {
        head.push_str("Connection: close\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let chunked = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
    if !chunked && (!body.is_empty() || method == "POST") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    to.write_all(head.as_bytes())?;
    to.write_all(body)
}

fn bad(text: impl Into<String>) -> std::io::Error {
    std::io::Error::other(text.into())
}

fn read_head(from: &mut impl BufRead) -> std::io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| bad(format!("not an answer: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad(format!("not a header: {line:?}")))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_body(
    from: &mut impl BufRead,
    method: &str,
    status: u16,
    headers: &[(String, String)],
) -> std::io::Result<Vec<u8>> {
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let mut body = Vec::new();
    if method == "HEAD" || status == 204 || status == 304 {
        return Ok(body);
    }
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        while let Some(chunk) = read_chunk(from)? {
            body.extend(chunk);
        }
    } else if let Some(length) = header("content-length").and_then(|value| value.parse().ok()) {
        body.resize(length, 0);
        from.read_exact(&mut body)?;
    } else {
        from.read_to_end(&mut body)?;
    }
    Ok(body)
}

/// One chunk of a chunked body; nothing after the last.
///
/// # Errors
/// If the connection breaks or it is not a chunk.
pub fn read_chunk(from: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(bad("the body ended within a chunk"));
    }
    let size = line.trim().split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(size, 16).map_err(|_| bad(format!("not a chunk: {line:?}")))?;
    let mut chunk = vec![0; size + 2];
    from.read_exact(&mut chunk)?;
    chunk.truncate(size);
    Ok((size > 0).then_some(chunk))
}

/// One frame of a multiplexed stream: its stream number (1 is stdout, 2 stderr) and bytes; nothing at the end.
///
/// # Errors
/// If the connection breaks within a frame.
pub fn read_frame(from: &mut impl Read) -> std::io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 8];
    match from.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut head[1..])?,
    }
    if head[1..4] != [0, 0, 0] {
        return Err(bad(format!("not a frame: {head:?}")));
    }
    let size = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let mut bytes = vec![0; size];
    from.read_exact(&mut bytes)?;
    Ok(Some((head[0], bytes)))
}

/// The whole of a multiplexed stream, stdout and stderr apart.
///
/// # Panics
/// If it is not one.
#[track_caller]
pub fn demultiplex(from: &mut impl Read) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some((stream, bytes)) = read_frame(from).expect("frames") {
        if stream == 2 { err.extend(bytes) } else { out.extend(bytes) }
    }
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
}

/// Percent-encodes a query value.
pub fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
