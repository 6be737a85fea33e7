//! A registry in memory that counts what it is asked and does as it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sheave_types::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{OCI_MANIFEST, TestImage};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What the server does in place of the right answer.
#[derive(Debug, Clone)]
pub enum Act {
    /// This answer.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// The right answer, but the connection ends after so many bytes of the body.
    Cut(usize),
    /// The right answer, but nothing comes after so many bytes of the body.
    Stall(usize),
}

type Rule = Box<dyn Fn(&Asked, usize) -> Option<Act> + Send + Sync>;

struct Shelf {
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    rule: Option<Rule>,
    asked: Vec<Asked>,
}

/// The server; it ends with this.
pub struct Server {
    pub base: String,
    shelf: Arc<Mutex<Shelf>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        let shelf = Arc::new(Mutex::new(Shelf {
            manifests: HashMap::new(),
            blobs: HashMap::new(),
            rule: None,
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&shelf);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { base, shelf, task }
    }

    /// A server with one image as `app:1`.
    pub async fn with(image: &TestImage) -> Self {
        let server = Self::start().await;
        server.add("app", "1", image);
        server
    }

    pub fn add(&self, repository: &str, tag: &str, image: &TestImage) {
        self.put_manifest(repository, tag, OCI_MANIFEST, &image.manifest);
        for blob in image.blobs.iter().chain([&image.config]) {
            self.put_blob(blob);
        }
    }

    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, manifest: &[u8]) {
        let mut shelf = self.shelf.lock().expect("lock");
        for name in [tag.to_owned(), Digest::of(manifest).to_string()] {
            let key = format!("library/{repository}/{name}");
            shelf.manifests.insert(key, (media_type.to_owned(), manifest.to_owned()));
        }
    }

    pub fn put_blob(&self, blob: &[u8]) {
        self.put_blob_as(&Digest::of(blob), blob);
    }

    pub fn put_blob_as(&self, digest: &Digest, blob: &[u8]) {
        self.shelf.lock().expect("lock").blobs.insert(digest.to_string(), blob.to_owned());
    }

    /// The rule gets each request, and how often its path was asked for before.
    pub fn rule(&self, rule: impl Fn(&Asked, usize) -> Option<Act> + Send + Sync + 'static) {
        self.shelf.lock().expect("lock").rule = Some(Box::new(rule));
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shelf.lock().expect("lock").asked.clone()
    }

    /// How often a path with this in it was asked for.
    pub fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|a| a.path.contains(part)).count()
    }
}

pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Act {
    let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Act::Answer(status, headers, body.as_bytes().to_vec())
}

async fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
    Some(Asked { path, headers: headers.collect() })
}

fn right_answer(shelf: &Shelf, asked: &Asked) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let unknown = |code: &str, message: &str| {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        (404, Vec::new(), body.into_bytes())
    };
    if let Some(rest) = asked.path.strip_prefix("/v2/")
        && let Some((repository, name)) = rest.split_once("/manifests/")
    {
        let Some((media_type, body)) = shelf.manifests.get(&format!("{repository}/{name}")) else {
            return unknown("MANIFEST_UNKNOWN", "manifest unknown");
        };
        return (200, vec![("Content-Type".into(), media_type.clone())], body.clone());
    }
    if let Some((_, digest)) = asked.path.split_once("/blobs/") {
        let Some(blob) = shelf.blobs.get(digest) else { return unknown("BLOB_UNKNOWN", "blob unknown to registry") };
        let range = asked.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        return match range {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
                (206, vec![("Content-Range".into(), range)], blob[from..].to_vec())
            }
            None => (200, Vec::new(), blob.clone()),
        };
    }
    if asked.path.ends_with("/tags/list") {
        let repository = asked.path.trim_start_matches("/v2/").trim_end_matches("/tags/list");
        let mut tags: Vec<_> = shelf
            .manifests
            .keys()
            .filter_map(|k| k.rsplit_once('/').filter(|(r, t)| *r == repository && !t.contains(':')))
            .map(|(_, t)| t.to_owned())
            .collect();
        tags.sort();
        return (200, Vec::new(), serde_json::json!({ "tags": tags }).to_string().into_bytes());
    }
    if asked.path == "/v2/" { (200, Vec::new(), Vec::new()) } else { (404, Vec::new(), Vec::new()) }
}

async fn serve(mut stream: TcpStream, shelf: Arc<Mutex<Shelf>>) {
    let Some(asked) = read_request(&mut stream).await else { return };
    let (act, right) = {
        let mut shelf = shelf.lock().expect("lock");
        let before = shelf.asked.iter().filter(|a| a.path == asked.path).count();
        let act = shelf.rule.as_ref().and_then(|rule| rule(&asked, before));
        shelf.asked.push(asked.clone());
        (act, right_answer(&shelf, &asked))
    };
    let (limit, stall, (status, headers, body)) = match act {
        None => (usize::MAX, false, right),
        Some(Act::Cut(n)) => (n, false, right),
        Some(Act::Stall(n)) => (n, true, right),
        Some(Act::Answer(status, headers, body)) => (usize::MAX, false, (status, headers, body)),
    };
    let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body[..body.len().min(limit)]).await;
    if stall {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
    let _ = stream.shutdown().await;
}
