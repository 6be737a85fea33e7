//! The WASM carrier of the plugin interface: a plugin crate built as a component, held to the same suite as when it is linked.
//!
//! Nothing here knows storage-vfs: the sources that are linked elsewhere are built by `tests/setup/component.sh` and called by
//! the names of the WIT.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sheave_conformance::FakeHost;
use sheave_plugin::host::{Host, Level};
use sheave_plugin::storage::{AnyDriver, Capabilities, Snapshot};
use sheave_plugin::{Action, Error, ErrorKind, Finding, Label, Mount};
use wasmtime::component::{Component, Func, Instance, Linker, ResourceAny, Val};
use wasmtime::{Engine, Store};

const HOST: &str = "sheave:plugin/host@0.1.0";
const STORAGE: &str = "sheave:plugin/storage@0.1.0";

/// A driver inside a component. One instance is single-threaded, hence the lock.
struct WasmDriver {
    inside: Mutex<Inside>,
}

struct Inside {
    store: Store<Arc<FakeHost>>,
    instance: Instance,
    driver: Option<ResourceAny>,
}

impl Inside {
    fn function(&mut self, name: &str) -> Func {
        let interface = self.instance.get_export_index(&mut self.store, None, STORAGE).expect("the storage interface");
        let index = self.instance.get_export_index(&mut self.store, Some(&interface), name);
        let index = index.unwrap_or_else(|| panic!("the component has no {name}"));
        self.instance.get_func(&mut self.store, index).expect("a function")
    }

    /// Calls; a trap fails the test, the interface's own errors are returned.
    fn call(&mut self, name: &str, arguments: &[Val]) -> Result<Option<Val>, Error> {
        let function = self.function(name);
        let mut results = [Val::Bool(false)];
        function.call(&mut self.store, arguments, &mut results).unwrap_or_else(|trap| panic!("{name}: {trap:?}"));
        let [result] = results;
        match result {
            Val::Result(Ok(value)) => Ok(value.map(|value| *value)),
            Val::Result(Err(error)) => Err(from_json(json_of(&error.expect("an error has a value")))),
            other => panic!("{name} returned {other:?}"),
        }
    }

    fn method<T: DeserializeOwned>(&mut self, name: &str, arguments: &[Val]) -> Result<T, Error> {
        let mut all = vec![Val::Resource(self.driver.expect("made by the constructor"))];
        all.extend_from_slice(arguments);
        let value = self.call(&format!("[method]driver.{name}"), &all)?;
        Ok(from_json(value.as_ref().map_or(Value::Null, json_of)))
    }
}

impl WasmDriver {
    fn new(engine: &Engine, component: &Component, host: Arc<FakeHost>, config: &str) -> Result<Self, Error> {
        let mut linker = Linker::new(engine);
        host_functions(&mut linker);
        let mut store = Store::new(engine, host);
        let instance =
            linker.instantiate(&mut store, component).expect("the component imports the host interface only");
        let mut inside = Inside { store, instance, driver: None };
        match inside.call("[constructor]driver", &[Val::String(config.to_owned())])? {
            Some(Val::Resource(driver)) => inside.driver = Some(driver),
            other => panic!("the constructor returned {other:?}"),
        }
        Ok(Self { inside: Mutex::new(inside) })
    }

    fn call<T: DeserializeOwned>(&self, name: &str, arguments: &[Val]) -> Result<T, Error> {
        self.inside.lock().expect("no call has panicked").method(name, arguments)
    }
}

fn string(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn optional(text: Option<&str>) -> Val {
    Val::Option(text.map(|text| Box::new(string(text))))
}

fn strings(texts: Vec<String>) -> Val {
    Val::List(texts.into_iter().map(Val::String).collect())
}

impl AnyDriver for WasmDriver {
    fn capabilities(&self) -> Result<Capabilities, Error> {
        self.call("capabilities", &[])
    }

    fn prepare(&self, key: String, parent: Option<String>, labels: Vec<Label>) -> Result<Vec<Action>, Error> {
        let label =
            |l: Label| Val::Record(vec![("key".to_owned(), string(&l.key)), ("value".to_owned(), string(&l.value))]);
        let labels = Val::List(labels.into_iter().map(label).collect());
        self.call("prepare", &[Val::String(key), optional(parent.as_deref()), labels])
    }

    fn mounts(&self, key: String, read_only: bool) -> Result<Vec<Mount>, Error> {
        self.call("mounts", &[Val::String(key), Val::Bool(read_only)])
    }

    fn commit(&self, key: String, name: String, parent: Option<String>) -> Result<Vec<Action>, Error> {
        self.call("commit", &[Val::String(key), Val::String(name), optional(parent.as_deref())])
    }

    fn remove(&self, key: String) -> Result<Vec<Action>, Error> {
        self.call("remove", &[Val::String(key)])
    }

    fn list(&self) -> Result<Vec<Snapshot>, Error> {
        self.call("list", &[])
    }

    fn usage(&self, key: String) -> Result<Vec<String>, Error> {
        self.call("usage", &[Val::String(key)])
    }

    fn check(&self, found: Vec<String>) -> Result<Vec<Finding>, Error> {
        self.call("check", &[strings(found)])
    }
}

/// The names of the WIT are in kebab case, those of the generated Rust types in snake and camel case.
fn field_name(name: &str) -> String {
    name.replace('-', "_")
}

fn case_name(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').map(word).collect()
}

fn json_of(value: &Val) -> Value {
    match value {
        Val::Bool(bool) => Value::from(*bool),
        Val::U16(number) => Value::from(*number),
        Val::U32(number) => Value::from(*number),
        Val::U64(number) => Value::from(*number),
        Val::String(text) => Value::from(text.clone()),
        Val::List(values) => values.iter().map(json_of).collect(),
        Val::Option(value) => value.as_ref().map_or(Value::Null, |value| json_of(value)),
        Val::Enum(name) => Value::from(case_name(name)),
        Val::Record(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (field_name(name), json_of(value))).collect())
        }
        Val::Variant(name, None) => Value::from(case_name(name)),
        Val::Variant(name, Some(value)) => Value::Object(Map::from_iter([(case_name(name), json_of(value))])),
        other => panic!("no such value in the storage interface: {other:?}"),
    }
}

fn from_json<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn result(answer: Result<Option<Val>, Error>) -> Val {
    Val::Result(match answer {
        Ok(value) => Ok(value.map(Box::new)),
        Err(error) => Err(Some(Box::new(error_value(&error)))),
    })
}

fn error_value(error: &Error) -> Val {
    let kind = from_json::<String>(serde_json::to_value(error.kind).expect("an enum"));
    let mut kebab = String::new();
    for c in kind.chars() {
        if c.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(c.to_lowercase());
    }
    Val::Record(vec![
        ("kind".to_owned(), Val::Enum(kebab)),
        ("message".to_owned(), string(&error.message)),
        ("field".to_owned(), optional(error.field.as_deref())),
    ])
}

fn text(value: &Val) -> &str {
    match value {
        Val::String(text) => text,
        other => panic!("not a string: {other:?}"),
    }
}

/// The host interface, served by the fake host in the store.
fn host_functions(linker: &mut Linker<Arc<FakeHost>>) {
    let mut host = linker.instance(HOST).expect("one definition");
    let mut define = |name: &str, answer: fn(&FakeHost, &[Val]) -> Option<Val>| {
        host.func_new(name, move |store, _, arguments, results| {
            if let (Some(value), Some(slot)) = (answer(store.data(), arguments), results.first_mut()) {
                *slot = value;
            }
            Ok(())
        })
        .expect("one definition");
    };
    define("log", |host, arguments| {
        host.log(Level::Info, text(&arguments[1]));
        None
    });
    define("state-get", |host, arguments| {
        let found = host.state_get(text(&arguments[0]));
        Some(result(found.map(|value| Some(optional(value.as_deref())))))
    });
    define("state-set", |host, arguments| {
        let value = match &arguments[1] {
            Val::Option(value) => value.as_deref().map(text),
            other => panic!("not an option: {other:?}"),
        };
        Some(result(host.state_set(text(&arguments[0]), value).map(|()| None)))
    });
    define("state-list", |host, arguments| {
        Some(result(host.state_list(text(&arguments[0])).map(|keys| Some(strings(keys)))))
    });
    define("secret", |host, arguments| {
        Some(result(host.secret(text(&arguments[0])).map(|value| Some(Val::String(value)))))
    });
    define("env", |host, arguments| Some(result(host.env(text(&arguments[0])).map(|value| Some(Val::String(value))))));
    define("now", |host, _| Some(Val::U64(host.now())));
    define("random", |host, _| Some(Val::U64(host.random())));
    define("http", |_, _| Some(result(Err(Error::of(ErrorKind::NotGranted, "not-granted: http")))));
    define("read-text", |_, _| Some(result(Err(Error::of(ErrorKind::NotGranted, "not-granted: fs")))));
}

/// The component, built again whenever its sources have changed.
fn built(plugin: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let test = std::env::current_exe().expect("a program knows its path");
    let target = test.ancestors().nth(3).expect("target/debug/deps/test");
    let out = target.join(format!("test-components/{plugin}.wasm"));
    let mut build = Command::new("bash");
    build.arg(root.join("tests/setup/component.sh")).arg(plugin).arg(&out).env("CARGO_TARGET_DIR", target);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG") || name == "RUSTFLAGS") {
        build.env_remove(name);
    }
    let status = build.status().expect("bash");
    assert!(status.success(), "component.sh {plugin}: {status}");
    std::fs::read(out).expect("the component")
}

#[test]
fn storage_vfs_keeps_the_storage_contract_as_a_component() {
    let bytes = built("storage-vfs");
    assert_eq!(bytes[..8], [0, b'a', b's', b'm', 0x0d, 0, 1, 0], "a component and not a core module");
    let engine = Engine::default();
    let component = Component::new(&engine, &bytes).expect("a component");
    let imports: Vec<String> = component.component_type().imports(&engine).map(|(name, _)| name.to_owned()).collect();
    assert!(imports.iter().all(|name| name.starts_with("sheave:plugin/")), "no ambient authority: {imports:?}");
    let unknown = WasmDriver::new(&engine, &component, FakeHost::new(), "{\"no-such-key\":1}").err();
    assert_eq!(unknown.map(|error| error.kind), Some(ErrorKind::Invalid));
    sheave_conformance::storage::all(&mut |host| {
        let driver = WasmDriver::new(&engine, &component, host, "");
        Box::new(driver.expect("a driver without configuration"))
    });
}
