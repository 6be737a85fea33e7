//! The bus over the plugin host, with hooks made for it: one that decides, one that amends, one that panics, one that
//! never returns.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sheave_hooks::{Configured, HookBus, Identity, Operation, Outcome, Payload, Ruling};
use sheave_host::{Host, Options};
use sheave_metadata::Database;
use sheave_plugin::hook::{self, Driver, Verdict};
use sheave_plugin::{Error, Linked};
use sheave_types::{Action, ErrorKind, Result};
use tempfile::TempDir;

/// What a hook does, and what the others share with the test.
#[derive(Default)]
struct Seen {
    bodies: Mutex<Vec<String>>,
    after: Mutex<Vec<(String, u16, String)>>,
    /// Dropped by the test to release the hook that never returns.
    held: Mutex<Option<mpsc::Receiver<()>>>,
}

static SEEN: std::sync::LazyLock<Seen> = std::sync::LazyLock::new(Seen::default);

macro_rules! hook {
    ($name:ident, $subscription:literal, |$operation:ident| $before:expr) => {
        struct $name;

        impl Driver for $name {
            fn new(_: String) -> Result<Self, Error> {
                Ok(Self)
            }
            fn subscriptions(&self) -> Result<Vec<String>, Error> {
                Ok(vec![$subscription.to_owned()])
            }
            fn before(&self, $operation: hook::Operation) -> Result<Verdict, Error> {
                $before
            }
            fn after(&self, operation: hook::Operation, outcome: hook::Outcome) -> Result<(), Error> {
                SEEN.after.lock().unwrap().push((operation.action, outcome.status, outcome.object));
                Ok(())
            }
            fn spec(&self, _: hook::Operation, spec: String) -> Result<Verdict, Error> {
                Ok(match spec.as_str() {
                    "{\"bad\":1}" => Verdict::Deny("bad spec".to_owned()),
                    "{\"amend\":1}" => Verdict::Amend("{ \"amended\": 1 }".to_owned()),
                    "{\"break\":1}" => Verdict::Amend("{".to_owned()),
                    _ => Verdict::Allow,
                })
            }
        }
    };
}

hook!(Policy, "container.*", |operation| {
    SEEN.bodies.lock().unwrap().push(operation.body.clone());
    Ok(if operation.body.contains("\"Privileged\":true") {
        Verdict::Deny(format!("no privileged containers for uid {:?}", operation.identity.uid))
    } else {
        Verdict::Allow
    })
});
hook!(Amender, "container.create", |operation| {
    Ok(match operation.object.as_str() {
        "nonsense" => Verdict::Amend("{\"query\":{},\"body\":{\"Image\":1}}".to_owned()),
        "extra" => Verdict::Amend("{\"query\":{},\"body\":{},\"more\":1}".to_owned()),
        // Spelled so that only a reader of JSON finds the key: the next hook gets what will run, written anew.
        "sneaky" => Verdict::Amend("{\"query\":{},\"body\":{\"Image\":\"b\",\"\\u0050rivileged\": true}}".to_owned()),
        "same" => Verdict::Allow,
        _ => Verdict::Amend("{\"query\":{},\"body\":{\"Image\":\"amended\"}}".to_owned()),
    })
});
hook!(Panics, "*", |_operation| panic!("a fault in a hook"));
hook!(Hangs, "*", |_operation| {
    let held = SEEN.held.lock().unwrap().take();
    if let Some(held) = held {
        let _ = held.recv();
    }
    Ok(Verdict::Allow)
});

fn linked<D: Driver + Send + Sync + 'static>(name: &str) -> Linked {
    let manifest =
        format!("name = \"{name}\"\nversion = \"1\"\napi = \"0.1\"\nkinds = [\"hook\"]\ndescription = \"for tests\"\n");
    let mut linked = Linked::new(Box::leak(manifest.into_boxed_str()));
    linked.hook = Some(|config| D::new(config).map(|d| Box::new(d) as Box<dyn hook::AnyDriver>));
    linked
}

async fn bus(hooks: &[(&str, bool)]) -> (Arc<HookBus>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        data_root: dir.path().to_owned(),
        database: Database::open(&dir.path().join("db")).unwrap(),
        events: Arc::default(),
        metrics: Arc::default(),
        plugins: BTreeMap::new(),
        secrets: BTreeMap::new(),
        hook_order: hooks.iter().map(|(name, _)| (*name).to_owned()).collect(),
    };
    let all = [
        linked::<Policy>("hook-policy"),
        linked::<Amender>("hook-amender"),
        linked::<Panics>("hook-panics"),
        linked::<Hangs>("hook-hangs"),
    ];
    let wanted: Vec<_> = all.into_iter().filter(|l| hooks.iter().any(|(n, _)| l.manifest.contains(n))).collect();
    let host = Host::load(&wanted, options).await.unwrap();
    let configured = host.hooks().into_iter().map(|hook| Configured {
        mandatory: hooks.iter().any(|(name, mandatory)| *name == hook.name() && *mandatory),
        deadline: Duration::from_millis(300),
        hook,
    });
    (Arc::new(HookBus::new(configured.collect()).await), dir)
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    image: String,
    privileged: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    query: BTreeMap<String, String>,
    body: Body,
}

impl Payload for Parameters {
    fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self).unwrap())
    }

    fn replace(&mut self, json: &str) -> Result<()> {
        *self = serde_json::from_str(json).map_err(|e| sheave_types::Error::invalid(e.to_string()))?;
        Ok(())
    }
}

fn create(object: &str) -> Operation {
    let identity = Identity { uid: Some(7), listener: "unix:///x".into(), ..Identity::default() };
    Operation { action: Action::ContainerCreate, object: object.into(), identity: Arc::new(identity) }
}

/// What runs, or the error, and what each hook said.
async fn asked(bus: &HookBus, object: &str, body: Body) -> (Result<Body, String>, Vec<(String, &'static str)>) {
    let mut payload = Parameters { query: BTreeMap::new(), body };
    let mut rulings: Vec<Ruling> = Vec::new();
    let answer = bus.before(&create(object), &mut payload, &mut rulings).await;
    let answer = answer.map(|()| payload.body).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Denied);
        error.message().to_owned()
    });
    (answer, rulings.into_iter().map(|r| (r.hook, r.verdict)).collect())
}

fn image(image: &str) -> Body {
    Body { image: image.into(), privileged: false }
}

#[tokio::test]
async fn decides_and_amends_in_order() {
    let (bus, _dir) = bus(&[("hook-amender", true), ("hook-policy", true)]).await;
    let said = |amender, policy| vec![("hook-amender".to_owned(), amender), ("hook-policy".to_owned(), policy)];

    assert_eq!(asked(&bus, "same", image("a")).await, (Ok(image("a")), said("allow", "allow")));
    assert_eq!(asked(&bus, "x", image("a")).await, (Ok(image("amended")), said("amend", "allow")));
    assert_eq!(
        SEEN.bodies.lock().unwrap().last().unwrap(),
        r#"{"query":{},"body":{"Image":"amended","Privileged":false}}"#
    );

    let privileged = Body { privileged: true, ..image("a") };
    let denied = "denied by hook-policy: no privileged containers for uid Some(7)";
    assert_eq!(asked(&bus, "same", privileged).await, (Err(denied.into()), said("allow", "deny")));
    assert_eq!(asked(&bus, "sneaky", image("a")).await, (Err(denied.into()), said("amend", "deny")));

    for (object, part) in [("nonsense", "invalid type"), ("extra", "unknown field `more`")] {
        let error = asked(&bus, object, image("a")).await.0.unwrap_err();
        assert!(error.contains("hook-amender") && error.contains(part), "{error}");
    }

    assert!(bus.wants(Action::ContainerStart) && !bus.wants(Action::ImageList));
    bus.after(create("c"), Outcome { status: 201, message: String::new(), object: "c".into() });
    let told = ("container.create".to_owned(), 201, "c".to_owned());
    for _ in 0..100 {
        if SEEN.after.lock().unwrap().iter().filter(|t| **t == told).count() == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("both hooks are told: {:?}", SEEN.after.lock().unwrap());
}

#[tokio::test]
async fn a_last_look_at_the_spec() {
    let (bus, _dir) = bus(&[("hook-policy", true)]).await;
    // A restart starts a container, too.
    let operation = Operation { action: Action::ContainerRestart, ..create("c") };
    let spec = |text: &str| {
        let (bus, operation, text) = (bus.clone(), operation.clone(), text.to_owned());
        async move { bus.spec(&operation, text).await.map_err(|e| e.message().to_owned()) }
    };
    assert_eq!(spec("{}").await, Ok("{}".to_owned()));
    assert_eq!(spec("{\"amend\":1}").await, Ok("{\"amended\":1}".to_owned()));
    assert_eq!(spec("{\"bad\":1}").await, Err("denied by hook-policy: bad spec".to_owned()));
    assert!(spec("{\"break\":1}").await.unwrap_err().contains("hook-policy"));
}

#[tokio::test]
async fn a_hook_that_panics() {
    for (mandatory, goes_on) in [(true, false), (false, true)] {
        let (bus, _dir) = bus(&[("hook-panics", mandatory)]).await;
        let (answer, rulings) = asked(&bus, "same", image("a")).await;
        assert_eq!(answer.is_ok(), goes_on, "{answer:?}");
        assert_eq!(rulings, [("hook-panics".to_owned(), "unavailable")]);
        if let Err(error) = answer {
            assert!(error.starts_with("denied: the mandatory hook hook-panics is not available: "), "{error}");
        }
    }
}

#[tokio::test]
async fn a_hook_that_never_returns() {
    let (release, held) = mpsc::channel();
    *SEEN.held.lock().unwrap() = Some(held);
    let (bus, _dir) = bus(&[("hook-hangs", true)]).await;
    let (answer, rulings) = asked(&bus, "same", image("a")).await;
    let error = answer.unwrap_err();
    assert!(error.contains("hook-hangs") && error.contains("300ms"), "{error}");
    assert_eq!(rulings, [("hook-hangs".to_owned(), "unavailable")]);
    drop(release);
}

#[tokio::test]
async fn without_hooks_nothing_is_written() {
    struct Unwritable;
    impl Payload for Unwritable {
        fn to_json(&self) -> Result<String> {
            panic!("nobody subscribes")
        }
        fn replace(&mut self, _: &str) -> Result<()> {
            panic!("nobody amends")
        }
    }
    let bus = HookBus::default();
    assert!(bus.before(&create("c"), &mut Unwritable, &mut Vec::new()).await.is_ok());
}
