//! The engines under measurement: each in a network namespace of its own, with a registry on its loopback.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sheave_tests::http::Client;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Sheave,
    Dockerd,
    Podman,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sheave => "sheave",
            Self::Dockerd => "dockerd",
            Self::Podman => "podman",
        })
    }
}

const PORT: u16 = 5000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A running engine.
pub(crate) struct Engine {
    pub(crate) kind: Kind,
    dir: PathBuf,
    namespace: String,
    client: Client,
    daemon: Child,
    registry: Child,
}

fn sh(script: &str) -> bool {
    Command::new("sh").args(["-c", script]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

fn release(program: &str) -> String {
    let own = std::env::current_exe().expect("the path of this program");
    own.with_file_name(program).to_string_lossy().into_owned()
}

/// Starts the three engines; the registry of each serves `images`.
pub(crate) fn start_all(images: &Path) -> Vec<Engine> {
    [Kind::Sheave, Kind::Dockerd, Kind::Podman].into_iter().map(|kind| start(kind, images)).collect()
}

fn start(kind: Kind, images: &Path) -> Engine {
    let namespace = format!("shbench-{kind}-{}", std::process::id());
    let dir = PathBuf::from("/var/tmp").join(&namespace);
    std::fs::create_dir_all(&dir).expect("a directory below /var/tmp");
    assert!(sh(&format!("ip netns add {namespace} && ip -n {namespace} link set lo up")), "no namespace {namespace}");
    let log = |name: &str| std::fs::File::create(dir.join(name)).expect("a log file");
    let registry_config = format!(
        "version: 0.1\nlog: {{accesslog: {{disabled: false}}, level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{PORT}\"}}\n",
        images.join("registry").display()
    );
    std::fs::write(dir.join("registry.yml"), registry_config).expect("the registry's configuration");
    let registry = inside(&namespace, "docker-registry")
        .arg("serve")
        .arg(dir.join("registry.yml"))
        .stdout(log("registry.log"))
        .stderr(log("registry.err"))
        .spawn()
        .expect("docker-registry");
    let mut command = inside(&namespace, &program(kind));
    command.args(flags(kind, &dir)).stdin(Stdio::null()).stdout(log("daemon.out")).stderr(log("daemon.log"));
    let daemon = command.spawn().expect("the engine");
    let client = Client::new(&dir.join("engine.sock"));
    let engine = Engine { kind, dir, namespace, client, daemon, registry };
    let until = Instant::now() + PATIENCE;
    while engine.client.try_send("GET", "/_ping", &[], &[]).is_err() {
        assert!(Instant::now() < until, "{kind} did not start; see {}", engine.dir.join("daemon.log").display());
        sheave_tests::pause(Duration::from_millis(50));
    }
    engine
}

fn program(kind: Kind) -> String {
    match kind {
        Kind::Sheave => release("sheaved"),
        Kind::Dockerd => "/usr/sbin/dockerd".to_owned(),
        Kind::Podman => "/usr/bin/podman".to_owned(),
    }
}

fn flags(kind: Kind, dir: &Path) -> Vec<String> {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let socket = format!("unix://{}", at("engine.sock"));
    match kind {
        Kind::Sheave | Kind::Dockerd => vec![
            "--host",
            &socket,
            "--data-root",
            &at("data"),
            "--exec-root",
            &at("exec"),
            "--pidfile",
            &at("pid"),
            "--log-level",
            "error",
        ]
        .into_iter()
        .map(str::to_owned)
        .collect(),
        Kind::Podman => {
            let insecure = format!("[[registry]]\nlocation = \"127.0.0.1:{PORT}\"\ninsecure = true\n");
            std::fs::write(at("registries.conf"), insecure).expect("registries.conf");
            let (root, run, config) = (at("data"), at("exec"), at("registries.conf"));
            let limits = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=20000:20000\"]\n";
            std::fs::write(at("containers.conf"), limits).expect("containers.conf");
            vec![
                "--root",
                &root,
                "--runroot",
                &run,
                "--runtime",
                "runc",
                "--cgroup-manager",
                "cgroupfs",
                "--registries-conf",
                &config,
                "system",
                "service",
                "--time",
                "0",
                &socket,
            ]
            .into_iter()
            .map(str::to_owned)
            .collect()
        }
    }
}

impl Engine {
    fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{PORT}/{name}:latest")
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (headers, bytes): (&[(&str, &str)], Vec<u8>) = match body {
            Value::Null => (&[], Vec::new()),
            body => (&[("Content-Type", "application/json")], body.to_string().into_bytes()),
        };
        let answer = self.client.send(method, path, headers, &bytes);
        assert!(answer.status < 400, "{} {method} {path}: {} {}", self.kind, answer.status, answer.text());
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    pub(crate) fn pull(&self, name: &str) {
        let path =
            format!("/v1.41/images/create?fromImage=127.0.0.1%3A{PORT}%2F{}&tag=latest", name.replace('/', "%2F"));
        let answer = self.client.send("POST", &path, &[], &[]);
        assert!(answer.status == 200 && !answer.text().contains("errorDetail"), "{}: {}", self.kind, answer.text());
    }

    pub(crate) fn remove_image(&self, name: &str) {
        self.call("DELETE", &format!("/v1.41/images/{}?force=1", self.image(name)), &Value::Null);
    }

    fn create(&self, name: &str, command: &[&str], network: &str) -> String {
        let body = json!({"Image": self.image("test/busybox"), "Cmd": command, "HostConfig": {"NetworkMode": network}});
        let query = if name.is_empty() { String::new() } else { format!("?name={name}") };
        self.call("POST", &format!("/v1.41/containers/create{query}"), &body)["Id"].as_str().expect("an id").to_owned()
    }

    /// One container from its creation to its removal.
    pub(crate) fn run_true(&self, network: &str) {
        let id = self.create("", &["true"], network);
        self.call("POST", &format!("/v1.41/containers/{id}/start"), &Value::Null);
        let code = self.call("POST", &format!("/v1.41/containers/{id}/wait"), &Value::Null);
        assert!(code["StatusCode"] == 0, "{}: {code}", self.kind);
        self.call("DELETE", &format!("/v1.41/containers/{id}"), &Value::Null);
    }

    pub(crate) fn create_sleep(&self, name: &str) -> String {
        self.create(name, &["sleep", "100000"], "none")
    }

    pub(crate) fn start_sleep(&self, name: &str) -> String {
        let id = self.create_sleep(name);
        self.call("POST", &format!("/v1.41/containers/{id}/start"), &Value::Null);
        id
    }

    pub(crate) fn delete(&self, id: &str) {
        self.call("DELETE", &format!("/v1.41/containers/{id}?force=1"), &Value::Null);
    }

    /// Lists on one connection for three seconds.
    pub(crate) fn lists_per_second(&self) -> f64 {
        use std::io::{BufRead, BufReader, Read, Write};
        let mut stream = BufReader::new(self.client.connect().expect("a connection"));
        let (started, mut count) = (Instant::now(), 0_u32);
        while started.elapsed() < Duration::from_secs(3) {
            stream
                .get_mut()
                .write_all(b"GET /v1.41/containers/json?all=1 HTTP/1.1\r\nHost: bench\r\n\r\n")
                .expect("a request");
            let (mut line, mut length, mut chunked) = (String::new(), 0_usize, false);
            loop {
                line.clear();
                stream.read_line(&mut line).expect("a header");
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                chunked |= lower.starts_with("transfer-encoding:");
                if line == "\r\n" {
                    break;
                }
            }
            if chunked {
                while sheave_tests::http::read_chunk(&mut stream).expect("a chunk").is_some() {}
            } else {
                let copied =
                    std::io::copy(&mut (&mut stream).take(length as u64), &mut std::io::sink()).expect("a body");
                assert!(copied == length as u64 && length > 100_000, "{}: a list of {length} bytes", self.kind);
            }
            count += 1;
        }
        f64::from(count) / started.elapsed().as_secs_f64()
    }

    /// Proportional set size of the daemon and the processes that it needs without any container.
    pub(crate) fn pss_kib(&self) -> f64 {
        let pattern = match self.kind {
            Kind::Sheave => "sheaved",
            Kind::Dockerd => "dockerd|containerd",
            Kind::Podman => "podman",
        };
        let script = format!(
            "for p in $(pgrep -f '{}' | while read p; do grep -qaE '{pattern}' /proc/$p/comm && echo $p; done); do cat /proc/$p/smaps_rollup; done | awk '/^Pss:/{{s+=$2}} END{{print s+0}}'",
            self.dir.display()
        );
        number(&script)
    }

    /// Private memory of a shim, the mean over all of them.
    pub(crate) fn shim_private_kib(&self) -> f64 {
        let script = format!(
            "for p in $(pgrep -f 'sheave-shim.*{}'); do cat /proc/$p/smaps_rollup; echo shim; done | awk '/^Private_(Clean|Dirty):/{{s+=$2}} /^shim/{{n++}} END{{print n ? s/n : 0}}'",
            self.dir.display()
        );
        number(&script)
    }

    /// How many blobs the registry has sent.
    pub(crate) fn blobs_served(&self) -> usize {
        let log = std::fs::read_to_string(self.dir.join("registry.log")).unwrap_or_default();
        log.lines().filter(|l| l.contains("GET /v2/") && l.contains("/blobs/")).count()
    }
}

fn number(script: &str) -> f64 {
    let output = Command::new("sh").args(["-c", script]).output().expect("sh");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(f64::NAN)
}

impl Drop for Engine {
    fn drop(&mut self) {
        let namespace = &self.namespace;
        // Asked first; dockerd takes its containerd along.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).unwrap_or(0)),
            nix::sys::signal::Signal::SIGTERM,
        );
        let until = Instant::now() + Duration::from_secs(15);
        while matches!(self.daemon.try_wait(), Ok(None)) && Instant::now() < until {
            sheave_tests::pause(Duration::from_millis(50));
        }
        for child in [&mut self.daemon, &mut self.registry] {
            let _ = child.kill();
            let _ = child.wait();
        }
        sh(&format!("for p in $(ip netns pids {namespace}); do kill -9 $p; done"));
        sh(&format!(
            "grep -o ' {} [^ ]*' /proc/self/mountinfo; awk '{{print $5}}' /proc/self/mountinfo | grep '^{}' | sort -r | xargs -r -n1 umount -l",
            self.dir.display(),
            self.dir.display()
        ));
        sh(&format!("ip netns del {namespace}; rm -rf {}", self.dir.display()));
    }
}
