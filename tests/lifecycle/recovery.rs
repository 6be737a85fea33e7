//! The daemon dies, containers do not, and nothing leaks.

use std::time::Duration;

use sheave_tests::registry::Registry;
use sheave_tests::{Engine, Sandbox, eventually, kernel};

#[test]
fn r1_containers_outlive_the_daemon() {
    let sandbox = Sandbox::new("r1live");
    let _registry = Registry::open(&sandbox);
    // What Sheave always does is a choice of dockerd's.
    let flags: &[&str] = if Engine::prepare(&sandbox, "which", &[]).is_oracle() { &["--live-restore"] } else { &[] };
    let mut engine = Engine::start_with(&sandbox, "engine", flags);
    engine.pull_busybox();
    engine.d("run --rm busybox true").ok();
    let before = kernel::Snapshot::settled(&sandbox);
    engine
        .docker(&[
            "run",
            "-d",
            "--name",
            "counter",
            "-p",
            "8080:80",
            "busybox",
            "sh",
            "-c",
            "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done",
        ])
        .ok();
    engine.docker(&["run", "-d", "--name", "short", "busybox", "sh", "-c", "sleep 2; exit 42"]).ok();
    engine.d("create --name fresh busybox true").ok();
    let pid = engine.inspect("counter", "{{.State.Pid}}");
    engine.kill();
    sheave_tests::pause(Duration::from_secs(3));
    engine.restart();
    assert_eq!(engine.inspect("counter", "{{.State.Running}} {{.State.Pid}}"), format!("true {pid}"));
    assert_eq!(engine.inspect("fresh", "{{.State.Status}}"), "created");
    eventually("the end seen late", Duration::from_secs(10), || {
        (engine.inspect("short", "{{.State.Status}} {{.State.ExitCode}}") == "exited 42").then_some(())
    });
    let finished = engine.inspect("short", "{{.State.FinishedAt}}");
    let started = engine.inspect("short", "{{.State.StartedAt}}");
    assert!(finished > started && !finished.starts_with("0001"), "{started} {finished}");
    // The log has every line.
    let lines = engine.d("logs counter").ok();
    let numbers: Vec<usize> = lines.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(numbers.len() > 30 && numbers.iter().copied().eq(1..=numbers.len()), "{numbers:?}");
    assert_eq!(engine.d("exec counter echo here").ok(), "here");
    engine.d("stop -t 0 counter").ok();
    assert_eq!(engine.inspect("counter", "{{.State.ExitCode}}"), "137");
    engine.d("start counter").ok();
    engine.d("rm -f counter short fresh").ok();
    kernel::back_to(&sandbox, &before);
    engine.stop();
    engine.restart();
    assert_eq!(engine.d("ps -aq").ok(), "");
}

#[test]
fn r1_a_crash_in_the_middle_of_many_leaves_nothing() {
    let sandbox = Sandbox::new("r1crash");
    let _registry = Registry::open(&sandbox);
    let mut engine = Engine::start(&sandbox);
    engine.pull_busybox();
    engine.d("run --rm busybox true").ok();
    let before = kernel::Snapshot::settled(&sandbox);
    for round in 0..3_u64 {
        let mut clients: Vec<_> = (0..12)
            .map(|n| {
                let mut command = engine.client("docker");
                command.args([
                    "run",
                    "--rm",
                    "--name",
                    &format!("c{round}-{n}"),
                    "-v",
                    "/data",
                    "-p",
                    "80",
                    "busybox",
                    "sleep",
                    "0.2",
                ]);
                command
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .expect("the CLI")
            })
            .collect();
        sheave_tests::pause(Duration::from_millis(150 + 250 * round));
        engine.kill();
        for client in &mut clients {
            let _ = client.kill();
            let _ = client.wait();
        }
        engine.restart();
    }
    eventually("all have ended", Duration::from_secs(20), || engine.d("ps -q").ok().is_empty().then_some(()));
    let ids = engine.d("ps -aq").ok();
    for id in ids.lines() {
        engine.d(&format!("rm -f -v {id}")).ok();
    }
    engine.d("volume prune -f").ok();
    if !engine.is_oracle() {
        kernel::back_to(&sandbox, &before);
    }
}

#[test]
fn r1_one_hundred_at_once() {
    let sandbox = Sandbox::new("r1many");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    engine.d("run --rm busybox true").ok();
    let before = kernel::Snapshot::settled(&sandbox);
    std::thread::scope(|scope| {
        for batch in 0..10 {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..10 {
                    let word = format!("{batch}-{n}");
                    assert_eq!(engine.docker(&["run", "--rm", "busybox", "echo", &word]).ok(), word);
                }
            });
        }
    });
    assert_eq!(engine.d("ps -aq").ok(), "");
    kernel::back_to(&sandbox, &before);
}

#[test]
fn r1_floods_and_slow_readers_block_no_container() {
    let sandbox = Sandbox::new("r1flood");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    // 20 MB of log while a client that is attached reads nothing.
    let flood = "i=0; while [ $i -lt 200 ]; do head -c 100000 /dev/zero | tr '\\0' 'x'; echo; i=$((i+1)); done; echo end; sleep 1000";
    engine.docker(&["create", "--name", "flood", "busybox", "sh", "-c", flood]).ok();
    let (_, slow) = engine.http().hijack("/v1.41/containers/flood/attach?stream=1&stdout=1&stderr=1", b"");
    engine.d("start flood").ok();
    let limit = Duration::from_secs(60);
    if !engine.is_oracle() {
        eventually("the end of the flood", limit, || {
            engine.d("logs --tail 1 flood").ok().ends_with("end").then_some(())
        });
    }
    assert_eq!(engine.d("run --rm busybox echo hi").ok(), "hi");
    drop(slow);
    engine.d("rm -f flood").ok();
}
