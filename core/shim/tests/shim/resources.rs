//! Limits, pausing, execs.

use std::path::PathBuf;

use serde_json::json;
use sheave_shim::protocol::*;

use crate::harness::*;
use crate::lifecycle::assert_nothing_left;

fn cgroup_file(bench: &Bench, controller: &str, file: &str) -> String {
    let placement = bench.placement();
    let has = |h: &&CgroupHierarchy| h.controllers.iter().any(|name| name == controller);
    let mount: PathBuf = placement.hierarchies.iter().find(has).expect(controller).mount.clone();
    std::fs::read_to_string(mount.join(&placement.path).join(file)).expect(file).trim().to_owned()
}

#[test]
fn limits_are_in_the_cgroups() {
    let mut bench = Bench::new(&["sleep", "1000"]);
    bench.spec["linux"]["resources"]["memory"] = json!({"limit": 67108864, "swap": 134217728, "reservation": 33554432});
    bench.spec["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"});
    bench.spec["linux"]["resources"]["pids"] = json!({"limit": 50});
    let running = bench.start();
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("pids", "pids.max", "50"),
    ] {
        assert_eq!(cgroup_file(&bench, controller, file), value, "{file}");
    }
    assert!(cgroup_file(&bench, "devices", "devices.list").contains("c 1:3 rwm"));
    let resources = serde_json::from_value(json!({"memory": {"limit": 268435456, "swap": 268435456},
        "pids": {"limit": 60}}));
    let update = Request::Update { resources: Box::new(resources.expect("resources")) };
    assert_eq!(running.ask(&update), Response::Done);
    assert_eq!(cgroup_file(&bench, "memory", "memory.limit_in_bytes"), "268435456");
    assert_eq!(cgroup_file(&bench, "pids", "pids.max"), "60");
    running.finish();
    assert_nothing_left(&bench);
}

#[test]
fn out_of_memory() {
    let mut bench = Bench::new(&["/bin/sh", "-c", "head -c 200000000 /dev/zero | tail"]);
    bench.spec["linux"]["resources"]["memory"] = json!({"limit": 16777216, "swap": 16777216});
    let done = bench.run();
    assert!(done.exit.oom_killed, "{:?}", done.exit);
    assert!(!Bench::new(&["true"]).run().exit.oom_killed);
}

#[test]
fn too_many_processes() {
    let mut bench = Bench::script("for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo all");
    bench.spec["linux"]["resources"]["pids"] = json!({"limit": 5});
    let done = bench.run();
    assert!(done.stderr.contains("can't fork"), "{done:?}");
}

#[test]
fn pause_resume_and_kill() {
    let bench = Bench::script("while true; do echo x; sleep 0.02; done");
    let running = bench.start();
    assert_eq!(running.ask(&Request::Pause), Response::Done);
    assert_eq!(running.state().phase, Phase::Paused);
    assert!(matches!(running.ask(&Request::Pause), Response::Error { .. }));
    assert_eq!(cgroup_file(&bench, "freezer", "freezer.state"), "FROZEN");
    assert!(matches!(running.ask(&Request::Kill { signal: 15, all: false }), Response::Done));
    assert_eq!(running.ask(&Request::Resume), Response::Done);
    assert_eq!(running.state().phase, Phase::Running);
    assert_eq!(running.ask(&Request::Pause), Response::Done);
    let exit = running.finish();
    assert_eq!(exit.code, 137);
    assert_nothing_left(&bench);
}

#[test]
fn exec_streams_and_codes() {
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.start();
    let (stdout, stderr, exit) =
        running.exec(process(&["/bin/sh", "-c", "echo out; echo err >&2; exit 5"]), Seccomp::Init).expect("exec");
    assert_eq!((stdout.as_str(), stderr.as_str(), exit.code), ("out\n", "err\n", 5));
    let failed = running.exec(process(&["nope"]), Seccomp::Init).expect_err("nope");
    assert_eq!(
        (failed.exit_code(), failed.message.as_str()),
        (127, r#"exec: "nope": executable file not found in $PATH"#)
    );
    let execs = running.state().execs;
    assert_eq!(execs.len(), 2);
    assert!(execs.values().any(|phase| *phase == ExecPhase::Exited(exit)));
    let forgotten = execs.keys().next().expect("one").clone();
    assert_eq!(running.ask(&Request::ExecForget { id: forgotten }), Response::Done);
    assert_eq!(running.state().execs.len(), 1);
    assert!(matches!(running.ask(&Request::ExecState { id: "none".into() }), Response::Error { .. }));
    running.finish();
    assert!(std::fs::read_to_string(bench.log_path()).expect("log").is_empty(), "execs are not logged");
}

#[test]
fn exec_with_stdin_and_terminal() {
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.start();
    let exec = |id: &str, args: &[&str], terminal| Exec {
        id: id.into(),
        process: serde_json::from_value(process(args)).expect("process"),
        seccomp: Seccomp::Init,
        terminal,
        attach: Attach { stdin: true, stdout: true, stderr: true },
        detach: false,
    };
    let mut stream = running.connect();
    let request = Request::Exec(Box::new(exec("cat", &["cat"], None)));
    assert!(matches!(stream.request(&request, &[]).expect("exec").0, Response::ExecStarted(_)));
    stream.send_stdin(b"through").expect("stdin");
    stream.send_stdin(b"").expect("half-close");
    let (stdout, _, exit) = drain(&mut stream);
    assert_eq!((stdout.as_slice(), exit.code), (b"through".as_slice(), 0));
    let mut stream = running.connect();
    let size = TerminalSize { height: 11, width: 22 };
    let script = "read x; stty size; tty";
    let request = Request::Exec(Box::new(exec("tty", &["/bin/sh", "-c", script], Some(size))));
    assert!(matches!(stream.request(&request, &[]).expect("exec").0, Response::ExecStarted(_)));
    let size = TerminalSize { height: 12, width: 34 };
    assert_eq!(running.ask(&Request::Resize { exec: Some("tty".into()), size }), Response::Done);
    stream.send_stdin(b"\n").expect("stdin");
    let (stdout, _, exit) = drain(&mut stream);
    assert_eq!((String::from_utf8_lossy(&stdout).as_ref(), exit.code), ("\r\n12 34\r\n/dev/pts/0\r\n", 0));
    running.finish();
}

#[test]
fn a_detached_exec_survives_its_connection() {
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.start();
    let exec = Exec {
        id: "later".into(),
        process: serde_json::from_value(process(&["/bin/sh", "-c", "sleep 0.2; exit 6"])).expect("process"),
        seccomp: Seccomp::Init,
        terminal: None,
        attach: Attach::default(),
        detach: true,
    };
    let mut events = running.connect();
    events.send(&Request::Events, &[]).expect("events");
    assert!(matches!(running.ask(&Request::Exec(Box::new(exec.clone()))), Response::ExecStarted(_)));
    assert!(matches!(running.ask(&Request::Exec(Box::new(exec))), Response::Error { .. }));
    let Response::Event(Event::ExecExited { id, record }) = events.receive_message().expect("event").0 else {
        panic!("another event");
    };
    assert_eq!((id.as_str(), record.code), ("later", 6));
    assert_eq!(running.ask(&Request::ExecState { id }), Response::ExecState(ExecPhase::Exited(record)));
    running.finish();
}

#[test]
fn namespaces_of_another_container() {
    let bench = Bench::new(&["sleep", "1000"]);
    let first = bench.start();
    let pid = first.state().pid;
    let mut other = Bench::script("hostname; ls /proc | grep -c '^[0-9]'; readlink /proc/self/ns/ipc");
    for namespace in other.spec["linux"]["namespaces"].as_array_mut().expect("list") {
        let name = match namespace["type"].as_str() {
            Some("network") => "net",
            Some("mount") => continue,
            Some(other) => other,
            None => panic!("no type"),
        }
        .to_owned();
        namespace["path"] = json!(format!("/proc/{pid}/ns/{name}"));
    }
    other.spec["hostname"] = json!(null);
    let done = other.run();
    let ipc = std::fs::read_link(format!("/proc/{pid}/ns/ipc")).expect("link");
    assert!(done.stdout.starts_with("box\n") && done.stdout.contains(&ipc.display().to_string()), "{done:?}");
    first.finish();
    assert_nothing_left(&other);
}

#[test]
fn host_pids_leave_no_process() {
    let mut bench = Bench::script("sleep 999 & sleep 999 & echo $! ; exit 0");
    bench.spec["linux"]["namespaces"].as_array_mut().expect("list").retain(|n| n["type"] != "pid");
    let done = bench.run();
    let pid = done.stdout.trim().to_owned();
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists(), "{pid} is left");
    assert_nothing_left(&bench);
}
