//! Requests of older versions, rewritten to the newest.

use serde_json::{Map, Value, json};
use sheave_types::{Action, Error, Result};

use super::{Params, Version};
use crate::Filters;

pub(super) fn upgrade(action: Action, version: Version, query: &mut Params, body: &mut Value) -> Result<()> {
    for (of, since, parameter) in PARAMETERS {
        if *of == action && version < *since {
            query.remove(*parameter);
        }
    }
    match action {
        Action::ContainerCreate => create(version, body)?,
        Action::ExecCreate | Action::ExecStart if version < Version(1, 42) => remove(body, "ConsoleSize"),
        Action::VolumePrune if version < Version(1, 42) => prune_named_volumes(query)?,
        Action::NetworkConnect if version < Version(1, 48) => {
            if let Some(endpoint) = body.get_mut("EndpointConfig") {
                remove(endpoint, "GwPriority");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Parameters that versions before the given one ignore.
const PARAMETERS: &[(Action, Version, &str)] = &[
    (Action::ContainerWait, Version(1, 30), "condition"),
    (Action::ContainerCreate, Version(1, 41), "platform"),
    (Action::ContainerStats, Version(1, 41), "one-shot"),
    (Action::ContainerStop, Version(1, 42), "signal"),
    (Action::ContainerRestart, Version(1, 42), "signal"),
    (Action::SystemDf, Version(1, 42), "type"),
    (Action::ImagePush, Version(1, 46), "platform"),
    (Action::ImageList, Version(1, 47), "manifests"),
    (Action::ImageInspect, Version(1, 48), "manifests"),
    (Action::ImageHistory, Version(1, 48), "platform"),
    (Action::ImageSave, Version(1, 48), "platform"),
    (Action::ImageLoad, Version(1, 48), "platform"),
    (Action::ImageInspect, Version(1, 49), "platform"),
];

/// Before 1.42 a prune took named volumes, too.
fn prune_named_volumes(query: &mut Params) -> Result<()> {
    let text = query.get("filters").and_then(|values| values.first()).map_or("", String::as_str);
    let mut filters = Filters::parse(text)?;
    filters.0.entry("all".to_owned()).or_insert_with(|| vec!["true".to_owned()]);
    query.insert("filters".to_owned(), vec![json!(filters).to_string()]);
    Ok(())
}

fn remove(value: &mut Value, key: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(key);
    }
}

/// The object at a key, made where it is missing or null.
fn object<'a>(parent: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let value = parent.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

fn is_empty(value: Option<&Value>) -> bool {
    value.is_none_or(|v| v.is_null() || v == "")
}

/// A body that is not an object is left to the decoder, which refuses it.
fn create(version: Version, body: &mut Value) -> Result<()> {
    let Some(body) = body.as_object_mut() else { return Ok(()) };
    if version < Version(1, 44) {
        one_network(body)?;
        if let Some(check) = body.get_mut("Healthcheck") {
            remove(check, "StartInterval");
        }
        mac_address(body)?;
    }
    if version < Version(1, 48)
        && let Some(endpoints) = body.get_mut("NetworkingConfig").and_then(|n| n.get_mut("EndpointsConfig"))
    {
        endpoints.as_object_mut().into_iter().flatten().for_each(|(_, endpoint)| remove(endpoint, "GwPriority"));
    }
    let Some(host) = object(body, "HostConfig") else { return Ok(()) };
    if version < Version(1, 40) && is_empty(host.get("IpcMode")) {
        host.insert("IpcMode".to_owned(), json!("shareable"));
    }
    if version < Version(1, 42) {
        host.remove("ConsoleSize");
    }
    if version < Version(1, 43) {
        host.remove("Annotations");
    }
    let mounts = host.get_mut("Mounts").and_then(Value::as_array_mut);
    mounts.into_iter().flatten().filter_map(Value::as_object_mut).try_for_each(|mount| upgrade_mount(version, mount))
}

fn upgrade_mount(version: Version, mount: &mut Map<String, Value>) -> Result<()> {
    let kind = mount.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let read_only = mount.get("ReadOnly") == Some(&Value::Bool(true));
    if kind == "bind"
        && version < Version(1, 44)
        && let Some(bind) = object(mount, "BindOptions")
    {
        if version < Version(1, 40) {
            bind.remove("NonRecursive");
        }
        if version < Version(1, 42) {
            bind.remove("CreateMountpoint");
        }
        bind.remove("ReadOnlyForceRecursive");
        bind.insert("ReadOnlyNonRecursive".to_owned(), Value::Bool(read_only));
    }
    let subpath = mount.get("VolumeOptions").and_then(|v| v.get("Subpath"));
    if version < Version(1, 45) && !is_empty(subpath) {
        return Err(Error::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
    }
    if version < Version(1, 48) && kind == "image" {
        return Err(Error::invalid("Mount type \"Image\" needs API v1.48 or newer"));
    }
    Ok(())
}

fn one_network(body: &Map<String, Value>) -> Result<()> {
    let endpoints = body.get("NetworkingConfig").and_then(|n| n.get("EndpointsConfig")).and_then(Value::as_object);
    match endpoints {
        Some(endpoints) if endpoints.len() > 1 => {
            let names = endpoints.keys().cloned().collect::<Vec<_>>().join(", ");
            Err(Error::invalid(format!("Container cannot be connected to network endpoints: {names}")))
        }
        _ => Ok(()),
    }
}

/// The container's own address becomes that of its only endpoint; an endpoint's own was not there yet.
fn mac_address(body: &mut Map<String, Value>) -> Result<()> {
    let address = body.remove("MacAddress").unwrap_or_default();
    let mode = body.get("HostConfig").and_then(|h| h.get("NetworkMode")).and_then(Value::as_str).unwrap_or_default();
    let mode = if mode.is_empty() { "default" } else { mode }.to_owned();
    if is_empty(Some(&address)) {
        let endpoints = body.get_mut("NetworkingConfig").and_then(|n| n.get_mut("EndpointsConfig"));
        endpoints.and_then(Value::as_object_mut).into_iter().flatten().for_each(|(_, e)| remove(e, "MacAddress"));
        return Ok(());
    }
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return Err(Error::invalid("conflicting options: mac-address and the network mode"));
    }
    let endpoints = object(body, "NetworkingConfig").and_then(|n| object(n, "EndpointsConfig"));
    let Some(endpoints) = endpoints else { return Ok(()) };
    let name = endpoints.keys().next().cloned().unwrap_or(mode);
    if let Some(endpoint) = object(endpoints, &name) {
        endpoint.insert("MacAddress".to_owned(), address);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn created(version: Version, body: &Value) -> Result<Value, String> {
        let mut body = body.clone();
        upgrade(Action::ContainerCreate, version, &mut Params::new(), &mut body).map_err(|e| e.to_string())?;
        Ok(body)
    }

    #[test]
    fn creates() {
        let bind = json!({"HostConfig": {"Mounts": [{"Type": "bind", "ReadOnly": true}], "Annotations": {"a": "b"}}});
        let two = json!({"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}});
        let mac = json!({"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "net"}});
        let host = json!({"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "host"}});
        let image = json!({"HostConfig": {"Mounts": [{"Type": "image"}]}});
        let subpath = json!({"HostConfig": {"Mounts": [{"Type": "volume", "VolumeOptions": {"Subpath": "x"}}]}});
        let own = json!({"HostConfig": null, "NetworkingConfig": {"EndpointsConfig": {"a": {"MacAddress": "x", "GwPriority": 1}}}});
        let minor = |n| Version(1, n);
        for (version, body, pointer, expected) in [
            (minor(39), &bind, "/HostConfig/IpcMode", json!("shareable")),
            (minor(40), &bind, "/HostConfig/IpcMode", Value::Null),
            (minor(42), &bind, "/HostConfig/Annotations", Value::Null),
            (minor(43), &bind, "/HostConfig/Annotations", json!({"a": "b"})),
            (minor(43), &bind, "/HostConfig/Mounts/0/BindOptions/ReadOnlyNonRecursive", json!(true)),
            (minor(44), &bind, "/HostConfig/Mounts/0/BindOptions", Value::Null),
            (minor(43), &mac, "/NetworkingConfig/EndpointsConfig/net/MacAddress", json!("02:00:00:00:00:01")),
            (minor(44), &mac, "/MacAddress", json!("02:00:00:00:00:01")),
            (minor(43), &own, "/NetworkingConfig/EndpointsConfig/a", json!({})),
            (minor(47), &own, "/NetworkingConfig/EndpointsConfig/a", json!({"MacAddress": "x"})),
            (minor(48), &own, "/NetworkingConfig/EndpointsConfig/a/GwPriority", json!(1)),
            (minor(44), &two, "/NetworkingConfig/EndpointsConfig/b", json!({})),
        ] {
            let created = created(version, body).unwrap();
            assert_eq!(created.pointer(pointer).cloned().unwrap_or_default(), expected, "{version} {pointer}");
        }
        for (version, body, part) in [
            (minor(43), &two, "network endpoints: a, b"),
            (minor(43), &host, "mac-address and the network mode"),
            (minor(47), &image, "API v1.48"),
            (minor(44), &subpath, "API v1.45"),
        ] {
            let error = created(version, body).unwrap_err();
            assert!(error.contains(part), "{version}: {error}");
        }
    }

    #[test]
    fn parameters() {
        let query =
            |text: &[(&str, &str)]| text.iter().map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()])).collect();
        let mut stop: Params = query(&[("signal", "KILL"), ("t", "1")]);
        upgrade(Action::ContainerStop, Version(1, 42), &mut stop, &mut Value::Null).unwrap();
        assert_eq!(stop.len(), 2);
        upgrade(Action::ContainerStop, Version(1, 41), &mut stop, &mut Value::Null).unwrap();
        assert_eq!(stop, query(&[("t", "1")]));
        let mut prune = Params::new();
        upgrade(Action::VolumePrune, Version(1, 41), &mut prune, &mut Value::Null).unwrap();
        assert_eq!(prune, query(&[("filters", r#"{"all":["true"]}"#)]));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let keys = prop::sample::select(vec![
            "HostConfig",
            "Mounts",
            "NetworkingConfig",
            "EndpointsConfig",
            "MacAddress",
            "Type",
        ]);
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), "bind|image|x".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(keys.clone().prop_map(str::to_owned), inner, 0..4).prop_map(|m| json!(m)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_body_is_survived(body in any_json(), minor in 24u16..51) {
            let _ = created(Version(1, minor), &body);
        }
    }
}
