//! Start, output, exit, and what goes wrong.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sheave_shim::protocol::*;

use crate::harness::*;

#[test]
fn echo() {
    let done = Bench::new(&["echo", "hello"]).run();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str(), done.exit.code), ("hello\n", "", 0));
    assert_eq!(done.warnings, Vec::<String>::new());
    let line: Value = serde_json::from_str(&done.log).expect("one line");
    assert_eq!((line["log"].as_str(), line["stream"].as_str()), (Some("hello\n"), Some("stdout")));
}

#[test]
fn exit_codes() {
    for (script, code, signal) in
        [("exit 0", 0, None), ("exit 3", 3, None), ("exit 255", 255, None), ("(sleep 1; exit 1) & exit 7", 7, None)]
    {
        let exit = Bench::script(script).run().exit;
        assert_eq!((exit.code, exit.signal), (code, signal), "{script}");
    }
}

#[test]
fn killed_from_outside() {
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.start();
    assert_eq!(running.state().phase, Phase::Running);
    running.kill(9);
    let record = running.wait();
    assert_eq!((record.code, record.signal), (137, Some(9)));
    assert_eq!(running.state().phase, Phase::Exited(record));
    let file = std::fs::read(bench.dir().join(EXIT_FILE)).expect("exit record");
    assert_eq!(serde_json::from_slice::<ExitRecord>(&file).expect("record"), record);
    assert!(matches!(running.ask(&Request::Kill { signal: 9, all: false }), Response::Error { .. }));
    running.release();
}

#[test]
fn what_cannot_be_executed() {
    for (program, code, text) in [
        ("nope", 127, r#"exec: "nope": executable file not found in $PATH"#),
        ("/nope", 127, r#"exec: "/nope": stat /nope: no such file or directory"#),
        ("/etc/passwd", 126, r#"exec: "/etc/passwd": permission denied"#),
        ("/etc", 126, r#"exec: "/etc": is a directory"#),
    ] {
        let bench = Bench::new(&[program]);
        let failed = bench.try_start().err().expect(program);
        assert_eq!((failed.exit_code(), failed.message.as_str(), failed.stage), (code, text, Stage::Exec));
        assert!(!bench.dir().join(SOCKET_FILE).exists() && !bench.dir().join(STATE_FILE).exists());
        assert_nothing_left(&bench);
    }
}

#[test]
fn an_absent_interpreter_is_said_by_the_container() {
    let bench = Bench::new(&["/script"]);
    let script = bench.path("lower").join("script");
    std::fs::write(&script, "#!/absent\n").expect("write");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let done = bench.run();
    assert_eq!((done.exit.code, done.stderr.as_str()), (255, "exec /script: no such file or directory\n"));
}

#[test]
fn refuses_by_name() {
    for (pointer, value, name) in [
        ("/hooks", json!({}), "hooks"),
        ("/linux/personality", json!({"domain": "LINUX"}), "personality"),
        ("/linux/uidMappings", json!([{"hostID": 1, "containerID": 0, "size": 1}]), "uidMappings"),
        ("/process/selinuxLabel", json!("x"), "selinux"),
        ("/linux/resources/rdma", json!({"x": {}}), "rdma"),
    ] {
        let mut bench = Bench::new(&["true"]);
        let (parent, key) = pointer.rsplit_once('/').expect("pointer");
        bench.spec.pointer_mut(parent).expect(parent)[key] = value;
        let failed = bench.try_start().err().expect(name);
        assert!(failed.message.to_lowercase().contains(&name.to_lowercase()), "{failed:?}");
        assert_nothing_left(&bench);
    }
}

#[test]
fn user_limits_and_environment() {
    let mut bench = Bench::script(
        "id; umask; ulimit -n; pwd; echo $X; cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status; \
         echo again > /dev/stdout; hostname",
    );
    let process = &mut bench.spec["process"];
    process["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 7]});
    process["env"] = json!(["PATH=/bin", "X=a b"]);
    process["cwd"] = json!("/made/here");
    process["noNewPrivileges"] = json!(true);
    process["oomScoreAdj"] = json!(7);
    process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]);
    let done = bench.run();
    let expected = "uid=1000 gid=1001 groups=5,7\n0022\n99\n/made/here\na b\n7\nNoNewPrivs:\t1\nagain\nbox\n";
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), (expected, ""));
}

#[test]
fn long_and_split_output() {
    let done = Bench::script("head -c 100000 /dev/zero | tr '\\0' x; echo; echo err >&2; printf tail").run();
    assert_eq!((done.stdout.len(), done.stderr.as_str()), (100_005, "err\n"));
    let values: Vec<Value> = done.log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |stream: &str| -> Vec<&str> {
        values.iter().filter(|v| v["stream"] == stream).map(|v| v["log"].as_str().expect("log")).collect()
    };
    assert_eq!(of("stdout").concat(), done.stdout);
    assert_eq!(of("stdout").iter().map(|line| line.len()).collect::<Vec<_>>(), {
        let mut lengths = vec![16384; 6];
        lengths.extend([100_001 - 6 * 16384, 4]);
        lengths
    });
    assert_eq!(of("stderr"), ["err\n"]);
}

#[test]
fn rotated_log() {
    let mut bench = Bench::script("for i in $(seq 1000); do echo line $i; done");
    (bench.max_size, bench.max_file) = (Some(10_000), 3);
    bench.run();
    let read = |suffix: &str| std::fs::read_to_string(format!("{}{suffix}", bench.log_path().display()));
    let (now, first, second) = (read("").expect("log"), read(".1").expect(".1"), read(".2").expect(".2"));
    assert!(read(".3").is_err());
    assert!(first.len() >= 10_000 && first.len() < 10_200 && second.len() >= 10_000, "{}", first.len());
    let all = second + &first + &now;
    let lines: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.last().expect("lines")["log"], "line 1000\n");
    let start = 1000 - lines.len() + 1;
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line["log"], format!("line {}\n", start + at));
    }
}

#[test]
fn the_daemon_dies_before_the_start() {
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.begin();
    let process = running.lose_control();
    process.wait().expect("ends");
    assert!(!bench.dir().join(SOCKET_FILE).exists());
    assert_nothing_left(&bench);
}

#[test]
fn the_daemon_dies_while_it_runs() {
    let bench = Bench::script("read x; echo got $x; read y; exit 9");
    let mut bench = bench;
    bench.stdio.open_stdin = true;
    let running = bench.start();
    let state: StateRecord =
        serde_json::from_slice(&std::fs::read(bench.dir().join(STATE_FILE)).expect("state")).expect("state");
    let process = running.lose_control();
    // A new daemon finds it by its files.
    let mut stream = sheave_shim::client::Connection::open(&bench.dir()).expect("connect");
    let all = Attach { stdin: true, stdout: true, stderr: true };
    assert_eq!(stream.request(&Request::Attach(all), &[]).expect("attach").0, Response::Attached);
    stream.send_stdin(b"one\n").expect("stdin");
    assert_eq!(read_until(&mut stream, "got one\n"), "got one\n");
    assert!(Path::new(&format!("/proc/{}", state.pid)).exists());
    stream.send_stdin(b"two\n").expect("stdin");
    assert_eq!(drain(&mut stream).2.code, 9);
    let mut stream = sheave_shim::client::Connection::open(&bench.dir()).expect("connect");
    assert_eq!(stream.request(&Request::Release, &[]).expect("release").0, Response::Done);
    process.wait().expect("ends");
    assert!(std::fs::read_to_string(bench.log_path()).expect("log").contains("got one"));
    assert_nothing_left(&bench);
}

#[test]
fn events_and_waiting() {
    let bench = Bench::script("sleep 1000 & wait");
    let running = bench.start();
    let mut events = running.connect();
    events.send(&Request::Events, &[]).expect("events");
    // The answer to a later request shows that the subscription was seen.
    running.state();
    let record = running.exec(process(&["/bin/sh", "-c", "exit 4"]), Seccomp::None).expect("exec").2;
    let exit = running.finish();
    let mut next = || events.receive_message::<Response>().expect("event").0;
    assert!(matches!(next(), Response::Event(Event::ExecExited { record: r, .. }) if r == record && r.code == 4));
    assert_eq!(next(), Response::Event(Event::Exited(exit)));
    assert!(events.receive().is_err());
}

/// Mounts, cgroups and processes of the container.
pub fn assert_nothing_left(bench: &Bench) {
    let placement = bench.placement();
    for mount in placement.hierarchies.iter().map(|h| &h.mount).chain(&placement.unified) {
        assert!(!mount.join(&placement.path).exists(), "{} is left", mount.join(&placement.path).display());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let ours = bench.temporary.path().display().to_string();
    assert!(!mounts.contains(&ours), "{ours} is mounted");
    assert!(!bench.dir().join(ROOTFS_DIR).exists());
}

#[test]
fn a_hundred_runs_leave_nothing() {
    let mut bench = Bench::new(&["true"]);
    bench.spec["process"]["args"] = json!(["true"]);
    let open = || std::fs::read_dir("/proc/self/fd").expect("fds").count();
    bench.run();
    let before = open();
    for _ in 0..100 {
        assert_eq!(bench.run().exit.code, 0);
    }
    // Other tests of this program have descriptors too.
    assert!(open() < before + 60, "{} descriptors, then {}", before, open());
    assert_nothing_left(&bench);
}

#[test]
fn small_memory() {
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.start();
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", running.shim.process.pid)).expect("smaps");
    let field = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect(name);
        line.split_whitespace().nth(1).expect("number").parse().expect("number")
    };
    let private = field("Private_Clean:") + field("Private_Dirty:");
    eprintln!(
        "private memory of a shim: {private} KiB ({} dirty), {} KiB resident",
        field("Private_Dirty:"),
        field("Rss:")
    );
    // Of an unoptimised build; most of it are pages of the executable that no other shim has mapped at the moment.
    assert!(field("Private_Dirty:") < 1500, "{text}");
    running.finish();
}

#[test]
fn a_stopped_reader_does_not_stop_the_container() {
    let bench = Bench::script("head -c 8000000 /dev/zero; echo done >&2");
    let mut running = bench.begin();
    let mut slow = running.attach();
    running.go();
    running.started().expect("start");
    // Nothing is read from `slow` until the container has ended.
    assert_eq!(running.wait().code, 0);
    let (stdout, stderr, exit) = drain(&mut slow);
    assert_eq!((stdout.len(), stderr.as_slice(), exit.code), (8_000_000, b"done\n".as_slice(), 0));
    running.release();
}

#[test]
fn stdin_is_half_closed() {
    let mut bench = Bench::new(&["cat"]);
    bench.stdio = Stdio { terminal: None, open_stdin: true, stdin_once: true };
    let mut running = bench.begin();
    let mut stream = running.attach();
    running.go();
    running.started().expect("start");
    let input = vec![b'x'; 300_000];
    let mut writer = sheave_shim::client::Connection::new(stream.socket().try_clone().expect("clone"));
    let sent = input.clone();
    let thread = std::thread::spawn(move || {
        writer.send_stdin(&sent).expect("stdin");
        writer.send_stdin(b"").expect("half-close");
    });
    let (stdout, _, exit) = drain(&mut stream);
    thread.join().expect("writer");
    assert_eq!((stdout.len(), exit.code), (input.len(), 0));
    running.release();
}

#[test]
fn stdin_stays_open_for_the_next_client() {
    let mut bench = Bench::script("read a; read b; echo $a-$b");
    bench.stdio.open_stdin = true;
    let running = bench.start();
    let mut first = running.attach();
    first.send_stdin(b"1\n").expect("stdin");
    first.send_stdin(b"").expect("half-close");
    drop(first);
    let mut second = running.attach();
    second.send_stdin(b"2\n").expect("stdin");
    assert_eq!(drain(&mut second).0, b"1-2\n");
    running.release();
}

#[test]
fn a_terminal() {
    let mut bench = Bench::script("stty size; tty; ls -l /dev/console | cut -c1; read x; echo \"got $x\"; stty size");
    bench.stdio =
        Stdio { terminal: Some(TerminalSize { height: 33, width: 101 }), open_stdin: true, stdin_once: false };
    bench.spec["process"]["terminal"] = json!(true);
    let mut running = bench.begin();
    let mut stream = running.attach();
    let mut second = running.attach();
    running.go();
    running.started().expect("start");
    assert_eq!(read_until(&mut stream, "\r\nc\r\n"), "33 101\r\n/dev/pts/0\r\nc\r\n");
    let size = TerminalSize { height: 10, width: 20 };
    assert_eq!(running.ask(&Request::Resize { exec: None, size }), Response::Done);
    stream.send_stdin(b"hi\n").expect("stdin");
    let (stdout, stderr, exit) = drain(&mut stream);
    assert_eq!((String::from_utf8_lossy(&stdout).as_ref(), stderr.len()), ("hi\r\ngot hi\r\n10 20\r\n", 0));
    assert_eq!(exit.code, 0);
    assert!(String::from_utf8_lossy(&drain(&mut second).0).ends_with("10 20\r\n"));
    running.release();
}

#[test]
fn dns_sockets_are_kept() {
    let bench = Bench::new(&["sleep", "1000"]);
    let mut running = bench.begin();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("address");
    let network = Network { netns: false, dns_sockets: 1 };
    running.shim.send(&ToShim::Network(network), &[std::os::fd::AsFd::as_fd(&socket)]).expect("send");
    drop(socket);
    running.started().expect("start");
    let (answer, mut fds) = running.connect().request(&Request::DnsSockets, &[]).expect("sockets");
    assert_eq!((answer, fds.len()), (Response::DnsSockets(1), 1));
    let kept = std::net::UdpSocket::from(fds.remove(0));
    assert_eq!(kept.local_addr().expect("address"), address);
    running.finish();
}

#[test]
fn garbage_on_the_socket_is_harmless() {
    use std::io::{Read, Write};
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.start();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xff; 4096], &[0, 0, 0, 0, 0, 0, 0, 2, b'{', b'}']] {
        let connection = running.connect();
        let mut socket = connection.socket();
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        socket.write_all(bytes).expect("write");
        socket.shutdown(std::net::Shutdown::Write).expect("shutdown");
        // Closed, or an error and closed.
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert_eq!(running.state().phase, Phase::Running);
    running.finish();
}
