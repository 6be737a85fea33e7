//! A plugin's failure is its own: panics, endless calls, refused grants and dropped plans, with real drivers on real threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sheave_host::{Grants, Host, Options, PluginOptions, StoragePlugin};
use sheave_metadata::Database;
use sheave_plugin::storage::{AnyDriver, Capabilities, Driver, Snapshot, Whiteouts};
use sheave_plugin::{Action, Error, Finding, Label, Linked, Mount, host};
use sheave_telemetry::events::EventBus;
use sheave_types::ErrorKind;

/// Does what the key says.
struct Faulty;

impl Driver for Faulty {
    fn new(config: String) -> Result<Self, Error> {
        if config.contains("bad") { Err(Error::invalid("colour", "no such colour")) } else { Ok(Self) }
    }
    fn capabilities(&self) -> Result<Capabilities, Error> {
        let whiteouts = Whiteouts::Applied;
        Ok(Capabilities { independent_layers: false, whiteouts, quota: false, id_map: false, probes: vec![] })
    }
    fn prepare(&self, key: String, _parent: Option<String>, _labels: Vec<Label>) -> Result<Vec<Action>, Error> {
        host::state_set(&key, Some("prepared"))?;
        assert_eq!(host::state_get(&key)?.as_deref(), Some("prepared"), "a call sees its own writes");
        Ok(vec![Action::RemoveTree(key)])
    }
    fn mounts(&self, key: String, _read_only: bool) -> Result<Vec<Mount>, Error> {
        match key.as_str() {
            "panic" => panic!("out of cheese"),
            "block" => loop {
                std::thread::park();
            },
            "env" => host::env("HOME").map(|_| vec![]),
            "http" => {
                let url = "http://169.254.169.254/latest/meta-data".to_owned();
                let (method, body) = ("GET".to_owned(), String::new());
                host::http(&host::HttpRequest { method, url, headers: vec![], body, body_base64: false })
                    .map(|_| vec![])
            }
            "file" => host::read_text("/etc/shadow").map(|_| vec![]),
            _ => Err(Error::not_found(format!("no snapshot {key}"))),
        }
    }
    fn commit(&self, _key: String, _name: String, _parent: Option<String>) -> Result<Vec<Action>, Error> {
        Ok(vec![])
    }
    fn remove(&self, _key: String) -> Result<Vec<Action>, Error> {
        Ok(vec![])
    }
    fn list(&self) -> Result<Vec<Snapshot>, Error> {
        Ok(vec![])
    }
    fn usage(&self, key: String) -> Result<Vec<String>, Error> {
        host::state_list(&key)
    }
    fn check(&self, _found: Vec<String>) -> Result<Vec<Finding>, Error> {
        Ok(vec![])
    }
}

const MANIFEST: &str = r#"
name = "storage-faulty"
version = "1.0.0"
api = "0.1"
kinds = ["storage"]
description = "fails on demand"
"#;

fn linked(manifest: &'static str) -> Linked {
    let mut linked = Linked::new(manifest);
    linked.storage = Some(|config| Faulty::new(config).map(|d| Box::new(d) as Box<dyn AnyDriver>));
    linked
}

struct Engine {
    _dir: tempfile::TempDir,
    host: Host,
    events: Arc<EventBus>,
}

async fn load(linked: &[Linked], config: &str) -> Result<Engine, sheave_types::Error> {
    let dir = tempfile::tempdir().expect("tempdir");
    let events = Arc::new(EventBus::default());
    let plugin = PluginOptions {
        config: config.to_owned(),
        grants: Some(Grants::default()),
        deadline: Duration::from_millis(300),
    };
    let options = Options {
        data_root: dir.path().to_owned(),
        database: Database::open(&dir.path().join("db")).expect("database"),
        events: events.clone(),
        metrics: Arc::default(),
        plugins: BTreeMap::from([("storage-faulty".to_owned(), plugin)]),
        secrets: BTreeMap::new(),
        hook_order: vec![],
    };
    Ok(Engine { host: Host::load(linked, options).await?, _dir: dir, events })
}

async fn engine() -> (Engine, Arc<StoragePlugin>) {
    let engine = load(&[linked(MANIFEST)], "{}").await.expect("load");
    let plugin = engine.host.storage("faulty").expect("driver");
    (engine, plugin)
}

#[tokio::test]
async fn state_writes_commit_with_the_plan_only() {
    let (_engine, plugin) = engine().await;
    drop(plugin.prepare("a".into(), None, vec![]).await.expect("prepare"));
    assert!(plugin.usage("a".into()).await.expect("usage").is_empty(), "the plan was dropped");
    let planned = plugin.prepare("a".into(), None, vec![]).await.expect("prepare");
    assert_eq!(*planned, [Action::RemoveTree("a".into())]);
    planned.commit().expect("commit");
    assert_eq!(plugin.usage("a".into()).await.expect("usage"), ["a"]);
}

#[tokio::test]
async fn what_is_not_granted_is_named() {
    let (_engine, plugin) = engine().await;
    for (key, message) in [
        ("env", "not-granted: env HOME"),
        ("http", "not-granted: http 169.254.169.254"),
        ("file", "not-granted: fs /etc/shadow"),
    ] {
        let error = plugin.mounts(key.into(), true).await.expect_err(key);
        assert_eq!((error.kind(), error.message()), (ErrorKind::NotGranted, message));
    }
}

#[tokio::test]
async fn a_panic_costs_one_error_and_repeated_faults_a_rest() {
    let (engine, plugin) = engine().await;
    let error = plugin.mounts("panic".into(), true).await.expect_err("panic");
    assert_eq!(error.message(), "plugin storage-faulty: mounts panicked: out of cheese");
    let error = plugin.mounts("x".into(), true).await.expect_err("not found");
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "no snapshot x"));
    for _ in 0..5 {
        plugin.mounts("panic".into(), true).await.expect_err("panic");
    }
    let error = plugin.mounts("x".into(), true).await.expect_err("quarantined");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("quarantined") && error.message().contains("out of cheese"), "{error}");
    let (past, _) = engine.events.subscribe(Some(0));
    let actions: Vec<_> = past.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(actions, ["verified", "ready", "degraded", "ready", "degraded", "quarantined"]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let error = plugin.mounts("x".into(), true).await.expect_err("probe");
    assert_eq!(error.kind(), ErrorKind::NotFound, "after its rest it is asked again");
}

#[test]
fn an_endless_call_costs_its_deadline_and_nobody_else() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(endless_call());
    // The stuck thread never ends, and a runtime that is dropped would wait for it.
    runtime.shutdown_background();
}

async fn endless_call() {
    let (_engine, plugin) = engine().await;
    let started = Instant::now();
    let stuck = tokio::spawn({
        let plugin = plugin.clone();
        async move { plugin.mounts("block".into(), true).await }
    });
    let other = plugin.mounts("x".into(), true).await.expect_err("not found");
    assert_eq!(other.kind(), ErrorKind::NotFound);
    assert!(started.elapsed() < Duration::from_millis(200), "others do not wait");
    let error = stuck.await.expect("join").expect_err("deadline");
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(error.message(), "plugin storage-faulty: mounts did not answer within 300 ms");
}

#[tokio::test]
async fn what_cannot_be_loaded_names_plugin_and_field() {
    let error = load(&[linked(MANIFEST)], "bad").await.map(|_| ()).expect_err("config");
    assert_eq!(error.message(), "plugin storage-faulty: no such colour");
    let error = load(&[linked(MANIFEST), linked(MANIFEST)], "{}").await.map(|_| ()).expect_err("duplicate");
    assert_eq!(error.message(), "plugin storage-faulty: the name is taken by another plugin");
    let error = load(&[Linked::new(MANIFEST)], "{}").await.map(|_| ()).expect_err("missing");
    assert!(error.message().contains("names the kind storage"), "{error}");
    let error = load(&[linked("name = 1")], "{}").await.map(|_| ()).expect_err("manifest");
    assert!(error.message().contains("sheave-plugin.toml"), "{error}");
    let engine = load(&[linked(MANIFEST)], "{}").await.expect("load");
    let error = engine.host.storage("zfs").map(|_| ()).expect_err("unknown").to_string();
    assert_eq!(error, "storage driver \"zfs\" not found: this engine has faulty");
}
