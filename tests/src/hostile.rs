//! A registry that lies: images made by hand, and faults on the way.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Sandbox;
use crate::server::{Reply, Request, Server};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `sha256:…` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// gzip of these bytes.
///
/// # Panics
/// Never: memory takes every byte.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// One entry of a layer, with a path and a link target that are not looked at.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A file with this content.
    File(&'static str, &'static str),
    /// A symbolic link at the first path that says the second.
    Symlink(&'static str, &'static str),
    /// A hard link at the first path to the second.
    Hardlink(&'static str, &'static str),
    /// A directory.
    Dir(&'static str),
}

/// A tar archive of these entries, written as they are: `tar`'s own builder refuses `..`.
///
/// # Panics
/// If a path is longer than 100 bytes.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let (path, kind, link, content) = match entry {
            Entry::File(path, content) => (path, tar::EntryType::Regular, "", *content),
            Entry::Symlink(path, target) => (path, tar::EntryType::Symlink, *target, ""),
            Entry::Hardlink(path, target) => (path, tar::EntryType::Link, *target, ""),
            Entry::Dir(path) => (path, tar::EntryType::Directory, "", ""),
        };
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).expect("memory");
    }
    builder.into_inner().expect("memory")
}

type Fault = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// Blobs and manifests under names that need not be true.
#[derive(Default, Clone)]
pub struct Store {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, (String, Vec<u8>)>,
}

impl Store {
    /// Serves these bytes under this digest, whether or not it is theirs.
    pub fn blob(&mut self, digest: &str, bytes: Vec<u8>) {
        self.blobs.insert(digest.to_owned(), bytes);
    }

    /// Serves a manifest under `repository:reference` and under its digest; gives the digest.
    pub fn manifest(&mut self, name: &str, kind: &str, manifest: &Value) -> String {
        let bytes = manifest.to_string().into_bytes();
        let digest = digest(&bytes);
        let repository = name.split(':').next().unwrap_or(name);
        self.manifests.insert(format!("{repository}:{digest}"), (kind.to_owned(), bytes.clone()));
        self.manifests.insert(name.to_owned(), (kind.to_owned(), bytes));
        digest
    }

    /// Serves an honest image of these layers (gzip of tar archives) as `repository:tag`.
    pub fn image(&mut self, name: &str, layers: &[Vec<u8>]) {
        self.image_with(name, layers, |_| {});
    }

    /// Serves an image whose manifest is changed before it is served.
    pub fn image_with(&mut self, name: &str, layers: &[Vec<u8>], change: impl FnOnce(&mut Value)) {
        let parts: Vec<(Vec<u8>, Vec<u8>)> = layers.iter().map(|tar| (tar.clone(), gzip(tar))).collect();
        self.image_of(name, &parts, change);
    }

    /// Serves an image of layers given as the archive, whose digest goes into the configuration, and the bytes of the blob.
    pub fn image_of(&mut self, name: &str, layers: &[(Vec<u8>, Vec<u8>)], change: impl FnOnce(&mut Value)) {
        let diff_ids: Vec<String> = layers.iter().map(|(tar, _)| digest(tar)).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": []})
        .to_string()
        .into_bytes();
        let mut descriptors = Vec::new();
        for (_, blob) in layers {
            descriptors.push(json!({"mediaType": LAYER, "digest": digest(blob), "size": blob.len()}));
            self.blob(&digest(blob), blob.clone());
        }
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(&config), "size": config.len()}, "layers": descriptors});
        self.blob(&digest(&config), config);
        change(&mut manifest);
        self.manifest(name, MANIFEST, &manifest);
    }

    fn answer(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        let missing =
            |code: &str| Reply::json(404, &json!({"errors": [{"code": code, "message": "not here", "detail": null}]}));
        let Some(rest) = path.strip_prefix("/v2/") else { return missing("UNSUPPORTED") };
        if rest.is_empty() {
            return Reply::json(200, &json!({})).with("Docker-Distribution-Api-Version", "registry/2.0");
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            let Some((kind, bytes)) = self.manifests.get(&format!("{repository}:{reference}")) else {
                return missing("MANIFEST_UNKNOWN");
            };
            return Reply::new(200, kind, bytes.clone()).with("Docker-Content-Digest", &digest(bytes));
        }
        let Some((_, wanted)) = rest.split_once("/blobs/") else { return missing("UNSUPPORTED") };
        let Some(bytes) = self.blobs.get(wanted) else { return missing("BLOB_UNKNOWN") };
        let from =
            request.header("range").and_then(|r| r.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
        match from {
            Some(from) if from < bytes.len() => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, "application/octet-stream", &bytes[from..]).with("Content-Range", &range)
            }
            _ => Reply::new(200, "application/octet-stream", bytes.clone()).with("Accept-Ranges", "bytes"),
        }
    }
}

/// The store, served on a port of the sandbox's loopback, with the faults of a closure that is asked first.
pub struct HostileRegistry {
    _server: Server,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl HostileRegistry {
    /// Serves without faults.
    pub fn start(sandbox: &Sandbox, port: u16, store: Store) -> Self {
        Self::start_with(sandbox, port, store, Box::new(|_| None))
    }

    /// Serves; where `fault` has an answer that one is given.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn start_with(sandbox: &Sandbox, port: u16, store: Store, fault: Box<Fault>) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let server = Server::start(sandbox, port, move |request| {
            log.lock().expect("no holder panics").push(request.clone());
            fault(request).unwrap_or_else(|| store.answer(request))
        });
        Self { _server: server, requests }
    }

    /// All requests so far.
    ///
    /// # Panics
    /// If a request panicked.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no holder panics").clone()
    }
}
