//! Running containers and their life.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use sheave_tests::http::{demultiplex, read_frame};
use sheave_tests::registry::Registry;
use sheave_tests::{Engine, Sandbox, eventually, images, kernel};

#[test]
fn c1_run_and_exit_codes() {
    let sandbox = Sandbox::new("c1");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    // The first container may leave what is made once for all, such as the parent of cgroups.
    engine.d("run --rm busybox true").ok();
    let before = kernel::Snapshot::settled(&sandbox);

    let run = engine.d("run --rm busybox echo hi");
    assert_eq!(run.ok(), "hi");
    assert_eq!(run.stderr, "");
    assert_eq!(engine.docker(&["run", "--rm", "busybox", "sh", "-c", "exit 3"]).code, 3);
    engine.d("run --rm --no-such-flag busybox true").fails(125, "no-such-flag");
    engine.d("run --rm --pull never no/such:image true").fails(125, "No such image");
    // runc 1.1 says "permission denied", later ones "is a directory".
    let directory = engine.d("run --rm busybox /etc").fails(126, "exec: \"/etc\"");
    assert!(directory.contains("is a directory") || directory.contains("permission denied"), "{directory}");
    engine.d("run --rm busybox nope").fails(127, "executable file not found in $PATH");
    engine.d("run --rm busybox /no/such/file").fails(127, "no such file or directory");
    let no_directory = engine.d("run --rm --workdir /etc/passwd busybox true");
    assert!(
        (125..128).contains(&no_directory.code) && no_directory.stderr.contains("not a directory"),
        "{no_directory}"
    );
    engine.d("run --rm --user nobody-of-this-name busybox true").fails(125, "nobody-of-this-name");
    assert_eq!(engine.d("ps -aq").ok(), "");
    kernel::back_to(&sandbox, &before);
}

#[test]
fn c1_the_environment_of_a_container() {
    let sandbox = Sandbox::new("c1env");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    let sh = |flags: &[&str], script: &str| {
        let mut line = vec!["run", "--rm"];
        line.extend(flags);
        line.extend(["busybox", "sh", "-c", script]);
        engine.docker(&line).ok()
    };
    assert_eq!(sh(&["-e", "A=b c", "-w", "/tmp"], "echo $A; pwd; echo $HOME"), "b c\n/tmp\n/root");
    assert_eq!(sh(&["-u", "app"], "id -u; id -g; id -G; echo $HOME"), "1000\n1000\n1000 1001\n/home/app");
    assert_eq!(sh(&["-u", "12:34", "--group-add", "extra"], "id -u; id -g; id -G"), "12\n34\n34 1001");
    assert_eq!(sh(&["--hostname", "box", "--domainname", "example"], "hostname"), "box");
    assert_eq!(sh(&[], "echo $$"), "1");
    assert_eq!(sh(&["--entrypoint", "echo"], "x"), "sh -c x");
    assert_eq!(
        sh(&["--read-only", "--tmpfs", "/scratch"], "touch /x 2>/dev/null || echo ro; touch /scratch/x && echo rw"),
        "ro\nrw"
    );
    let caps = sh(
        &[],
        "grep CapEff /proc/self/status | cut -f2; grep -c . /proc/kcore 2>/dev/null || echo masked; touch /proc/sys/x 2>&1 | tail -1",
    );
    assert!(caps.starts_with("00000000a80425fb\n"), "{caps}");
    assert!(caps.contains("masked") || caps.contains("\n0"), "{caps}");
    assert_eq!(sh(&["--cap-drop", "ALL"], "grep CapEff /proc/self/status | cut -f2"), "0000000000000000");
    assert_eq!(
        sh(
            &["--memory", "64m"],
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
        ),
        "67108864"
    );
    assert_eq!(
        sh(&["--pids-limit", "33"], "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"),
        "33"
    );
    assert_eq!(sh(&["--shm-size", "1m"], "df -k /dev/shm | tail -1 | awk '{print $2}'"), "1024");
    assert_eq!(sh(&["--add-host", "there:10.9.8.7"], "grep there /etc/hosts"), "10.9.8.7\tthere");
}

#[test]
fn c2_pull_policies() {
    let sandbox = Sandbox::new("c2");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.docker(&["run", "--rm", "--pull", "never", images::BUSYBOX, "true"]).fails(125, "No such image");
    let pulled = engine.docker(&["run", "--rm", images::BUSYBOX, "echo", "there"]);
    assert_eq!(pulled.ok(), "there");
    assert!(pulled.stderr.contains("Unable to find image"), "{pulled}");
    assert!(
        pulled.stderr.contains("Status: Downloaded newer image for 127.0.0.1:5000/test/busybox:latest"),
        "{pulled}"
    );
    let again = engine.docker(&["run", "--rm", images::BUSYBOX, "echo", "there"]);
    assert_eq!((again.ok().as_str(), again.stderr.as_str()), ("there", ""));
    let always = engine.docker(&["run", "--rm", "--pull", "always", images::BUSYBOX, "true"]);
    assert_eq!(always.code, 0);
    assert!(always.stderr.contains("Image is up to date"), "{always}");
    let missing = engine.d("run --rm 127.0.0.1:5000/test/none:x true").fails(125, "127.0.0.1:5000/test/none:x");
    assert!(
        missing.contains("manifest") || missing.contains("repository") || missing.contains("not found"),
        "{missing}"
    );
}

#[test]
fn c3_standard_input_is_closed_halfway() {
    let sandbox = Sandbox::new("c3in");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    let cat = engine.docker_in(&["run", "-i", "--rm", "busybox", "cat"], b"x\n");
    assert_eq!(cat.ok(), "x");
    let large = "0123456789abcdef".repeat(64 * 1024);
    let count = engine.docker_in(&["run", "-i", "--rm", "busybox", "wc", "-c"], large.as_bytes());
    assert_eq!(count.ok(), large.len().to_string());
    let both =
        engine.docker_in(&["run", "-i", "--rm", "busybox", "sh", "-c", "md5sum; echo end >&2"], large.as_bytes());
    assert!(both.ok().ends_with('-') && both.stderr == "end\n", "{both}");
    // What comes out after the input's end still arrives.
    let late =
        engine.docker_in(&["run", "-i", "--rm", "busybox", "sh", "-c", "cat >/dev/null; sleep 1; echo late"], b"x");
    assert_eq!(late.ok(), "late");
    // Without -i there is no input to read.
    assert_eq!(engine.docker_in(&["run", "--rm", "busybox", "wc", "-c"], b"xyz").ok(), "0");
}

#[test]
fn c4_streams_stay_apart() {
    let sandbox = Sandbox::new("c4");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    let both = "echo to-out; echo to-err >&2";
    let run = engine.docker(&["run", "--name", "both", "busybox", "sh", "-c", both]);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("to-out\n", "to-err\n"));
    let logs = engine.d("logs both");
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("to-out\n", "to-err\n"));

    let http = engine.http();
    let answer = http.get("/v1.41/containers/both/logs?stdout=1&stderr=1");
    assert_eq!(demultiplex(&mut &answer.body[..]), ("to-out\n".to_owned(), "to-err\n".to_owned()));
    let only = http.get("/v1.41/containers/both/logs?stderr=1");
    assert_eq!(read_frame(&mut &only.body[..]).expect("a frame"), Some((2, b"to-err\n".to_vec())));
    let none = http.get("/v1.41/containers/both/logs").error(400);
    assert!(none.contains("you must choose at least one stream"), "{none}");
    let stamped = engine.d("logs -t --tail 1 both");
    assert!(format!("{}{}", stamped.stdout, stamped.stderr).starts_with("20"), "{stamped}");
    if !engine.is_oracle() {
        let answer = http.get("/v1.42/containers/both/logs?stdout=1");
        assert_eq!(answer.header("content-type"), Some("application/vnd.docker.multiplexed-stream"));
    }

    // Attached before the start, as `docker run` does.
    let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", "read line; echo got $line; echo to-err >&2"],
        "OpenStdin": true, "StdinOnce": true, "AttachStdin": true});
    let id = http.post("/v1.41/containers/create", &body).expect(201)["Id"].as_str().expect("an id").to_owned();
    let (headers, mut stream) =
        http.hijack(&format!("/v1.41/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1"), b"");
    assert!(headers.iter().any(|(name, value)| name == "upgrade" && value == "tcp"), "{headers:?}");
    assert_eq!(http.call("POST", &format!("/v1.41/containers/{id}/start")).status, 204);
    stream.get_mut().write_all(b"line\n").expect("the stream is open");
    assert_eq!(demultiplex(&mut stream), ("got line\n".to_owned(), "to-err\n".to_owned()));

    // A terminal has one stream and no frames.
    let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", both], "Tty": true});
    let id = http.post("/v1.41/containers/create", &body).expect(201)["Id"].as_str().expect("an id").to_owned();
    let (_, mut stream) = http.hijack(&format!("/v1.41/containers/{id}/attach?stream=1&stdout=1&stderr=1"), b"");
    assert_eq!(http.call("POST", &format!("/v1.41/containers/{id}/start")).status, 204);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).expect("text until the end");
    assert_eq!(text, "to-out\r\nto-err\r\n");
    let logs = http.get(&format!("/v1.41/containers/{id}/logs?stdout=1&stderr=1")).text();
    assert_eq!(logs, "to-out\r\nto-err\r\n");
}

#[test]
fn c4_logs_are_followed_to_the_end() {
    let sandbox = Sandbox::new("c4logs");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    let script = "for i in 1 2 3 4 5; do echo line $i; done; sleep 2; echo last";
    engine.docker(&["run", "-d", "--name", "talker", "busybox", "sh", "-c", script]).ok();
    let followed = engine.d("logs -f talker").ok();
    assert_eq!(followed, "line 1\nline 2\nline 3\nline 4\nline 5\nlast");
    assert_eq!(engine.d("logs --tail 2 talker").ok(), "line 5\nlast");
    assert_eq!(engine.d("logs --tail 0 talker").ok(), "");
    assert_eq!(engine.d("logs --since 1s talker").ok(), "last");
    assert_eq!(engine.d("logs --until 1h talker").ok(), "");
}

#[test]
fn c5_the_life_of_a_container() {
    let sandbox = Sandbox::new("c5");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    // The first container may leave what is made once for all, such as the parent of cgroups.
    engine.d("run --rm busybox true").ok();
    let before = kernel::Snapshot::settled(&sandbox);
    let status = |name: &str| {
        engine.docker(&["ps", "-a", "--filter", &format!("name=^{name}$"), "--format", "{{.Status}}"]).ok()
    };

    let id = engine.d("run -d --name one busybox sleep 1000").ok();
    assert_eq!(id.len(), 64, "{id}");
    assert!(status("one").starts_with("Up "), "{}", status("one"));
    let conflict = engine
        .d("create --name one busybox true")
        .fails(1, "Conflict. The container name \"/one\" is already in use by container");
    assert!(
        conflict.contains(&id)
            && conflict.contains("You have to remove (or rename) that container to be able to reuse that name.")
    );
    engine.d("rm one").fails(1, "container");

    engine.d("pause one").ok();
    assert!(status("one").ends_with("(Paused)"), "{}", status("one"));
    assert_eq!(engine.inspect("one", "{{.State.Status}} {{.State.Paused}}"), "paused true");
    engine.d("exec one true").fails(1, "is paused");
    engine.d("unpause one").ok();
    engine.d("unpause one").fails(1, "is not paused");

    engine.d("rename one two").ok();
    assert_eq!(engine.inspect("two", "{{.Name}}"), "/two");
    engine.d("inspect one").fails(1, "No such object: one");

    // `sleep` as process 1 has no handler for TERM: the kernel drops it, and KILL comes after the time is up.
    let start = Instant::now();
    engine.d("stop -t 1 two").ok();
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(status("two").starts_with("Exited (137)"), "{}", status("two"));
    assert_eq!(engine.http().call("POST", "/v1.41/containers/two/stop").status, 304);
    assert_eq!(engine.d("wait two").ok(), "137");

    engine.d("start two").ok();
    assert_eq!(engine.http().call("POST", "/v1.41/containers/two/start").status, 304);
    let first = engine.inspect("two", "{{.State.Pid}}");
    engine.d("restart -t 0 two").ok();
    assert_ne!(engine.inspect("two", "{{.State.Pid}}"), first);
    assert_eq!(engine.inspect("two", "{{.State.Running}}"), "true");
    engine.d("kill two").ok();
    eventually("the end", Duration::from_secs(5), || status("two").starts_with("Exited (137)").then_some(()));
    engine.d("kill two").fails(1, "is not running");
    engine.d("rm two").ok();

    let handler = "trap 'echo caught; exit 7' USR1; while :; do sleep 0.1; done";
    engine.docker(&["run", "-d", "--name", "three", "busybox", "sh", "-c", handler]).ok();
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| engine.d("wait three"));
        eventually("the trap", Duration::from_secs(10), || {
            engine.d("kill -s USR1 three").ok();
            sheave_tests::pause(Duration::from_millis(300));
            (engine.inspect("three", "{{.State.Running}}") == "false").then_some(())
        });
        waiting.join().expect("no panic")
    });
    assert_eq!(waiting.ok(), "7");
    assert_eq!(engine.d("logs three").ok(), "caught");
    engine.d("kill -s NONSENSE three").fails(1, "signal");

    engine.d("run -d --name four -v /anonymous busybox sleep 1000").ok();
    assert_eq!(engine.d("volume ls -q").ok().lines().count(), 1);
    engine.d("rm four").fails(1, "");
    engine.d("rm -f -v four").ok();
    assert_eq!(engine.d("volume ls -q").ok(), "");
    engine.d("rm four").fails(1, "No such container: four");
    engine.d("container prune -f").ok();
    assert_eq!(engine.d("ps -aq").ok(), "");
    kernel::back_to(&sandbox, &before);
}

#[test]
fn c5_events_and_inspect() {
    let sandbox = Sandbox::new("c5ev");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    engine.docker(&["run", "--name", "seen", "--label", "a=b", "--network", "none", "busybox", "sh", "-c", "exit 5"]);
    let events = engine.events(&["--filter", "container=seen", "--format", "{{.Action}}"]);
    let actions: Vec<&str> = events.lines().collect();
    let position = |action: &str| {
        actions.iter().position(|seen| *seen == action).unwrap_or_else(|| panic!("{action} in {actions:?}"))
    };
    assert!(
        position("create") < position("attach")
            && position("attach") < position("start")
            && position("start") < position("die")
    );
    let die = engine.events(&["--filter", "event=die", "--format", "{{json .Actor.Attributes}}"]);
    let die: serde_json::Value = serde_json::from_str(&die).expect("JSON");
    assert_eq!((&die["exitCode"], &die["a"], &die["name"]), (&json!("5"), &json!("b"), &json!("seen")));

    let seen = engine.http().get("/v1.41/containers/seen/json").expect(200);
    assert_eq!(seen["State"]["ExitCode"], 5);
    assert_eq!(seen["State"]["Status"], "exited");
    assert_eq!(seen["Config"]["Labels"]["a"], "b");
    assert_eq!(seen["Path"], "sh");
    assert_eq!(seen["Args"], json!(["-c", "exit 5"]));
    assert_eq!(seen["HostConfig"]["NetworkMode"], "none");
    assert_eq!(seen["State"]["Pid"], 0);
    assert!(
        seen["State"]["FinishedAt"].as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z')),
        "{seen}"
    );
    for key in [
        "Created",
        "Image",
        "LogPath",
        "Name",
        "Driver",
        "Platform",
        "MountLabel",
        "ProcessLabel",
        "AppArmorProfile",
        "HostsPath",
        "ResolvConfPath",
        "HostnamePath",
    ] {
        assert!(seen[key].is_string(), "{key} in {seen}");
    }
    let listed = engine.http().get("/v1.41/containers/json?all=1").expect(200);
    let listed = &listed[0];
    assert_eq!(listed["Names"], json!(["/seen"]));
    assert_eq!(listed["State"], "exited");
    assert_eq!(listed["Command"], "sh -c 'exit 5'");
    assert_eq!(listed["Labels"], json!({"a": "b", "org.sheave.test": "busybox"}));
    let filtered = |filter: &str| engine.docker(&["ps", "-aq", "--filter", filter]).ok().lines().count();
    for (filter, count) in [
        ("label=a", 1),
        ("label=a=c", 0),
        ("status=exited", 1),
        ("status=running", 0),
        ("exited=5", 1),
        ("exited=4", 0),
        ("name=see", 1),
        ("ancestor=busybox", 1),
        ("network=none", 1),
    ] {
        assert_eq!(filtered(filter), count, "{filter}");
    }
}
