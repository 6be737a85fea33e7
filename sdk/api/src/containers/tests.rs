//! What Docker and its clients really send, read and written again.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

/// Differences between two values, as `path: left -> right`.
fn differences(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for key in keys {
                match (left.get(key), right.get(key)) {
                    (Some(l), Some(r)) => differences(&format!("{path}.{key}"), l, r, found),
                    (Some(l), None) => found.push(format!("{path}.{key}: {l} ->")),
                    (None, r) => found.push(format!("{path}.{key}: -> {}", r.unwrap_or(&Value::Null))),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (l, r)) in left.iter().zip(right).enumerate() {
                differences(&format!("{path}[{index}]"), l, r, found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{path}: {left} -> {right}")),
    }
}

/// Reads `text` as a `T` and writes it again; the only differences must be `expected`.
fn check<T: DeserializeOwned + Serialize>(text: &str, expected: &[&str]) -> T {
    let before: Value = serde_json::from_str(text).unwrap();
    let read: T = serde_json::from_str(text).unwrap();
    let mut found = Vec::new();
    differences("", &before, &serde_json::to_value(&read).unwrap(), &mut found);
    assert_eq!(found, expected);
    read
}

#[test]
fn what_the_cli_sends_is_read_whole() {
    let request: ContainerCreateRequest = check(include_str!("testdata/create-cli-28.json"), &[]);
    assert_eq!(request.config.cmd.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(request.host_config.resources.memory, 64 << 20);
    assert_eq!(request.host_config.mounts[0].tmpfs_options.as_ref().unwrap().mode, 0o1770);
}

#[test]
fn an_inspect_has_every_field_of_docker() {
    // Left of the arrow what 20.10 (API 1.41) has more, right of it what 1.51 has more.
    let inspect: ContainerInspectResponse = check(
        include_str!("testdata/inspect-20.10.json"),
        &[
            ".HostConfig.KernelMemory: 0 ->",
            ".HostConfig.KernelMemoryTCP: 0 ->",
            ".NetworkSettings.Networks.bridge.DNSNames: -> null",
            ".NetworkSettings.Networks.bridge.GwPriority: -> 0",
        ],
    );
    let mut settings = NetworkSettings { networks: inspect.network_settings.networks.clone(), ..Default::default() };
    settings.repeat_default_bridge();
    assert_eq!(settings.ip_address, inspect.network_settings.ip_address);
    assert_eq!(settings.mac_address, inspect.network_settings.mac_address);
}

#[test]
fn a_list_has_every_field_of_docker() {
    check::<Vec<ContainerSummary>>(
        include_str!("testdata/list-20.10.json"),
        &[
            "[0].NetworkSettings.Networks.bridge.DNSNames: -> null",
            "[0].NetworkSettings.Networks.bridge.GwPriority: -> 0",
        ],
    );
}

#[test]
fn stats_have_every_field_of_docker() {
    check::<ContainerStats>(include_str!("testdata/stats-20.10.json"), &[]);
}

#[test]
fn small_answers_are_those_of_docker() {
    check::<ContainerUpdateResponse>(r#"{"Warnings":null}"#, &[]);
    check::<ContainerPruneResponse>(r#"{"ContainersDeleted":null,"SpaceReclaimed":0}"#, &[]);
    check::<ContainerTopResponse>(r#"{"Processes":[["root","1"]],"Titles":["UID","PID"]}"#, &[]);
    check::<ContainerWaitResponse>(r#"{"StatusCode":3}"#, &[]);
    check::<ContainerWaitResponse>(r#"{"StatusCode":3,"Error":{"Message":"x"}}"#, &[]);
    check::<ExecInspectResponse>(
        r#"{"ID":"8","Running":true,"ExitCode":null,"ProcessConfig":{"tty":false,"entrypoint":"sleep",
        "arguments":["500"],"privileged":false},"OpenStdin":false,"OpenStderr":false,"OpenStdout":false,
        "CanRemove":false,"ContainerID":"0","DetachKeys":"","Pid":4179}"#,
        &[],
    );
    check::<PathStat>(r#"{"name":"f","size":1,"mode":420,"mtime":"2026-01-01T00:00:00Z","linkTarget":""}"#, &[]);
}

/// Every field of `value`, at any depth, may be `null` in a request.
fn with_nulls(value: &Value, at: &mut usize) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, inner)| {
                    let inner = if *at == 0 { Value::Null } else { inner.clone() };
                    *at = at.wrapping_sub(1);
                    (key.clone(), with_nulls(&inner, at))
                })
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(|inner| with_nulls(inner, at)).collect()),
        other => other.clone(),
    }
}

#[test]
fn null_is_not_given() {
    let whole: Value = serde_json::from_str(include_str!("testdata/create-cli-28.json")).unwrap();
    for field in 0..150 {
        let mut at = field;
        let body = with_nulls(&whole, &mut at);
        // Values of maps of strings are the exception: Go reads null as the empty string there, and so does no client.
        if body.pointer("/HostConfig/Tmpfs/~1x") == Some(&Value::Null)
            || body.pointer("/HostConfig/Sysctls/net.core.somaxconn") == Some(&Value::Null)
        {
            continue;
        }
        if let Err(error) = serde_json::from_value::<ContainerCreateRequest>(body) {
            panic!("field {field}: {error}");
        }
    }
    let empty: ContainerCreateRequest = serde_json::from_value(json!({})).unwrap();
    assert_eq!(empty, ContainerCreateRequest::default());
    let nulls = json!({"HostConfig": null, "NetworkingConfig": null, "Env": null});
    assert_eq!(serde_json::from_value::<ContainerCreateRequest>(nulls).unwrap(), empty);
}

#[test]
fn arguments_are_a_string_or_a_list() {
    let read = |value: Value| serde_json::from_value::<ContainerConfig>(value).map(|c| c.entrypoint);
    assert_eq!(read(json!({"Entrypoint": "sh"})).unwrap(), Some(vec!["sh".to_owned()]));
    assert_eq!(read(json!({"Entrypoint": ["sh", "-c"]})).unwrap(), Some(vec!["sh".to_owned(), "-c".to_owned()]));
    assert_eq!(read(json!({"Entrypoint": []})).unwrap(), Some(vec![]));
    assert_eq!(read(json!({"Entrypoint": null})).unwrap(), None);
    let error = read(json!({"Entrypoint": 3})).unwrap_err().to_string();
    assert!(error.contains("expected a string or a list of strings"), "{error}");
}

#[test]
fn a_published_port_may_be_null() {
    let read: HostConfig = serde_json::from_value(json!({"PortBindings": {"80/tcp": null}})).unwrap();
    assert_eq!(read.port_bindings["80/tcp"], None);
    let volumes: ContainerConfig = serde_json::from_value(json!({"Volumes": {"/a": {}, "/b": null}})).unwrap();
    assert_eq!(volumes.volumes.unwrap().len(), 2);
}

#[test]
fn an_images_configuration_is_one_of_containers() {
    let json = json!({"User": "1", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=1"], "Entrypoint": ["e"], "Cmd": ["c"],
        "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": {"a": "b"}, "StopSignal": "SIGINT", "ArgsEscaped": true,
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "Timeout": 6, "StartPeriod": 7, "StartInterval": 8,
        "Retries": 9}, "OnBuild": ["RUN x"], "Shell": ["sh"]});
    let image: crate::images::ImageConfig = serde_json::from_value(json.clone()).unwrap();
    let read: ContainerConfig = serde_json::from_value(json).unwrap();
    assert_eq!(ContainerConfig::from(&image), read);
}
