//! Two engines on one host, in one network namespace.

use sheave_tests::registry::Registry;
use sheave_tests::{Engine, Sandbox};

#[test]
fn two_engines_run_side_by_side() {
    let sandbox = Sandbox::new("two");
    let _registry = Registry::open(&sandbox);
    if Engine::prepare(&sandbox, "which", &[]).is_oracle() {
        // Two dockerds in one network namespace fight over their chains.
        return;
    }
    let one = Engine::start_with(&sandbox, "one", &["--bridge=sheave-a", "--bip=10.81.0.1/24"]);
    let two = Engine::start_with(&sandbox, "two", &["--bridge=sheave-b", "--bip=10.82.0.1/24"]);
    for (engine, net) in [(&one, "10.81.0."), (&two, "10.82.0.")] {
        engine.pull_busybox();
        engine.d("run -d --name same -p 127.0.0.1::80 busybox sleep 1000").ok();
        let address = engine.inspect("same", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        assert!(address.starts_with(net), "{address}");
    }
    drop(one);
    assert_eq!(two.d("exec same echo here").ok(), "here");
    two.d("rm -f same").ok();
    assert_eq!(two.d("run --rm busybox echo hi").ok(), "hi");
}
