//! Commands in containers that run.

use serde_json::json;
use sheave_tests::http::demultiplex;
use sheave_tests::registry::Registry;
use sheave_tests::{Engine, Sandbox};

#[test]
fn c7_exec() {
    let sandbox = Sandbox::new("c7");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    engine.d("run -d --name box -e FROM=run busybox sleep 1000").ok();
    let both = engine.docker(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 4"]);
    assert_eq!((both.code, both.stdout.as_str(), both.stderr.as_str()), (4, "out\n", "err\n"));
    assert_eq!(
        engine
            .docker(&[
                "exec",
                "-u",
                "app",
                "-w",
                "/tmp",
                "-e",
                "A=b",
                "box",
                "sh",
                "-c",
                "id -u; id -G; pwd; echo $A $FROM"
            ])
            .ok(),
        "1000\n1000 1001\n/tmp\nb run"
    );
    assert_eq!(engine.docker_in(&["exec", "-i", "box", "cat"], b"in\n").ok(), "in");
    assert_eq!(engine.docker_in(&["exec", "box", "wc", "-c"], b"in\n").ok(), "0");
    // An exec has the confinement of its container.
    let confinement = "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status";
    let run = engine.docker(&["run", "--rm", "busybox", "sh", "-c", confinement]).ok();
    assert_eq!(engine.docker(&["exec", "box", "sh", "-c", confinement]).ok(), run);
    assert!(run.contains("Seccomp:\t2"), "{run}");

    engine.docker(&["exec", "-d", "box", "sh", "-c", "echo detached >/tmp/detached"]).ok();
    sheave_tests::eventually("the detached command", std::time::Duration::from_secs(5), || {
        (engine.d("exec box cat /tmp/detached").stdout == "detached\n").then_some(())
    });
    // The reason comes on the stream. dockerd 20.10 gives 126 for both.
    for (program, code, reason) in
        [("nope", 127, "executable file not found in $PATH"), ("/etc", 126, "exec: \"/etc\"")]
    {
        let failed = engine.docker(&["exec", "box", program]);
        assert!(failed.code == code || (engine.is_oracle() && failed.code == 126), "{failed}");
        assert!(format!("{}{}", failed.stdout, failed.stderr).contains(reason), "{failed}");
    }
    let unknown = engine.d("exec -u no-such-user box true");
    assert!(unknown.code != 0 && format!("{}{}", unknown.stdout, unknown.stderr).contains("no-such-user"), "{unknown}");

    let http = engine.http();
    let body =
        json!({"AttachStdout": true, "AttachStderr": true, "Cmd": ["sh", "-c", "echo out; echo err >&2; exit 9"]});
    let id = http.post("/v1.41/containers/box/exec", &body).expect(201)["Id"].as_str().expect("an id").to_owned();
    let fresh = http.get(&format!("/v1.41/exec/{id}/json")).expect(200);
    assert_eq!((&fresh["Running"], &fresh["ExitCode"]), (&json!(false), &json!(null)));
    let (_, mut stream) = http.hijack(&format!("/v1.41/exec/{id}/start"), br#"{"Detach":false,"Tty":false}"#);
    assert_eq!(demultiplex(&mut stream), ("out\n".to_owned(), "err\n".to_owned()));
    let done = http.get(&format!("/v1.41/exec/{id}/json")).expect(200);
    assert_eq!((&done["Running"], &done["ExitCode"]), (&json!(false), &json!(9)));
    assert_eq!(done["ProcessConfig"]["entrypoint"], "sh");
    let again = http.post(&format!("/v1.41/exec/{id}/start"), &json!({"Detach": true}));
    assert!(again.status == 409 || engine.is_oracle(), "{again:?}");
    assert!(http.get("/v1.41/exec/0123456789abcdef/json").error(404).contains("No such exec instance"));
    assert!(
        http.post("/v1.41/containers/box/exec", &json!({"Cmd": []})).error(400).contains("No exec command specified")
    );

    engine.d("stop -t 0 box").ok();
    let stopped = http.post("/v1.41/containers/box/exec", &json!({"Cmd": ["true"]})).error(409);
    assert!(stopped.contains("is not running"), "{stopped}");
    engine.d("exec box true").fails(1, "is not running");
    assert!(
        http.post("/v1.41/containers/none/exec", &json!({"Cmd": ["true"]}))
            .error(404)
            .contains("No such container: none")
    );
}
