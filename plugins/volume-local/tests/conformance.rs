//! The volume suite over this driver, and what only this driver promises.

use sheave_conformance::{FakeHost, volume};
use sheave_plugin::{Label, MountSource, host};

sheave_conformance::volume_suite!(sheave_volume_local::linked());

#[test]
fn options_become_mounts() {
    let fake = FakeHost::new();
    let make = sheave_volume_local::linked().volume.expect("a volume plugin");
    let driver = make(String::new()).expect("no configuration is needed");
    let label = |key: &str, value: &str| Label { key: key.into(), value: value.into() };
    let mut spec = volume::spec("scratch");
    spec.options = vec![label("type", "tmpfs"), label("device", "tmpfs"), label("o", "size=1m")];
    host::scope(fake.clone(), || {
        driver.create(spec.clone()).expect("create");
        let mounts = driver.mount("scratch".into(), "c1".into()).expect("mount");
        assert!(matches!(&mounts[0].source, MountSource::Filesystem(fs) if fs.fstype == "tmpfs"), "{mounts:?}");
        assert!(driver.usage("scratch".into()).expect("usage").is_empty());
        spec.options.pop();
        let error = driver.create(spec).expect_err("other options");
        assert!(error.message.contains("exists already with other options"), "{error:?}");
    });
}
