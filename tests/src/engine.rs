//! A private engine: `sheaved`, or the dockerd whose behaviour the tests describe.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{self, Output};
use crate::http::Client;
use crate::{Sandbox, eventually};

/// Which program the tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `sheaved`, built beside the test.
    Sheaved,
    /// Debian's dockerd, to hold the expectations against it.
    Dockerd,
}

impl Program {
    /// As the environment variable `SHEAVE_TEST_ORACLE` says.
    ///
    /// # Panics
    /// If that is neither unset nor `dockerd`.
    pub fn chosen() -> Self {
        match std::env::var("SHEAVE_TEST_ORACLE").as_deref() {
            Err(_) => Self::Sheaved,
            Ok("dockerd") => Self::Dockerd,
            Ok(other) => panic!("SHEAVE_TEST_ORACLE={other}: the only oracle is dockerd"),
        }
    }
}

/// A program of the workspace, found beside the test.
///
/// # Panics
/// If it has not been built.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a program knows its path");
    let dir = test.parent().and_then(Path::parent).expect("target/debug/deps/test");
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: run `make build` first", path.display());
    path
}

/// A running engine with its own roots, socket and log below the sandbox's directory. It is killed when this is dropped.
pub struct Engine<'a> {
    sandbox: &'a Sandbox,
    program: Program,
    dir: PathBuf,
    arguments: Vec<String>,
    running: Option<(Child, i32)>,
}

impl<'a> Engine<'a> {
    /// Starts one and waits for its first answer.
    ///
    /// # Panics
    /// With its log, if it does not answer within 30 seconds.
    #[track_caller]
    pub fn start(sandbox: &'a Sandbox) -> Self {
        Self::start_with(sandbox, "engine", &[])
    }

    /// Starts one below `<sandbox>/<name>` with further flags.
    ///
    /// # Panics
    /// With its log, if it does not answer within 30 seconds.
    #[track_caller]
    pub fn start_with(sandbox: &'a Sandbox, name: &str, flags: &[&str]) -> Self {
        let mut engine = Self::prepare(sandbox, name, flags);
        engine.restart();
        engine
    }

    /// One that does not run yet.
    ///
    /// # Panics
    /// If its directory cannot be made.
    pub fn prepare(sandbox: &'a Sandbox, name: &str, flags: &[&str]) -> Self {
        let dir = sandbox.path().join(name);
        fs::create_dir_all(sandbox.inside(&dir.join("client"))).expect("a directory of the engine");
        let at = |file: &str| dir.join(file).display().to_string();
        let mut arguments = vec![
            format!("--host=unix://{}", at("sock")),
            format!("--data-root={}", at("data")),
            format!("--exec-root={}", at("run")),
            format!("--pidfile={}", at("pid")),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Self { sandbox, program: Program::chosen(), dir, arguments, running: None }
    }

    /// Starts the program, again with the same roots, and waits for its first answer.
    ///
    /// # Panics
    /// With its log, if it does not answer within 30 seconds.
    #[track_caller]
    pub fn restart(&mut self) {
        self.spawn();
        let client = self.http();
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            if client.try_send("GET", "/_ping", &[], b"").is_ok_and(|answer| answer.status == 200) {
                return;
            }
            let ended = self.running.as_mut().and_then(|(child, _)| child.try_wait().ok().flatten());
            assert!(
                ended.is_none() && std::time::Instant::now() < end,
                "the engine does not answer ({ended:?}); its log:\n{}",
                self.log()
            );
            crate::pause(Duration::from_millis(10));
        }
    }

    /// Starts the program and does not wait.
    ///
    /// # Panics
    /// If it runs already, or is not there.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "the engine runs already");
        let program = self.executable();
        let mut log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.sandbox.inside(&self.dir.join("log")))
            .expect("the engine's log");
        let _ = writeln!(log, "--- {} {}", program.display(), self.arguments.join(" "));
        let mut command = self.sandbox.command(program);
        command.args(&self.arguments).env("RUST_BACKTRACE", "1").env("XDG_RUNTIME_DIR", "/run").env("HOME", "/root");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut child = command.spawn().expect("nsenter");
        let pid = eventually("the engine's process", Duration::from_secs(5), || {
            let ended = child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "the engine ended at once ({ended:?}); its log:\n{}", self.log());
            crate::sandbox::child_of(child.id())
        });
        self.running = Some((child, pid));
    }

    /// Starts a program that should end by itself; gives its exit code and what it said.
    ///
    /// # Panics
    /// If it still runs after ten seconds.
    #[track_caller]
    pub fn run_to_end(&self) -> Output {
        command::run(self.sandbox.command(self.executable()).args(&self.arguments), b"", Duration::from_secs(10))
    }

    fn executable(&self) -> PathBuf {
        match self.program {
            Program::Sheaved => built("sheaved"),
            Program::Dockerd => PathBuf::from("dockerd"),
        }
    }

    /// Which program it is.
    pub fn program(&self) -> Program {
        self.program
    }

    /// Whether this is not Sheave but the oracle.
    pub fn is_oracle(&self) -> bool {
        self.program == Program::Dockerd
    }

    /// The directory that has `data`, `run`, `log` and the socket `sock`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process id as seen from outside the sandbox.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self) -> i32 {
        self.running.as_ref().expect("the engine runs").1
    }

    /// Everything it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.sandbox.inside(&self.dir.join("log"))).unwrap_or_default()
    }

    /// The raw client.
    pub fn http(&self) -> Client {
        Client::new(&self.sandbox.inside(&self.dir.join("sock")))
    }

    /// The address for `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.join("sock").display())
    }

    /// A program in the sandbox whose environment points Docker's clients here.
    pub fn client(&self, program: &str) -> Command {
        let mut command = self.sandbox.command(program);
        command
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_CONFIG", self.dir.join("client"))
            .env_remove("DOCKER_CONTEXT");
        command
    }

    /// Runs the stock CLI.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> Output {
        self.docker_in(arguments, b"")
    }

    /// Runs the stock CLI with words separated by spaces.
    #[track_caller]
    pub fn d(&self, line: &str) -> Output {
        self.docker(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs the stock CLI with something on its standard input.
    #[track_caller]
    pub fn docker_in(&self, arguments: &[&str], input: &[u8]) -> Output {
        let output = command::run(self.client("docker").args(arguments), input, Duration::from_secs(90));
        // Shown with a failing test only.
        println!("{output}");
        output
    }

    /// Pulls busybox from the registry at [`crate::images::REGISTRY`] and gives it the name `busybox`.
    #[track_caller]
    pub fn pull_busybox(&self) {
        self.docker(&["pull", "-q", crate::images::BUSYBOX]).ok();
        self.docker(&["tag", crate::images::BUSYBOX, "busybox"]).ok();
    }

    /// A value of `docker inspect`, by its template.
    #[track_caller]
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.docker(&["inspect", "--format", template, name]).ok()
    }

    /// The output of `docker events` with these flags, for all that happened so far.
    ///
    /// # Panics
    /// If the CLI fails.
    #[track_caller]
    pub fn events(&self, flags: &[&str]) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        // The CLI sends whole seconds, which would leave out what happened within the last one.
        let until = (now.as_secs() + 1).to_string();
        let mut line = vec!["events", "--since", "1h", "--until", &until];
        line.extend(flags);
        self.docker(&line).ok()
    }

    /// Ends it at once, as a crash would; what it has started goes on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let (mut child, pid) = self.running.take().expect("the engine runs");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the engine is there");
        child.wait().expect("nsenter ends with it");
    }

    /// Asks it to end, and waits.
    ///
    /// # Panics
    /// If it does not end within 20 seconds.
    pub fn stop(&mut self) {
        let (mut child, pid) = self.running.take().expect("the engine runs");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the engine is there");
        let code = command::wait(&mut child, Duration::from_secs(20));
        assert!(code.is_some(), "the engine does not end on SIGTERM; its log:\n{}", self.log());
    }

    /// Waits until a line with this text is in the log.
    ///
    /// # Panics
    /// If it does not come within ten seconds.
    #[track_caller]
    pub fn logs(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), Duration::from_secs(10), || {
            self.log().contains(text).then_some(())
        });
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        if self.running.is_some() {
            if std::thread::panicking() {
                let log = self.log();
                let start = log.len().saturating_sub(3000);
                println!("the end of the engine's log:\n{}", log.get(start..).unwrap_or(&log));
            }
            self.kill();
        }
    }
}
