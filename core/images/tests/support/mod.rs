//! A registry that misbehaves on demand, a plugin that finds it, storage in plain directories, and images made by hand.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod server;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sheave_api::images::AuthConfig;
use sheave_api::progress::ProgressMessage;
use sheave_host::{Host, PluginOptions};
use sheave_images::{Images, LayerStore, MountedLayer, Options, PullRequest, Tuning};
use sheave_metadata::Database;
use sheave_plugin::registry::{
    Access, Authorization, Credentials, Driver, Endpoint, HttpEndpoint, Reference as PluginReference, Scope,
};
use sheave_plugin::storage::{Capabilities, Snapshot, SnapshotKind, Whiteouts};
use sheave_plugin::{Descriptor, Error as PluginError, ErrorKind as PluginErrorKind, Label, Linked};
use sheave_telemetry::events::EventBus;
use sheave_types::{Digest, Error, Reference, Result};
use tokio::sync::mpsc;

/// Finds every image at the endpoints of its configuration.
struct TestRegistry {
    endpoints: Vec<String>,
    tokens: std::sync::atomic::AtomicU32,
}

const MANIFEST: &str =
    "name = \"registry-test\"\nversion = \"1\"\napi = \"0.1\"\nkinds = [\"registry\"]\ndescription = \"a test's\"\n";

impl Driver for TestRegistry {
    fn new(config: String) -> Result<Self, PluginError> {
        Ok(Self { endpoints: sheave_plugin::config(&config)?, tokens: 0.into() })
    }
    fn patterns(&self) -> Result<Vec<String>, PluginError> {
        Ok(vec!["*".into()])
    }
    fn resolve(&self, _: PluginReference) -> Result<Vec<Endpoint>, PluginError> {
        let endpoint = |text: &String| match text.strip_prefix('/') {
            Some(_) => Endpoint::Layout(text.clone()),
            None => Endpoint::Http(HttpEndpoint {
                base: text.clone(),
                insecure: false,
                ca: Vec::new(),
                headers: vec![Label { key: "X-Test".into(), value: "1".into() }],
                repository: None,
            }),
        };
        Ok(self.endpoints.iter().map(endpoint).collect())
    }
    fn authorize(
        &self,
        _: Endpoint,
        challenges: Vec<String>,
        scopes: Vec<Scope>,
        credentials: Option<Credentials>,
    ) -> Result<Authorization, PluginError> {
        let header = |value: String| Authorization {
            headers: vec![Label { key: "Authorization".into(), value }],
            expires: None,
            identity_token: Some("identity".into()).filter(|_| scopes.is_empty()),
        };
        assert!(scopes.iter().all(|s| s.access == Access::Pull), "a pull asks for no more");
        match (challenges.first().map(String::as_str), credentials) {
            (None, _) => Ok(Authorization { headers: Vec::new(), expires: None, identity_token: None }),
            (Some(c), _) if c.starts_with("Bearer") => {
                let n = self.tokens.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Ok(header(format!("Bearer t{n}")))
            }
            (Some(_), Some(c)) => Ok(header(format!("Basic {}:{}", c.username, c.password))),
            (Some(_), None) => Err(PluginError::of(PluginErrorKind::Unauthorized, "no basic auth credentials")),
        }
    }
    fn locate(&self, _: Endpoint, _: PluginReference, _: Descriptor) -> Result<Vec<Endpoint>, PluginError> {
        Ok(Vec::new())
    }
    fn push_target(&self, _: PluginReference) -> Result<Endpoint, PluginError> {
        Err(PluginError::of(PluginErrorKind::Unsupported, "no"))
    }
}

/// Snapshots as directories: full copies of their parent, or layers of their own as overlayfs has them.
pub struct TestLayers {
    pub root: PathBuf,
    pub independent: bool,
}

struct Plain(PathBuf);

struct Merged(PathBuf, #[allow(dead_code, reason = "removed with this")] tempfile::TempDir);

impl MountedLayer for Merged {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl MountedLayer for Plain {
    fn path(&self) -> &Path {
        &self.0
    }
}

fn copy(source: &Path, target: &Path) {
    let status = Command::new("cp").arg("-a").arg(source).arg(target).status().expect("cp");
    assert!(status.success());
}

impl TestLayers {
    fn at(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// All of a chain in one directory, as a mounted overlay shows it.
    fn merge(&self, parent: &str, target: &Path) {
        std::fs::create_dir(target).expect("dir");
        let mut chain = self.parents(parent);
        chain.insert(0, parent.to_owned());
        for layer in chain.iter().rev() {
            let source = self.at(layer).join(".");
            let copied = Command::new("cp").args(["-a", "--remove-destination"]).arg(source).arg(target).status();
            assert!(copied.expect("cp").success());
        }
        let removed = Command::new("find").arg(target).args(["-type", "c", "-delete"]).status();
        assert!(removed.expect("find").success());
    }

    /// What a snapshot is on: the names of its parents, the nearest first.
    pub fn parents(&self, name: &str) -> Vec<String> {
        let mut parents = Vec::new();
        let mut name = name.to_owned();
        while let Ok(parent) = std::fs::read_to_string(self.root.join(format!("{name}.parent"))) {
            parents.push(parent.clone());
            name = parent;
        }
        parents
    }
}

#[async_trait]
impl LayerStore for TestLayers {
    async fn capabilities(&self, _: &str) -> Result<Capabilities> {
        let whiteouts = if self.independent { Whiteouts::Overlay } else { Whiteouts::Applied };
        let independent_layers = self.independent;
        Ok(Capabilities { independent_layers, whiteouts, quota: false, id_map: false, probes: Vec::new() })
    }
    fn default_driver(&self) -> &str {
        "test"
    }
    fn drivers(&self) -> Vec<String> {
        vec!["test".into()]
    }
    async fn prepare(&self, _: &str, key: &str, parent: Option<&str>) -> Result<()> {
        match parent {
            Some(parent) if self.independent => self.merge(parent, &self.at(key)),
            Some(parent) => copy(&self.at(parent), &self.at(key)),
            None => std::fs::create_dir(self.at(key)).expect("dir"),
        }
        if let Some(parent) = parent {
            std::fs::write(self.root.join(format!("{key}.parent")), parent).expect("parent");
        }
        Ok(())
    }
    async fn mount(&self, _: &str, key: &str, read_only: bool) -> Result<Box<dyn MountedLayer>> {
        if self.independent && read_only {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join("merged");
            self.merge(key, &path);
            return Ok(Box::new(Merged(path, dir)));
        }
        Ok(Box::new(Plain(self.at(key))))
    }
    async fn commit(&self, _: &str, key: &str, name: &str, parent: Option<&str>) -> Result<()> {
        assert!(!self.at(name).exists(), "committed twice");
        std::fs::rename(self.at(key), self.at(name)).expect("rename");
        let _ = std::fs::rename(self.root.join(format!("{key}.parent")), self.root.join(format!("{name}.parent")));
        if let Some(parent) = parent {
            assert!(self.at(parent).exists(), "the parent is committed first");
            std::fs::write(self.root.join(format!("{name}.parent")), parent).expect("parent");
        }
        Ok(())
    }
    async fn remove(&self, _: &str, key: &str) -> Result<()> {
        let used = std::fs::read_dir(&self.root).expect("list").flatten().any(|e| {
            e.file_name().to_string_lossy().ends_with(".parent")
                && std::fs::read_to_string(e.path()).expect("parent") == key
        });
        if used {
            return Err(Error::conflict("it has children"));
        }
        let _ = std::fs::remove_dir_all(self.at(key));
        let _ = std::fs::remove_file(self.root.join(format!("{key}.parent")));
        Ok(())
    }
    async fn list(&self, _: &str) -> Result<Vec<Snapshot>> {
        let names = std::fs::read_dir(&self.root).expect("list").map(|e| e.expect("entry").file_name());
        let names = names.map(|n| n.to_string_lossy().into_owned()).filter(|n| !n.ends_with(".parent"));
        let kind = |n: &str| if n.len() == 64 { SnapshotKind::Committed } else { SnapshotKind::Active };
        Ok(names.map(|key| Snapshot { kind: kind(&key), key, parent: None, paths: Vec::new() }).collect())
    }
}

/// An engine's images over a registry.
pub struct Engine {
    pub images: Arc<Images>,
    pub layers: Arc<TestLayers>,
    pub events: Arc<EventBus>,
    pub database: Database,
    pub dir: tempfile::TempDir,
}

/// Short times, so that tests wait for nothing.
pub fn tuning() -> Tuning {
    Tuning {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(400),
        backoff: Duration::from_millis(5),
        longest_wait: Duration::from_millis(50),
        ..Tuning::default()
    }
}

impl Engine {
    pub async fn new(endpoints: &[&str]) -> Self {
        Self::with(endpoints, true, tuning()).await
    }

    pub async fn with(endpoints: &[&str], independent: bool, tuning: Tuning) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().join("layers");
        std::fs::create_dir(&root).expect("layers");
        let layers = Arc::new(TestLayers { root, independent });
        let database = Database::open(&dir.path().join("db")).expect("database");
        let events = Arc::new(EventBus::default());
        let images = open(dir.path(), endpoints, &database, &layers, &events, tuning).await;
        Self { images, layers, events, database, dir }
    }

    /// Starts anew over the same directory.
    pub async fn restart(mut self, endpoints: &[&str]) -> Self {
        self.images = open(self.dir.path(), endpoints, &self.database, &self.layers, &self.events, tuning()).await;
        self
    }

    pub async fn pull(&self, reference: &str) -> (Result<()>, Vec<ProgressMessage>) {
        self.pull_for(reference, None, AuthConfig::default()).await
    }

    pub async fn pull_for(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: AuthConfig,
    ) -> (Result<()>, Vec<ProgressMessage>) {
        let reference: Reference = reference.parse().expect("reference");
        let platform = platform.map(|p| p.parse().expect("platform"));
        let (sender, mut receiver) = mpsc::channel(16);
        let request = PullRequest { reference, platform, auth };
        let pulling = self.images.pull(request, sender);
        let reading = async {
            let mut all = Vec::new();
            while let Some(message) = receiver.recv().await {
                all.push(message);
            }
            all
        };
        tokio::join!(pulling, reading)
    }

    /// Asserts that nothing half-made is anywhere.
    pub fn assert_clean(&self) {
        self.assert_clean_but(false);
    }

    /// The same, but parts of other blobs may wait to be resumed.
    pub fn assert_clean_but(&self, parts: bool) {
        let list = |path: &Path| -> Vec<_> {
            std::fs::read_dir(path).expect("list").map(|e| e.expect("entry").file_name()).collect()
        };
        if !parts {
            assert_eq!(list(&self.dir.path().join("content/ingest")), Vec::<std::ffi::OsString>::new(), "ingest");
        }
        let unpacking = list(&self.layers.root).into_iter().filter(|n| n.to_string_lossy().starts_with("unpack-"));
        assert_eq!(unpacking.count(), 0, "half-unpacked layers");
    }

    pub fn blobs(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("content/blobs/sha256")).expect("blobs").count()
    }
}

async fn open(
    dir: &Path,
    endpoints: &[&str],
    database: &Database,
    layers: &Arc<TestLayers>,
    events: &Arc<EventBus>,
    tuning: Tuning,
) -> Arc<Images> {
    let mut linked = Linked::new(MANIFEST);
    linked.registry =
        Some(|config| TestRegistry::new(config).map(|d| Box::new(d) as Box<dyn sheave_plugin::registry::AnyDriver>));
    let config = serde_json::to_string(endpoints).expect("json");
    let plugin = PluginOptions { config, ..PluginOptions::default() };
    let linked = [linked];
    let host = Host::load(
        &linked,
        sheave_host::Options {
            data_root: dir.to_owned(),
            database: database.clone(),
            events: events.clone(),
            metrics: Arc::default(),
            plugins: BTreeMap::from([("registry-test".to_owned(), plugin)]),
            secrets: BTreeMap::new(),
            hook_order: Vec::new(),
        },
    );
    let options = Options {
        content: dir.join("content"),
        database: database.clone(),
        host: host.await.expect("host"),
        layers: Arc::clone(layers) as Arc<dyn LayerStore>,
        events: events.clone(),
        tuning,
        limits: sheave_images::unpack::Limits::default(),
    };
    Arc::new(Images::open(options).await.expect("images"))
}

/// The texts of progress messages, layers' ids left out and numbers dropped.
pub fn statuses(messages: &[ProgressMessage]) -> Vec<String> {
    messages
        .iter()
        .filter(|m| m.progress_detail.as_ref().is_none_or(|d| d.total == 0))
        .filter_map(|m| m.status.clone())
        .collect()
}

/// A tar of files (`path`, content); a path that ends in `/` is a directory, `path>target` a hard link.
pub fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_600_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(if path.ends_with('/') { 0o755 } else { 0o644 });
        if let Some((path, target)) = path.split_once('>') {
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            builder.append_link(&mut header, path, target).expect("link");
            continue;
        }
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).expect("file");
    }
    builder.into_inner().expect("tar")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// Text that does not compress, so that a blob is as large as asked for.
pub fn noise(length: usize) -> String {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    (0..length).map(|_| next()).collect()
}

/// An image made by hand.
pub struct TestImage {
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    pub blobs: Vec<Vec<u8>>,
    pub diff_ids: Vec<Digest>,
}

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl TestImage {
    /// Layers alternate between gzip and zstd.
    pub fn new(layers: &[Vec<u8>]) -> Self {
        Self::for_platform(layers, "amd64")
    }

    pub fn for_platform(layers: &[Vec<u8>], architecture: &str) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|l| Digest::of(l)).collect();
        let config = serde_json::json!({
            "created": "2024-05-06T07:08:09.123456789Z", "architecture": architecture, "os": "linux",
            "config": { "Cmd": ["/bin/sh"], "Labels": { "team": "a" }, "ExposedPorts": { "80/tcp": {} } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [{ "created_by": "COPY", "created": "2024-05-06T07:08:09Z" }, { "created_by": "CMD", "empty_layer": true }],
        });
        let blobs: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(n, l)| if n % 2 == 0 { gzip(l) } else { zstd::encode_all(&l[..], 1).expect("zstd") })
            .collect();
        let config = serde_json::to_vec(&config).expect("json");
        let manifest = manifest(&config, &blobs);
        Self { config, manifest, blobs, diff_ids }
    }

    pub fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

pub fn manifest(config: &[u8], blobs: &[Vec<u8>]) -> Vec<u8> {
    let layer = |blob: &Vec<u8>| {
        serde_json::json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": Digest::of(blob), "size": blob.len() })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(config), "size": config.len() },
        "layers": blobs.iter().map(layer).collect::<Vec<_>>(),
    });
    serde_json::to_vec(&manifest).expect("json")
}
