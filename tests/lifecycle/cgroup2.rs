//! Containers under cgroup version 2, in a virtual machine that has nothing else.

use std::time::Duration;

use sheave_tests::engine::built;
use sheave_tests::guest;

/// What the guest's script has to say, see `cgroup2.sh`.
const EXPECTED: &[(&str, &str)] = &[
    ("info", "Cgroups: version 2, cgroupfs"),
    ("echo", "from the guest"),
    // A cgroup namespace of its own: the container's group is the root of what it sees, and it may not change it.
    ("own-group", "0::/"),
    (
        "own-root",
        "8 ls: /sys/fs/cgroup/init: No such file or directory mkdir: can't create directory '/sys/fs/cgroup/x': Read-only file system",
    ),
    ("is-below-root", "yes"),
    ("memory.max", "67108864"),
    // The API counts memory and swap together.
    ("memory.swap.max", "67108864"),
    ("pids.max", "42"),
    ("cpu.max", "50000 100000"),
    ("cpu.weight", "174"),
    ("cpuset.cpus", "1"),
    ("seen-inside", "67108864 42 50000 100000"),
    ("processes", "1"),
    ("with-exec", "2"),
    ("exec-group", "0::/"),
    ("paused", "0 false \"paused\" 1 frozen 1"),
    ("unpaused", "0 false \"running\" 0 frozen 0"),
    ("kill-code", "137"),
    ("killed", "137 false \"exited\""),
    ("removed", "0"),
    ("fork-refused", "1"),
    ("oom-code", "137"),
    ("oom-state", "137 true \"exited\""),
    // A node may be made, as Docker allows; the device filter refuses its use.
    ("devices", "made head: /tmp/d: Operation not permitted 3 null"),
    ("kmsg", "head: /tmp/k: Operation not permitted"),
    ("given-device", "5"),
    ("read-only-device", "5 sh: can't create /dev/disk: Operation not permitted"),
    ("privileged", "opened"),
    ("orphan", "1"),
    ("forced", "0"),
    ("left", "0"),
    ("stopped", "0"),
];

#[test]
fn cgroup_version_2_limits_counts_and_leaves_nothing() {
    let programs = ["sheaved", "sheave-shim", "sheave"].map(built);
    // On an emulated processor of a busy machine it takes minutes, otherwise seconds.
    let console = guest::run(include_str!("cgroup2.sh"), &programs, Duration::from_secs(300));
    let wrong: Vec<String> = EXPECTED
        .iter()
        .filter(|(name, value)| console.values(name) != [*value])
        .map(|(name, value)| format!("{name}: expected {value:?}, was {:?}\n", console.values(name)))
        .collect();
    assert!(wrong.is_empty(), "{}the console of the guest:\n{}", wrong.concat(), console.text());
}
