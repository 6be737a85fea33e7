//! The plugins that are linked into this engine: one line each. The only place that names a plugin.

use sheave_plugin::Linked;

use crate::config::Config;

/// The linked plugins.
pub fn linked() -> Vec<Linked> {
    vec![
        #[cfg(feature = "storage-overlay")]
        sheave_storage_overlay::linked(),
        #[cfg(feature = "storage-vfs")]
        sheave_storage_vfs::linked(),
        #[cfg(feature = "network-bridge")]
        sheave_network_bridge::linked(),
        #[cfg(feature = "network-host")]
        sheave_network_host::linked(),
        #[cfg(feature = "network-none")]
        sheave_network_none::linked(),
        #[cfg(feature = "volume-local")]
        sheave_volume_local::linked(),
        #[cfg(feature = "registry-oci")]
        sheave_registry_oci::linked(),
        #[cfg(feature = "registry-layout")]
        sheave_registry_layout::linked(),
    ]
}

/// Where the settings that dockerd has for all registries go: the plugin and the keys of its configuration.
pub fn registry_settings(config: &Config) -> (&'static str, serde_json::Map<String, serde_json::Value>) {
    let mut keys = serde_json::Map::new();
    let mut insecure = config.insecure_registries.clone();
    insecure.extend(config.registries.iter().filter(|(_, r)| r.insecure).map(|(host, _)| host.clone()));
    let by_host = |of: fn(&crate::config::Registry) -> &Vec<String>| {
        let filled = config.registries.iter().filter(|(_, r)| !of(r).is_empty());
        filled.map(|(host, r)| (host.clone(), serde_json::json!(of(r)))).collect::<serde_json::Map<_, _>>()
    };
    for (key, value) in [
        ("registry-mirrors", serde_json::json!(config.registry_mirrors)),
        ("insecure-registries", serde_json::json!(insecure)),
        ("mirrors", by_host(|r| &r.mirrors).into()),
        ("ca", by_host(|r| &r.ca).into()),
    ] {
        let empty =
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !empty {
            keys.insert(key.to_owned(), value);
        }
    }
    ("registry-oci", keys)
}
