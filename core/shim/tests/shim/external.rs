//! Containers set up by runc, behind the same protocol.

use serde_json::json;
use sheave_shim::protocol::*;

use crate::harness::*;
use crate::lifecycle::assert_nothing_left;

fn bench(script: &str) -> Bench {
    let mut bench = Bench::script(script);
    let root = bench.path("runc").display().to_string();
    let path = "/usr/sbin/runc".into();
    bench.runtime = Some(ExternalRuntime { path, args: vec!["--root".into(), root] });
    bench
}

#[test]
fn runc_behind_the_shim() {
    let mut bench = bench("echo out; echo err >&2; read x; echo got $x; exit 3");
    bench.stdio.open_stdin = true;
    let mut running = bench.begin();
    let mut stream = running.attach();
    running.go();
    running.started().expect("start");
    let (out, _, exit) = running.exec(process(&["/bin/sh", "-c", "hostname; exit 4"]), Seccomp::Init).expect("exec");
    assert_eq!((out.as_str(), exit.code), ("box\n", 4));
    let failed = running.exec(process(&["nope"]), Seccomp::Init).expect_err("nope");
    assert_eq!(failed.exit_code(), 127, "{failed:?}");
    assert_eq!(running.ask(&Request::Pause), Response::Done);
    assert_eq!(running.ask(&Request::Resume), Response::Done);
    stream.send_stdin(b"in\n").expect("stdin");
    let (stdout, stderr, exit) = drain(&mut stream);
    assert_eq!((String::from_utf8_lossy(&stdout).as_ref(), stderr.as_slice()), ("out\ngot in\n", b"err\n".as_slice()));
    assert_eq!(exit.code, 3);
    running.release();
    assert!(std::fs::read_to_string(bench.log_path()).expect("log").contains("got in"));
    assert_nothing_left(&bench);
}

#[test]
fn runc_with_a_terminal() {
    let mut bench = bench("tty; stty size");
    bench.stdio.terminal = Some(TerminalSize { height: 20, width: 30 });
    let done = bench.run();
    assert_eq!((done.stdout.as_str(), done.exit.code), ("/dev/pts/0\r\n20 30\r\n", 0));
    assert_nothing_left(&bench);
}

#[test]
fn runc_that_fails() {
    let mut bench = bench("");
    bench.spec["process"]["args"] = json!(["nope"]);
    let failed = bench.try_start().err().expect("nope");
    assert_eq!(failed.exit_code(), 127, "{failed:?}");
    assert!(failed.message.contains(r#"exec: "nope": executable file not found in $PATH"#), "{failed:?}");
    assert_nothing_left(&bench);
}
