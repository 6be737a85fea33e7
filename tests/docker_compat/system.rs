//! Versions, paths, filters, events: what is there before any image.

use serde_json::{Value, json};
use sheave_tests::{Engine, Sandbox};

#[test]
fn a1_ping_versions_and_unknown_paths() {
    let sandbox = Sandbox::new("a1");
    let engine = Engine::start(&sandbox);
    let http = engine.http();
    for path in ["/_ping", "/v1.41/_ping", "/v1.24/_ping"] {
        for method in ["GET", "HEAD"] {
            let answer = http.call(method, path);
            assert_eq!(answer.status, 200, "{method} {path}");
            assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{answer:?}");
            assert_eq!(answer.text(), if method == "GET" { "OK" } else { "" });
            let version = answer.header("api-version").expect("Api-Version");
            assert!(engine.is_oracle() || version == "1.51", "{version}");
            assert_eq!(answer.header("ostype"), Some("linux"));
            assert!(answer.header("docker-experimental").is_some());
            assert!(answer.header("cache-control").is_some_and(|value| value.contains("no-cache")));
            assert!(answer.header("server").is_some());
        }
    }
    // A client that old is answered in plain text.
    let old = http.get(if engine.is_oracle() { "/v1.11/version" } else { "/v1.23/version" });
    assert!(old.status == 400 && old.text().contains("is too old"), "{old:?}");
    let new = http.get("/v9.9/version").error(400);
    assert!(new.contains("is too new"), "{new}");
    for (method, path) in [
        ("GET", "/nowhere"),
        ("GET", "/v1.41/nowhere"),
        ("GET", "/"),
        ("DELETE", "/version"),
        ("POST", "/containers/json"),
        ("PATCH", "/images/json"),
        ("GET", "/v1.41/containers/x/no-such-verb"),
    ] {
        assert_eq!(http.call(method, path).error(404), "page not found", "{method} {path}");
    }
}

#[test]
fn a2_version_info_df_events() {
    let sandbox = Sandbox::new("a2");
    let engine = Engine::start(&sandbox);
    let version = engine.docker(&["version", "--format", "{{json .}}"]).ok();
    let version: Value = serde_json::from_str(&version).expect("JSON");
    assert_eq!(version["Server"]["Os"], "linux");
    assert!(version["Server"]["Components"].as_array().is_some_and(|all| !all.is_empty()), "{version}");
    assert!(engine.d("version").ok().contains("Server"));

    let info = engine.docker(&["info", "--format", "{{json .}}"]).ok();
    let info: Value = serde_json::from_str(&info).expect("JSON");
    for key in [
        "ID",
        "Name",
        "KernelVersion",
        "OperatingSystem",
        "Architecture",
        "Driver",
        "DockerRootDir",
        "CgroupDriver",
        "ServerVersion",
    ] {
        assert!(info[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {info}");
    }
    for key in ["NCPU", "MemTotal"] {
        assert!(info[key].as_u64().is_some_and(|number| number > 0), "{key}");
    }
    assert_eq!(info["Containers"], 0);
    assert_eq!(info["OSType"], "linux");
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert!(engine.d("info").ok().contains("Containers: 0"));

    let df = engine.d("system df").ok();
    assert!(df.contains("Images") && df.contains("Local Volumes"), "{df}");
    engine.d("system df -v").ok();
    let df = engine.http().get("/v1.41/system/df").expect(200);
    assert_eq!(df["LayersSize"], 0, "{df}");
    for key in ["Images", "Containers", "Volumes"] {
        assert!(
            df[key].as_array().is_some_and(Vec::is_empty) || (engine.is_oracle() && df[key].is_null()),
            "{key} in {df}"
        );
    }

    engine.d("events --since 1h --until 0s").ok();
    engine.d("events --since 1h --until 0s --filter type=container --filter event=start").ok();
}

#[test]
fn a3_filters_and_booleans() {
    let sandbox = Sandbox::new("a3");
    let engine = Engine::start(&sandbox);
    let http = engine.http();
    let encode = |value: &Value| sheave_tests::http::encode(&value.to_string());
    for path in ["/v1.41/containers/json", "/v1.41/images/json", "/v1.41/networks", "/v1.41/volumes"] {
        for filters in [json!({"label": {"a=b": true}}), json!({"label": ["a=b"]}), json!({}), json!({"label": {}})] {
            http.get(&format!("{path}?filters={}", encode(&filters))).expect(200);
        }
        http.get(&format!("{path}?filters=")).expect(200);
        let unknown = http.get(&format!("{path}?filters={}", encode(&json!({"sheave": ["x"]})))).error(400);
        assert!(unknown.to_lowercase().contains("invalid filter") && unknown.contains("sheave"), "{path}: {unknown}");
        // dockerd 20.10 answers 500, later ones 400.
        let broken = http.get(&format!("{path}?filters=%7Bnonsense"));
        assert!(!broken.error(if engine.is_oracle() { broken.status } else { 400 }).is_empty());
    }
    for value in ["False", "false", "0", "no", "none", "", "True", "1", "yes"] {
        http.get(&format!("/v1.41/containers/json?all={value}&limit=-1&size=False&trunc_cmd=0")).expect(200);
    }
    assert_eq!(http.get("/v1.41/containers/json").expect(200), json!([]));
    assert_eq!(http.get("/v1.41/images/json").expect(200), json!([]));
    let volumes = http.get("/v1.41/volumes").expect(200);
    assert!(volumes["Volumes"] == json!([]) || (engine.is_oracle() && volumes["Volumes"].is_null()), "{volumes}");
}
