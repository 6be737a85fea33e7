//! A small HTTP server that also does what no server should: stall, or close in the middle.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Sandbox;

/// A request with its whole body.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// Path and query as they came.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The values of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Vec<String> {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).collect()
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer, and what is wrong with how it is sent.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Besides Content-Length and Connection.
    pub headers: Vec<(String, String)>,
    /// The whole body; Content-Length tells its length, whatever is really sent.
    pub body: Vec<u8>,
    /// The connection is closed after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// Nothing more is sent after so many bytes of the body, and the connection stays open.
    pub stall_after: Option<usize>,
}

impl Reply {
    /// An honest answer.
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
        Self { status, headers, body: body.into(), cut_after: None, stall_after: None }
    }

    /// An honest answer in JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// With a further header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Serves until it is dropped, on a thread a connection.
pub struct Server {
    end: Arc<AtomicBool>,
}

impl Server {
    /// Listens on a port of the sandbox's loopback.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn start(sandbox: &Sandbox, port: u16, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = sandbox.in_net(|| TcpListener::bind(("127.0.0.1", port))).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let end = Arc::new(AtomicBool::new(false));
        let (ended, handler) = (Arc::clone(&end), Arc::new(handler));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    crate::pause(Duration::from_millis(2));
                    continue;
                };
                let (ended, handler) = (Arc::clone(&ended), Arc::clone(&handler));
                std::thread::spawn(move || {
                    // A client that goes away is not the server's trouble.
                    let _ = serve(stream, &ended, &*handler);
                });
            }
        });
        Self { end }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

fn serve(stream: TcpStream, ended: &AtomicBool, handler: &dyn Fn(&Request) -> Reply) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let reply = handler(&request);
        let mut head = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        out.write_all(head.as_bytes())?;
        let body = if request.method == "HEAD" { &[][..] } else { &reply.body[..] };
        let sent = reply.cut_after.or(reply.stall_after).unwrap_or(body.len()).min(body.len());
        out.write_all(&body[..sent])?;
        out.flush()?;
        if reply.cut_after.is_some() {
            return out.shutdown(std::net::Shutdown::Both);
        }
        while reply.stall_after.is_some() && !ended.load(Ordering::Relaxed) {
            crate::pause(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn read_request(from: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    request.body.resize(length, 0);
    from.read_exact(&mut request.body)?;
    Ok(Some(request))
}
