//! Starting shims and talking to them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use sheave_shim::client::{Connection, Shim};
use sheave_shim::protocol::*;
use sheave_shim::wire::Kind;

/// The program under test.
pub const SHIM: &str = env!("CARGO_BIN_EXE_sheave-shim");

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory with a busybox root file system, and everything to make containers of it.
pub struct Bench {
    pub temporary: tempfile::TempDir,
    pub id: String,
    pub spec: Value,
    pub stdio: Stdio,
    pub log: bool,
    pub max_size: Option<u64>,
    pub max_file: u32,
    pub seccomp: Option<Vec<u8>>,
    pub runtime: Option<ExternalRuntime>,
}

/// What a finished container left.
#[derive(Debug)]
pub struct Finished {
    pub exit: ExitRecord,
    pub stdout: String,
    pub stderr: String,
    pub log: String,
    pub warnings: Vec<String>,
}

impl Bench {
    /// A container that runs `args`.
    pub fn new(args: &[&str]) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        let temporary = tempfile::Builder::new().prefix("sheave-shim-").tempdir_in("/tmp").expect("directory");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("shimtest-{}-{number}", std::process::id());
        make_rootfs(&temporary.path().join("lower"));
        for dir in ["run", "upper", "work"] {
            std::fs::create_dir(temporary.path().join(dir)).expect("mkdir");
        }
        let (stdio, log) = (Stdio::default(), true);
        let spec = spec(args);
        Self { temporary, id, spec, stdio, log, max_size: None, max_file: 1, seccomp: None, runtime: None }
    }

    /// A container that runs a shell script.
    pub fn script(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    pub fn dir(&self) -> PathBuf {
        self.path("run")
    }

    pub fn placement(&self) -> CgroupPlacement {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        CgroupPlacement::detect(&mountinfo, &Path::new("sheave-shim-test").join(&self.id))
    }

    pub fn log_path(&self) -> PathBuf {
        self.path("container-json.log")
    }

    pub fn launch(&self) -> Launch {
        let target = PathBuf::new();
        let (upper, work) = (Some(self.path("upper")), Some(self.path("work")));
        let lowers = vec![self.path("lower")];
        let log = LogFile {
            path: self.log_path(),
            max_size: self.max_size,
            max_file: self.max_file,
            attrs: Default::default(),
        };
        Launch {
            id: self.id.clone(),
            spec: serde_json::from_value(self.spec.clone()).expect("spec"),
            rootfs: vec![RootMount::Overlay { target, lowers, upper, work, options: vec![] }],
            cgroup: self.placement(),
            seccomp: self.seccomp.is_some(),
            stdio: self.stdio,
            log: self.log.then_some(log),
            runtime: self.runtime.clone(),
        }
    }

    /// A shim that was told to launch; the network is not yet there.
    pub fn begin(&self) -> Running {
        let mut shim = Shim::start(Path::new(SHIM), &self.dir()).expect("shim");
        let filter = self.seccomp.as_ref().map(|program| memory_file(program));
        let fds: Vec<BorrowedFd<'_>> = filter.iter().map(AsFd::as_fd).collect();
        shim.send(&ToShim::Launch(Box::new(self.launch())), &fds).expect("launch");
        Running { shim, warnings: Vec::new(), released: false }
    }

    /// A running container, or why there is none.
    pub fn try_start(&self) -> Result<Running, Failure> {
        let mut running = self.begin();
        running.go();
        running.started().map(|started| {
            running.warnings = started.warnings;
            running
        })
    }

    pub fn start(&self) -> Running {
        self.try_start().expect("start")
    }

    /// Runs it to its end with everything attached.
    pub fn run(&self) -> Finished {
        let mut running = self.begin();
        let mut stream = running.attach();
        running.go();
        let warnings = running.started().expect("start").warnings;
        let (stdout, stderr, exit) = drain(&mut stream);
        running.release();
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Finished { exit, stdout: text(stdout), stderr: text(stderr), log, warnings }
    }
}

/// A shim with its container.
pub struct Running {
    pub shim: Shim,
    pub warnings: Vec<String>,
    released: bool,
}

impl Drop for Running {
    /// After a failed assertion: nothing may stay behind.
    fn drop(&mut self) {
        if self.released {
            return;
        }
        if let Ok(mut connection) = Connection::open(&self.shim.dir) {
            let _ = connection.request(&Request::Kill { signal: 9, all: false }, &[]);
            let _ = connection.request(&Request::Wait, &[]);
            let _ = connection.request(&Request::Release, &[]);
        }
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.shim.process.pid), nix::sys::signal::SIGKILL);
    }
}

impl Running {
    pub fn go(&mut self) {
        // A set-up that failed by now has left its answer, and nobody to read this.
        let _ = self.shim.send(&ToShim::Network(Network::default()), &[]);
    }

    pub fn started(&mut self) -> Result<Started, Failure> {
        match self.shim.receive().expect("answer") {
            FromShim::Started(started) => Ok(started),
            FromShim::Failed(failed) => {
                self.shim.process.wait().expect("wait");
                self.released = true;
                Err(failed)
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn connect(&self) -> Connection {
        Connection::open(&self.shim.dir).expect("connect")
    }

    pub fn ask(&self, request: &Request) -> Response {
        match self.connect().request(request, &[]) {
            Ok((response, _)) => response,
            Err(sheave_shim::Error::Refused { kind, message }) => Response::Error { kind, message },
            Err(error) => panic!("{request:?}: {error}"),
        }
    }

    pub fn attach(&self) -> Connection {
        let mut stream = self.connect();
        let all = Attach { stdin: true, stdout: true, stderr: true };
        assert_eq!(stream.request(&Request::Attach(all), &[]).expect("attach").0, Response::Attached);
        stream
    }

    pub fn state(&self) -> ContainerState {
        match self.ask(&Request::State) {
            Response::State(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    pub fn wait(&self) -> ExitRecord {
        match self.ask(&Request::Wait) {
            Response::Exited(record) => record,
            other => panic!("{other:?}"),
        }
    }

    pub fn kill(&self, signal: i32) {
        assert_eq!(self.ask(&Request::Kill { signal, all: false }), Response::Done);
    }

    /// Runs a process to its end.
    pub fn exec(&self, process: Value, seccomp: Seccomp) -> Result<(String, String, ExitRecord), Failure> {
        let mut stream = self.connect();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let exec = Exec {
            id: format!("exec{number}"),
            process: serde_json::from_value(process).expect("process"),
            seccomp,
            terminal: None,
            attach: Attach { stdin: false, stdout: true, stderr: true },
            detach: false,
        };
        match stream.request(&Request::Exec(Box::new(exec)), &[]).expect("exec").0 {
            Response::ExecStarted(_) => {}
            Response::ExecFailed(failed) => return Err(failed),
            other => panic!("{other:?}"),
        }
        let (stdout, stderr, exit) = drain(&mut stream);
        Ok((String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned(), exit))
    }

    /// Kills what runs, and ends the shim.
    pub fn finish(self) -> ExitRecord {
        let _ = self.connect().request(&Request::Kill { signal: 9, all: false }, &[]);
        let record = self.wait();
        self.release();
        record
    }

    /// As if the daemon had died.
    pub fn lose_control(mut self) -> sheave_shim::client::Process {
        self.released = true;
        let (_, other) = std::os::unix::net::UnixStream::pair().expect("pair");
        self.shim.control = Connection::new(other);
        let (pid, pidfd) = (self.shim.process.pid, self.shim.process.pidfd.try_clone().expect("clone"));
        sheave_shim::client::Process { pid, pidfd }
    }

    pub fn release(mut self) {
        let mut connection = self.connect();
        connection.request(&Request::Wait, &[]).expect("wait");
        assert_eq!(connection.request(&Request::Release, &[]).expect("release").0, Response::Done);
        self.shim.process.wait().expect("wait");
        self.released = true;
    }
}

/// Everything up to the exit.
pub fn drain(stream: &mut Connection) -> (Vec<u8>, Vec<u8>, ExitRecord) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        let frame = stream.receive().expect("frame");
        match frame.kind {
            Kind::Stdout => stdout.extend(frame.payload),
            Kind::Stderr => stderr.extend(frame.payload),
            _ => match frame.message::<Response>().expect("message") {
                Response::Exited(record) => return (stdout, stderr, record),
                other => panic!("{other:?}"),
            },
        }
    }
}

/// Reads stdout up to and with this text.
pub fn read_until(stream: &mut Connection, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let frame = stream.receive().expect("frame");
        assert_eq!(frame.kind, Kind::Stdout, "after {seen:?}: {}", String::from_utf8_lossy(&frame.payload));
        seen += &String::from_utf8_lossy(&frame.payload);
    }
    seen
}

pub fn memory_file(bytes: &[u8]) -> OwnedFd {
    use std::io::Write;
    let fd = nix::sys::memfd::memfd_create("filter", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).expect("memfd");
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).expect("write");
    file.into()
}

fn make_rootfs(root: &Path) {
    for dir in ["bin", "dev", "proc", "sys", "tmp", "etc", "root", "run"] {
        std::fs::create_dir_all(root.join(dir)).expect("mkdir");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().expect("list").stdout;
    for applet in String::from_utf8(list).expect("text").lines() {
        // busybox itself is in the list.
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(applet));
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("write");
}

/// The process of [`spec`].
pub fn process(args: &[&str]) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ];
    json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]},
        "args": args,
        "env": ["PATH=/usr/bin:/bin", "HOME=/root"],
        "cwd": "/",
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        "oomScoreAdj": 0,
    })
}

/// A specification as Docker makes it.
pub fn spec(args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": process(args),
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                "/sys/devices/virtual/powercap", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
