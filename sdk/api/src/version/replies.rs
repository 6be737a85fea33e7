//! Replies of the newest version, rewritten for older clients.

use serde_json::{Map, Value, json};
use sheave_types::Action;

use super::Version;

pub(super) fn downgrade(action: Action, version: Version, reply: &mut Value) {
    match action {
        Action::ImageList => images(version, reply),
        Action::SystemDf => {
            if let Some(list) = reply.get_mut("Images") {
                images(version, list);
            }
        }
        Action::ContainerList => each(reply, |container| {
            container.remove("ImageManifestDescriptor");
        }),
        Action::SystemInfo => with(reply, |reply| info(version, reply)),
        Action::ImageInspect => {
            crate::images::downgrade::downgrade(action, version, reply);
            with(reply, |image| without_manifests(version, image));
        }
        Action::ContainerInspect => with(reply, |reply| container_inspect(version, reply)),
        _ => {}
    }
}

type Object = Map<String, Value>;

fn with(value: &mut Value, f: impl FnOnce(&mut Object)) {
    if let Some(object) = value.as_object_mut() {
        f(object);
    }
}

fn each(list: &mut Value, f: impl FnMut(&mut Object)) {
    list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).for_each(f);
}

fn images(version: Version, list: &mut Value) {
    crate::images::downgrade::downgrade(Action::ImageList, version, list);
    each(list, |image| without_manifests(version, image));
}

fn without_manifests(version: Version, image: &mut Object) {
    if version < Version(1, 48) {
        image.remove("Descriptor");
        image.remove("Manifests");
    }
}

/// Before 1.45 the short id and the host name counted as aliases, on networks that are not predefined.
fn container_inspect(version: Version, container: &mut Object) {
    container.remove("ImageManifestDescriptor");
    if version >= Version(1, 45) {
        return;
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let short: String = text(container.get("Id")).chars().take(12).collect();
    let hostname = text(container.get("Config").and_then(|c| c.get("Hostname")));
    let networks = container.get_mut("NetworkSettings").and_then(|n| n.get_mut("Networks"));
    let networks = networks.and_then(Value::as_object_mut).into_iter().flatten();
    for (_, endpoint) in networks.filter(|(name, _)| !matches!(name.as_str(), "bridge" | "host" | "none" | "default")) {
        with(endpoint, |endpoint| {
            let mut aliases = endpoint.get("Aliases").and_then(Value::as_array).cloned().unwrap_or_default();
            for name in [&short, &hostname] {
                if !name.is_empty() && !aliases.iter().any(|a| a == name) {
                    aliases.push(json!(name));
                }
            }
            endpoint.insert("Aliases".to_owned(), Value::from(aliases));
        });
    }
}

fn info(version: Version, info: &mut Object) {
    info.remove("DiscoveredDevices");
    info.insert("BridgeNfIptables".to_owned(), json!(false));
    info.insert("BridgeNfIp6tables".to_owned(), json!(false));
    if version < Version(1, 49) {
        info.remove("FirewallBackend");
        for key in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(commit) = info.get_mut(key).and_then(Value::as_object_mut) {
                let id = commit.get("ID").cloned().unwrap_or_default();
                commit.insert("Expected".to_owned(), id);
            }
        }
    }
    if version < Version(1, 46) {
        info.remove("Containerd");
    }
}

#[cfg(test)]
mod tests {
    use super::super::downgrade;
    use super::*;

    #[test]
    fn table() {
        let images = json!([{"Size": 5, "Containers": 2, "RepoTags": [], "RepoDigests": [], "Descriptor": {}}]);
        let usage = json!({"Images": images});
        let inspect = json!({"Id": "0123456789abcdef", "Config": {"Hostname": "h"}, "ImageManifestDescriptor": {},
            "NetworkSettings": {"Networks": {"net": {"Aliases": null}, "bridge": {"Aliases": null}}}});
        let info = json!({"FirewallBackend": {}, "RuncCommit": {"ID": "x"}});
        let minor = |n| Version(1, n);
        for (action, version, reply, pointer, expected) in [
            (Action::ImageList, minor(51), &images, "/0/Containers", json!(2)),
            (Action::ImageList, minor(50), &images, "/0/Containers", json!(-1)),
            (Action::ImageList, minor(50), &images, "/0/Descriptor", json!({})),
            (Action::ImageList, minor(47), &images, "/0/Descriptor", Value::Null),
            (Action::SystemDf, minor(50), &usage, "/Images/0/Containers", json!(-1)),
            (Action::ContainerInspect, minor(48), &inspect, "/ImageManifestDescriptor", json!({})),
            (Action::ContainerInspect, minor(45), &inspect, "/NetworkSettings/Networks/net/Aliases", Value::Null),
            (
                Action::ContainerInspect,
                minor(44),
                &inspect,
                "/NetworkSettings/Networks/net/Aliases",
                json!(["0123456789ab", "h"]),
            ),
            (Action::ContainerInspect, minor(44), &inspect, "/NetworkSettings/Networks/bridge/Aliases", Value::Null),
            (Action::SystemInfo, minor(50), &info, "/BridgeNfIptables", Value::Null),
            (Action::SystemInfo, minor(49), &info, "/BridgeNfIptables", json!(false)),
            (Action::SystemInfo, minor(49), &info, "/FirewallBackend", json!({})),
            (Action::SystemInfo, minor(48), &info, "/FirewallBackend", Value::Null),
            (Action::SystemInfo, minor(48), &info, "/RuncCommit/Expected", json!("x")),
        ] {
            let mut reply = reply.clone();
            downgrade(action, version, &mut reply);
            assert_eq!(reply.pointer(pointer).cloned().unwrap_or_default(), expected, "{action} {version} {pointer}");
        }
    }
}
