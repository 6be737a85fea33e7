//! The conformance suite and the plugin's configuration.

use sheave_conformance::registry::RegistrySuite;
use sheave_plugin::registry::Driver;
use sheave_registry_layout::LayoutRegistry;

#[test]
fn conforms() {
    let config = r#"{"hosts":{"demo.local":"/srv/demo"}}"#;
    RegistrySuite { plugin: sheave_registry_layout::linked(), config, serves: "demo.local" }.run();
}

#[test]
fn refuses_hosts_and_paths_that_cannot_work() {
    for (config, part) in [
        (r#"{"hosts":{"demo":"/srv"}}"#, "needs a dot"),
        (r#"{"hosts":{"*.local":"/srv"}}"#, "not a registry host"),
        (r#"{"hosts":{"demo.local":"srv"}}"#, "absolute"),
        (r#"{"hosts":{"demo.local":"/srv/../etc"}}"#, "absolute"),
    ] {
        let error = LayoutRegistry::new(config.into()).err().expect(config);
        assert!(error.message.contains(part), "{config}: {}", error.message);
    }
}
