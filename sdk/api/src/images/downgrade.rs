//! How replies about images differed in older versions of the API.

use serde_json::{Map, Value, json};
use sheave_types::Action;

use crate::version::Version;

/// Whether [`downgrade`] changes such a reply.
pub(crate) fn downgrades(action: Action, version: Version) -> bool {
    matches!(action, Action::ImageList | Action::ImageInspect) && version < Version(1, 51)
}

/// Rewrites a reply.
pub(crate) fn downgrade(action: Action, version: Version, reply: &mut Value) {
    match (action, reply) {
        (Action::ImageList, Value::Array(images)) => {
            images.iter_mut().filter_map(Value::as_object_mut).for_each(|image| summary(version, image));
        }
        (Action::ImageInspect, Value::Object(image)) if image.contains_key("Id") => inspect(version, image),
        _ => {}
    }
}

fn virtual_size(version: Version, image: &mut Map<String, Value>) {
    if version < Version(1, 44)
        && let Some(size) = image.get("Size").cloned()
    {
        image.insert("VirtualSize".to_owned(), size);
    }
}

fn summary(version: Version, image: &mut Map<String, Value>) {
    image.insert("Containers".to_owned(), json!(-1));
    virtual_size(version, image);
    if version < Version(1, 43) {
        for (key, placeholder) in [("RepoTags", "<none>:<none>"), ("RepoDigests", "<none>@<none>")] {
            if image.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty) {
                image.insert(key.to_owned(), json!([placeholder]));
            }
        }
    }
}

/// The fields of a container's configuration that images had, too.
fn legacy_config() -> Map<String, Value> {
    let fields = json!({
        "AttachStderr": false, "AttachStdin": false, "AttachStdout": false, "Domainname": "", "Hostname": "", "Image": "",
        "OpenStdin": false, "StdinOnce": false, "Tty": false,
    });
    if let Value::Object(fields) = fields { fields } else { Map::new() }
}

fn inspect(version: Version, image: &mut Map<String, Value>) {
    virtual_size(version, image);
    if version < Version(1, 50)
        && let Some(config) = image.get_mut("Config").and_then(Value::as_object_mut)
    {
        for (key, value) in legacy_config() {
            config.entry(key).or_insert(value);
        }
    }
    if version < Version(1, 45) {
        image.insert("Container".to_owned(), json!(""));
        let mut config = legacy_config();
        for key in ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "Volumes"] {
            config.insert(key.to_owned(), Value::Null);
        }
        for key in ["User", "WorkingDir"] {
            config.insert(key.to_owned(), json!(""));
        }
        image.insert("ContainerConfig".to_owned(), config.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_clients_get_older_forms() {
        let list = json!([{ "Id": "i", "RepoTags": [], "RepoDigests": ["a@d"], "Size": 3, "Containers": 2 }]);
        for (version, expected) in [
            (
                Version(1, 50),
                json!([{ "Id": "i", "RepoTags": [], "RepoDigests": ["a@d"], "Size": 3, "Containers": -1 }]),
            ),
            (
                Version(1, 42),
                json!([{ "Id": "i", "RepoTags": ["<none>:<none>"], "RepoDigests": ["a@d"], "Size": 3, "VirtualSize": 3,
                    "Containers": -1 }]),
            ),
        ] {
            let mut reply = list.clone();
            downgrade(Action::ImageList, version, &mut reply);
            assert_eq!(reply, expected, "{version}");
        }
        assert!(!downgrades(Action::ImageList, Version::MAX));
        let mut reply = json!({ "Id": "i", "Size": 3, "Config": { "Image": "kept", "Cmd": ["x"] } });
        downgrade(Action::ImageInspect, Version(1, 40), &mut reply);
        assert_eq!(
            (&reply["VirtualSize"], &reply["Config"]["Image"], &reply["Config"]["Tty"]),
            (&json!(3), &json!("kept"), &json!(false))
        );
        assert_eq!(reply["ContainerConfig"]["Cmd"], Value::Null);
        let mut error = json!({ "message": "No such image: x" });
        downgrade(Action::ImageInspect, Version(1, 40), &mut error);
        assert_eq!(error, json!({ "message": "No such image: x" }));
    }
}
