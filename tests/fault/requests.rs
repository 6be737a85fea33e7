//! Requests that are wrong, and configuration that is.

use std::fs;

use serde_json::json;
use sheave_tests::{Engine, Sandbox};

#[test]
fn wrong_requests_are_answered_as_docker_answers_them() {
    let sandbox = Sandbox::new("requests");
    let engine = Engine::start(&sandbox);
    let http = engine.http();
    let json_type = ("Content-Type", "application/json");
    let create = |body: &[u8], headers: &[(&str, &str)]| http.send("POST", "/v1.41/containers/create", headers, body);
    for body in [&b"{"[..], b"nonsense", b"[]", b"{\"Image\": 3}", b"{\"Image\": \"x\"} trailing"] {
        let answer = create(body, &[json_type]);
        // dockerd 20.10 answers 500 for some of these, and reads over what comes after the document.
        assert!(
            answer.status == 400 || engine.is_oracle(),
            "{}: {} {}",
            String::from_utf8_lossy(body),
            answer.status,
            answer.text()
        );
        assert!(!answer.error(answer.status).is_empty());
    }
    let kind = create(b"{\"Image\": \"x\"}", &[("Content-Type", "text/plain")]);
    assert!(kind.error(400).contains("Content-Type"), "{}", kind.text());
    let empty = create(b"", &[json_type]);
    assert!(empty.status == 400 || engine.is_oracle(), "{empty:?}");
    let missing = http.post("/v1.41/containers/create", &json!({"Image": "no/such:tag"})).error(404);
    assert_eq!(missing, "No such image: no/such:tag");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(create(deep.as_bytes(), &[json_type]).status >= 400);

    for (method, path, text) in [
        ("GET", "/v1.41/containers/none/json", "No such container: none"),
        ("POST", "/v1.41/containers/none/start", "No such container: none"),
        ("DELETE", "/v1.41/containers/none", "No such container: none"),
        ("GET", "/v1.41/images/none/json", "No such image: none"),
        ("GET", "/v1.41/networks/missing", "network missing not found"),
        ("GET", "/v1.41/volumes/missing", "get missing: no such volume"),
        ("GET", "/v1.41/exec/none/json", "No such exec instance"),
    ] {
        let message = http.call(method, path).error(404);
        assert!(message.contains(text), "{method} {path}: {message}");
    }
    for path in ["/v1.41/swarm", "/v1.41/services", "/v1.41/nodes", "/v1.41/tasks", "/v1.41/secrets", "/v1.41/configs"]
    {
        let message = http.get(path).error(503);
        assert!(message.contains("This node is not a swarm manager."), "{path}: {message}");
    }
    assert_eq!(http.get("/v1.41/plugins").expect(200), json!([]));
    assert_eq!(http.get("/_ping").text(), "OK");
}

#[test]
fn operations_that_are_not_there_yet_are_501_by_name() {
    let sandbox = Sandbox::new("missing");
    let engine = Engine::start(&sandbox);
    if engine.is_oracle() {
        // dockerd has them.
        return;
    }
    for (method, path) in [
        ("POST", "/v1.41/build"),
        ("POST", "/v1.41/commit?container=x"),
        ("GET", "/v1.41/images/get?names=x"),
        ("POST", "/v1.41/images/load"),
        ("POST", "/v1.41/images/x/push"),
        ("GET", "/v1.41/images/search?term=x"),
        ("GET", "/v1.41/containers/x/archive?path=/"),
        ("GET", "/v1.41/containers/x/export"),
        ("POST", "/v1.41/plugins/pull?remote=x"),
        ("POST", "/grpc"),
        ("POST", "/session"),
    ] {
        let message = engine.http().call(method, path).error(501);
        assert!(message.len() > 10, "{method} {path}: {message}");
    }
}

#[test]
fn flags_and_configuration_are_read_strictly() {
    let sandbox = Sandbox::new("config");
    let write = |name: &str, text: &str| {
        let path = sandbox.path().join(name);
        fs::write(&path, text).expect("a file");
        format!("--config-file={}", path.display())
    };
    let unknown_flag = |flags: &[&str]| {
        let output = Engine::prepare(&sandbox, "strict", flags).run_to_end();
        assert_ne!(output.code, 0, "{output}");
        format!("{}{}", output.stdout, output.stderr)
    };
    let log = unknown_flag(&["--no-such-flag"]);
    assert!(log.contains("no-such-flag"), "{log}");
    if Engine::prepare(&sandbox, "which", &[]).is_oracle() {
        let log = unknown_flag(&[&write("bad.json", "{\"data-rot\": \"/x\"}")]);
        assert!(log.contains("data-rot"), "{log}");
        return;
    }
    let log = unknown_flag(&[&write("bad.toml", "data-rot = \"/x\"\n")]);
    assert!(log.contains("data-rot") && log.contains("data-root"), "the nearest known key: {log}");
    let log = unknown_flag(&[&write("broken.toml", "= nonsense")]);
    assert!(log.contains("broken.toml"), "{log}");
    let log = unknown_flag(&["--config-file=/no/such/file.toml"]);
    assert!(log.contains("/no/such/file.toml"), "{log}");
    let log = unknown_flag(&["--bip=nonsense"]);
    assert!(log.contains("nonsense"), "{log}");
}
