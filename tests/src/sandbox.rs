//! Namespaces in which one test runs everything it starts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::command::{self, Output};

/// The script that becomes process 1 of the sandbox: it reaps what is orphaned there, and everything in it ends with it.
const INIT: &str = r#"
set -e
mount --make-rprivate /
ip link set lo up
root=$1
# /sys shows the network namespace of whoever mounted it.
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
# The cgroup hierarchies as a container sees them: the sandbox's own group is the root of each.
mount -t tmpfs -o mode=755 cgroup "$root/cgroup-new"
while read -r type where options; do
  name=${where#/sys/fs/cgroup}
  mkdir -p "$root/cgroup-new$name"
  case $type in
    cgroup2) mount -t cgroup2 cgroup2 "$root/cgroup-new$name" ;;
    cgroup)
      mount -t cgroup -o "$options" cgroup "$root/cgroup-new$name"
      [ ! -e "$root/cgroup-new$name/cgroup.clone_children" ] || echo 1 >"$root/cgroup-new$name/cgroup.clone_children" ;;
  esac
done <"$root/hierarchies"
mount --rbind "$root/cgroup-new" /sys/fs/cgroup
umount -l "$root/cgroup-new"
hostname sandbox
echo ready
exec >/dev/null 2>&1
while :; do sleep 3600 & wait $! || true; done
"#;

/// Namespaces with a directory; all of it goes when this is dropped.
pub struct Sandbox {
    name: String,
    dir: Option<tempfile::TempDir>,
    init: Child,
    pid: i32,
    cgroups: Vec<PathBuf>,
}

impl Sandbox {
    /// New namespaces; `test` is part of the names of what they are made of.
    ///
    /// # Panics
    /// Where the kernel or the user's rights do not allow it.
    pub fn new(test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sheave-{test}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Short: the path of a unix socket below it has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("sh").tempdir_in("/var/tmp").expect("a directory below /var/tmp");
        fs::create_dir(dir.path().join("cgroup-new")).expect("a directory of the sandbox");
        let hierarchies = hierarchies();
        let lines: Vec<String> =
            hierarchies.iter().map(|h| format!("{} {} {}\n", h.kind, h.mounted, h.options)).collect();
        fs::write(dir.path().join("hierarchies"), lines.concat()).expect("a file of the sandbox");
        let cgroups: Vec<PathBuf> = hierarchies.iter().map(|h| h.own_group.join(&name)).collect();
        for group in &cgroups {
            make_group(group);
        }
        // The shell joins the groups, then the namespaces are made, so that the cgroup namespace begins there.
        let joins: String = cgroups.iter().map(|g| format!("echo $$ > {}/cgroup.procs\n", g.display())).collect();
        let script = format!(
            "set -e\n{joins}exec unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child --mount-proc \
             --propagation private bash {0}/init {0}",
            dir.path().display()
        );
        fs::write(dir.path().join("init"), INIT).expect("a file of the sandbox");
        let mut init = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash");
        let mut line = String::new();
        let mut out = BufReader::new(init.stdout.take().expect("a pipe was asked for"));
        out.read_line(&mut line).expect("the first line of the sandbox");
        if line.trim() != "ready" {
            let mut error = String::new();
            let _ = std::io::Read::read_to_string(&mut init.stderr.take().expect("a pipe was asked for"), &mut error);
            panic!("the sandbox did not start: {line}{error}");
        }
        let pid = only_child(init.id());
        Self { name, dir: Some(dir), init, pid, cgroups }
    }

    /// The unique name of the sandbox.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A directory on the machine's own file system, for the sandbox alone. Its path has the same meaning inside and outside.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("there until drop").path()
    }

    /// The path from outside of what is at this path inside: the sandbox has mounts of its own.
    pub fn inside(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid)).join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The process id of the sandbox's process 1 as seen from outside.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The groups of the sandbox, one a hierarchy, as paths outside.
    pub fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    /// A program that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-m", "-n", "-p", "-u", "-i", "-C", "--wd=/", "--"]).arg(program);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs a shell script inside.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        command::run(self.command("sh").args(["-c", script]), b"", Duration::from_secs(60))
    }

    /// Calls on a thread in the sandbox's network namespace: sockets made there belong to it.
    ///
    /// # Panics
    /// When `work` panics.
    pub fn in_net<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = fs::File::open(format!("/proc/{}/ns/net", self.pid)).expect("the sandbox's network namespace");
        let joined = std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(&file, CloneFlags::CLONE_NEWNET).expect("root may enter the namespace");
                    work()
                })
                .join()
        });
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A connection from inside, within five seconds.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.in_net(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Process 1 of a process namespace takes all the others with it.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::Signal::SIGKILL);
        let _ = self.init.wait();
        for group in &self.cgroups {
            remove_group(group);
        }
        if std::env::var_os("SHEAVE_TEST_KEEP").is_some()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept {}", dir.keep().display());
        }
    }
}

struct Hierarchy {
    kind: String,
    mounted: String,
    options: String,
    own_group: PathBuf,
}

/// The cgroup hierarchies of the machine, and the group of this process in each.
fn hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let own = fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (mounted, kind) = (before.split(' ').nth(4).unwrap_or(""), after.split(' ').next().unwrap_or(""));
        if !mounted.starts_with("/sys/fs/cgroup") || !kind.starts_with("cgroup") {
            continue;
        }
        let names: Vec<&str> = after
            .rsplit(' ')
            .next()
            .unwrap_or("")
            .split(',')
            .filter(|o| !matches!(*o, "rw" | "ro" | "nsdelegate" | "memory_recursiveprot" | "xattr" | "clone_children"))
            .collect();
        let options =
            names.iter().filter(|name| !name.starts_with("release_agent")).copied().collect::<Vec<_>>().join(",");
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let same = if kind == "cgroup2" {
                controllers.is_empty()
            } else {
                options.split(',').any(|o| controllers.split(',').any(|c| c == o))
            };
            same.then_some(path)
        });
        let Some(path) = path else { continue };
        let options = if options.is_empty() { "none".to_owned() } else { options };
        found.push(Hierarchy {
            kind: kind.to_owned(),
            mounted: mounted.to_owned(),
            options,
            own_group: Path::new(mounted).join(path.trim_start_matches('/')),
        });
    }
    found
}

fn make_group(group: &Path) {
    fs::create_dir(group).unwrap_or_else(|error| panic!("{}: {error}", group.display()));
    // A v1 cpuset group starts without CPUs and memory nodes, and takes no process until it has some.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let (Some(parent), true) = (group.parent(), group.join(file).exists()) {
            let inherited = fs::read_to_string(parent.join(file)).unwrap_or_default();
            let _ = fs::write(group.join(file), inherited);
        }
    }
}

fn remove_group(group: &Path) {
    let children: Vec<PathBuf> = fs::read_dir(group)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    for child in children {
        remove_group(&child);
    }
    // The processes have been killed, yet the kernel needs a moment to take them out of the group.
    for _ in 0..200 {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => crate::pause(Duration::from_millis(10)),
            _ => return,
        }
    }
    eprintln!("could not remove {}", group.display());
}

/// The first child of a process: nsenter and unshare have one, which is the program that they run.
pub(crate) fn only_child(parent: u32) -> i32 {
    crate::eventually("the child of a process", Duration::from_secs(5), || child_of(parent))
}

/// The first child of a process, if it has one now.
pub(crate) fn child_of(parent: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
