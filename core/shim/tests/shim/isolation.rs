//! What a container can see and do, compared with runc on the same specification, and attacks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sheave_shim::protocol::*;

use crate::harness::*;
use crate::lifecycle::assert_nothing_left;

/// Prints what a process is and sees, a section a heading.
const PROBE: &str = r#"
exec 2>/dev/null
s() { echo "== $1"; }
s status; grep -E '^(Cap|NoNewPrivs|Seccomp|Groups|Uid|Gid|Umask|SigBlk|SigIgn|Speculation)' /proc/self/status
s limits; cut -c1-60 /proc/self/limits
s oom; cat /proc/self/oom_score_adj
s cgroup; sed 's/[^:]*$//' /proc/self/cgroup | sort
s mounts; awk '{r=$0; sub(/.* - /,"",r); split(r,a," "); if ($5 == "/") a[1] = ""; print $5, $6, a[1]}' /proc/self/mountinfo | sort
s propagation; awk '{print $5, ($7=="-"?"private":"other")}' /proc/self/mountinfo | sort
s fds; (cd /proc/$$/fd && echo *)
s dev; cd /dev && ls -ln | awk 'NR>1{print $1, $3, $4, $5, $6, $NF}' | sort
s env; env | sort
s cwd; cat /proc/self/stat | awk '{print ($6==$1||$6==1) ? "session" : "none", $7}'
s rootdir; ls -d /*
s net; ls /sys/class/net
s names; hostname; cat /proc/sys/kernel/domainname
s masked; for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /sys/firmware; do [ -d $f ] && ls $f | wc -l || head -c 10 $f | wc -c; done
s writable; for f in /proc/sys/kernel/shmmax /proc/sysrq-trigger /sys/kernel/mm /sys/fs/cgroup /; do [ -w $f ] && echo $f yes || echo $f no; done
for f in /proc/sys/x /sys/x /sys/fs/cgroup/x /sys/fs/cgroup/memory/x /dev/x /x; do touch $f 2>/dev/null && echo $f made || echo $f refused; done
s devices; mknod /tmp/sda b 8 0 && (head -c1 /tmp/sda >/dev/null 2>&1 && echo read || echo refused); rm -f /tmp/sda
(mknod /tmp/mem c 1 1 && head -c1 /tmp/mem) >/dev/null 2>&1 && echo read || echo refused; rm -f /tmp/mem /x /dev/x
s mount; mount -t tmpfs x /tmp 2>/dev/null && echo mounted || echo refused
"#;

/// A difference from runc 1.1.5 that is meant: the section, what we show, how runc's line starts, and why.
struct Reviewed(&'static str, &'static str, &'static str, &'static str);

const REVIEWED: &[Reviewed] = &[
    Reviewed(
        "status",
        "SigIgn:\t0000000000000000",
        "SigIgn:",
        "we reset every signal; runc leaves 32 ignored where its caller ignores it",
    ),
    Reviewed(
        "mounts",
        "/sys/fs/cgroup ro,nosuid,nodev,noexec,relatime tmpfs",
        "/sys/fs/cgroup rw,nosuid,nodev,noexec,relatime tmpfs",
        "the specification asks for read-only, and gets it for the directory of the hierarchies too",
    ),
    Reviewed(
        "limits",
        "Max open files            64                   128",
        "Max open files            128                  128",
        "Go's runtime raises runc's own soft limit, and puts it back before exec only for the first process",
    ),
    Reviewed("writable", "/sys/fs/cgroup/x refused", "/sys/fs/cgroup/x made", "the same"),
    Reviewed("writable", "/sys/fs/cgroup no", "/sys/fs/cgroup yes", "the same"),
    Reviewed("mounts", "/proc/interrupts rw,relatime devtmpfs", "/proc/interrupts rw,nosuid tmpfs", MASK),
    Reviewed("mounts", "/proc/keys rw,relatime devtmpfs", "/proc/keys rw,nosuid tmpfs", MASK),
    Reviewed("mounts", "/proc/timer_list rw,relatime devtmpfs", "/proc/timer_list rw,nosuid tmpfs", MASK),
];

const MASK: &str = "masked with the host's /dev/null, which no image can replace (CVE-2025-31133)";

fn without_reviewed(name: &str, ours: &mut Vec<String>, theirs: &mut Vec<String>) {
    for Reviewed(section, our_line, their_start, why) in REVIEWED {
        assert!(!why.is_empty());
        let found = ours.iter().position(|line| line == our_line);
        let other = theirs.iter().position(|line| line.starts_with(their_start));
        if let (true, Some(found), Some(other)) = (*section == name, found, other) {
            ours.remove(found);
            theirs.remove(other);
        }
    }
}

fn sections(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        match line.strip_prefix("== ") {
            Some(heading) => name = heading.to_owned(),
            None => all.entry(name.clone()).or_default().push(line.trim_end().to_owned()),
        }
    }
    all
}

fn compare(ours: &str, theirs: &str, what: &str) {
    let (ours, theirs) = (sections(ours), sections(theirs));
    assert!(theirs.len() > 15, "runc's probe is short: {theirs:?}");
    let mut wrong = String::new();
    for (name, lines) in &theirs {
        let (mut found, mut lines) = (ours.get(name).cloned().unwrap_or_default(), lines.clone());
        without_reviewed(name, &mut found, &mut lines);
        if found != lines {
            let only = |a: &[String], b: &[String]| -> Vec<String> {
                a.iter().filter(|line| !b.contains(line)).cloned().collect()
            };
            wrong +=
                &format!("{what} {name}:\n  ours {:#?}\n  runc {:#?}\n", only(&found, &lines), only(&lines, &found));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The same container under runc: the output of the first process, and of an exec.
fn under_runc(bench: &Bench, exec: &Value) -> (String, String) {
    let bundle = bench.path("bundle");
    std::fs::create_dir(&bundle).expect("mkdir");
    let root = bundle.join("rootfs");
    assert!(Command::new("cp").arg("-a").arg(bench.path("lower")).arg(&root).status().expect("cp").success());
    let mut spec = bench.spec.clone();
    spec["linux"]["cgroupsPath"] = json!(format!("/sheave-shim-test/{}-runc", bench.id));
    std::fs::write(bundle.join("config.json"), spec.to_string()).expect("write");
    let id = format!("{}-runc", bench.id);
    let state = bench.path("runc-state");
    let runc = |args: &[&str]| {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&state).args(args).current_dir(&bundle);
        command.stdin(std::process::Stdio::null());
        command
    };
    let output = |mut command: Command| {
        let output = command.output().expect("runc is installed");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let first = output(runc(&["run", &id]));
    spec["process"]["args"] = json!(["sleep", "1000"]);
    std::fs::write(bundle.join("config.json"), spec.to_string()).expect("write");
    let null = || std::process::Stdio::null();
    assert!(runc(&["run", "-d", &id]).stdout(null()).stderr(null()).status().expect("runc").success());
    std::fs::write(bundle.join("process.json"), exec.to_string()).expect("write");
    let second = output(runc(&["exec", "-p", "process.json", &id]));
    assert!(runc(&["delete", "-f", &id]).status().expect("runc").success());
    (first, second)
}

fn agree(change: impl Fn(&mut Value)) {
    let mut bench = Bench::script(PROBE);
    change(&mut bench.spec);
    let ours = bench.run();
    assert_eq!(ours.stderr, "");
    let exec_process = bench.spec["process"].clone();
    bench.spec["process"]["args"] = json!(["sleep", "1000"]);
    let running = bench.start();
    let (exec, errors, _) = running.exec(exec_process.clone(), Seccomp::Init).expect("exec");
    assert_eq!(errors, "");
    running.finish();
    bench.spec["process"] = exec_process.clone();
    let (first, second) = under_runc(&bench, &exec_process);
    compare(&ours.stdout, &first, "first process");
    compare(&exec, &second, "exec");
    assert_nothing_left(&bench);
}

#[test]
fn as_runc_by_default() {
    agree(|_| {});
}

#[test]
fn as_runc_unprivileged() {
    agree(|spec| {
        let process = &mut spec["process"];
        process["user"] = json!({"uid": 1000, "gid": 100, "additionalGids": [20]});
        process["noNewPrivileges"] = json!(true);
        process["capabilities"] = json!({"bounding": ["CAP_CHOWN", "CAP_NET_RAW"]});
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]);
        spec["root"]["readonly"] = json!(true);
    });
}

#[test]
fn as_runc_ambient_and_namespaced_cgroups() {
    agree(|spec| {
        let process = &mut spec["process"];
        process["user"] = json!({"uid": 1000, "gid": 100});
        let set = json!(["CAP_NET_BIND_SERVICE"]);
        process["capabilities"] =
            json!({"bounding": set, "effective": set, "permitted": set, "inheritable": set, "ambient": set});
        spec["linux"]["namespaces"].as_array_mut().expect("list").push(json!({"type": "cgroup"}));
    });
}

#[test]
fn as_runc_privileged() {
    agree(|spec| {
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
        spec["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
        let all = json!(["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_DAC_OVERRIDE"]);
        spec["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
        for mount in spec["mounts"].as_array_mut().expect("mounts") {
            mount["options"].as_array_mut().expect("options").retain(|option| option != "ro");
        }
    });
}

/// `seccomp_data.nr == mkdir (83) or mkdirat (258)` → EPERM, else allow.
fn no_mkdir() -> Vec<u8> {
    let filter = |code: u16, jt: u8, jf: u8, k: u32| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([jt, jf]);
        bytes.extend(k.to_ne_bytes());
        bytes
    };
    [
        filter(0x20, 0, 0, 0),
        filter(0x15, 1, 0, libc::SYS_mkdir as u32),
        filter(0x15, 0, 1, libc::SYS_mkdirat as u32),
        filter(0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32),
        filter(0x06, 0, 0, 0x7fff_0000),
    ]
    .concat()
}

#[test]
fn seccomp_in_the_first_process_and_in_execs() {
    for no_new_privileges in [false, true] {
        let mut bench = Bench::script("mkdir /d 2>&1; grep Seccomp: /proc/self/status; sleep 1000");
        bench.seccomp = Some(no_mkdir());
        bench.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let mut running = bench.begin();
        let mut stream = running.attach();
        running.go();
        running.started().expect("start");
        let expected = "mkdir: can't create directory '/d': Operation not permitted\nSeccomp:\t2\n";
        assert_eq!(read_until(&mut stream, "Seccomp:\t2\n"), expected);
        let mut exec = process(&["/bin/sh", "-c", "mkdir /d 2>&1; grep Seccomp: /proc/self/status"]);
        exec["noNewPrivileges"] = json!(no_new_privileges);
        assert_eq!(running.exec(exec.clone(), Seccomp::Init).expect("exec").0, expected);
        assert_eq!(running.exec(exec, Seccomp::None).expect("exec").0, "Seccomp:\t0\n");
        running.finish();
    }
}

#[test]
fn a_link_as_mount_target_stays_inside() {
    let mut bench = Bench::script("cat /etc/where/file; ls /outside/x");
    let outside = bench.path("outside");
    std::fs::create_dir(&outside).expect("mkdir");
    std::fs::write(bench.path("file"), "bound\n").expect("write");
    let lower = bench.path("lower");
    std::os::unix::fs::symlink(format!("../../../../../..{}", outside.display()), lower.join("etc/where"))
        .expect("link");
    std::os::unix::fs::symlink(&outside, lower.join("outside")).expect("link");
    let bind = |to: &str, from: &Path| json!({"destination": to, "type": "bind", "source": from, "options": ["rbind", "rprivate", "ro"]});
    let mounts = bench.spec["mounts"].as_array_mut().expect("mounts");
    let file = bench.temporary.path().join("file");
    mounts.push(bind("/etc/where/file", &file));
    mounts.push(bind("/outside/x/y", &file));
    let done = bench.run();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("bound\ny\n", ""));
    assert!(std::fs::read_dir(&outside).expect("list").next().is_none(), "made outside");
}

#[test]
fn proc_cannot_be_replaced() {
    let bench = |destination: &str, typ: &str| {
        let mut bench = Bench::new(&["true"]);
        let source = bench.path("lower");
        let mount = json!({"destination": destination, "type": typ, "source": source, "options": ["rbind"]});
        bench.spec["mounts"].as_array_mut().expect("mounts").push(mount);
        bench
    };
    for destination in ["/proc", "/proc/self", "/tmp/../proc/sys", "/inside/self"] {
        let bench = bench(destination, "bind");
        std::os::unix::fs::symlink("/proc", bench.path("lower/inside")).expect("link");
        let failed = bench.try_start().err().expect(destination);
        assert!(failed.message.contains("proc"), "{failed:?}");
        assert_nothing_left(&bench);
    }
    // A link in the image in place of /proc.
    let bench = Bench::new(&["true"]);
    std::fs::remove_dir(bench.path("lower/proc")).expect("rmdir");
    std::os::unix::fs::symlink("tmp", bench.path("lower/proc")).expect("link");
    let failed = bench.try_start().err().expect("link");
    assert!(failed.message.contains("must be mounted on ordinary directory"), "{failed:?}");
}

#[test]
fn a_null_device_of_the_image_does_not_mask() {
    // CVE-2025-31133: /dev/null of the container as a link to what should be masked.
    let mut bench =
        Bench::script("cat /proc/timer_list | wc -c; cat /etc/passwd >/dev/null; ls -l /proc/timer_list | cut -c1");
    bench.spec["mounts"].as_array_mut().expect("mounts").retain(|mount| mount["destination"] != "/dev");
    std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", bench.path("lower/dev/null")).expect("link");
    let done = bench.run();
    assert!(done.stdout.starts_with("0\n") && done.stdout.ends_with("c\n"), "{done:?}");
}

#[test]
fn a_working_directory_outside_is_refused() {
    // CVE-2024-21626: a descriptor of the host as working directory.
    for fd in 3..24 {
        let mut bench = Bench::new(&["ls", "../../../../.."]);
        bench.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        let failed = bench.try_start().err().expect("refused");
        assert!(matches!(failed.stage, Stage::Cwd), "{failed:?}");
    }
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.start();
    for fd in 3..24 {
        let mut exec = process(&["ls"]);
        exec["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        let failed = running.exec(exec, Seccomp::None).expect_err("refused");
        assert!(matches!(failed.stage, Stage::Cwd), "{failed:?}");
    }
    running.finish();
}

#[test]
fn our_executable_cannot_be_written() {
    // CVE-2019-5736, as far as it can be seen from outside: every way to our file goes through a read-only mount.
    let bench = Bench::new(&["sleep", "1000"]);
    let running = bench.start();
    let exe = format!("/proc/{}/exe", running.shim.process.pid);
    let flags = nix::sys::statvfs::statvfs(exe.as_str()).expect("statvfs").flags();
    assert!(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY));
    assert!(std::fs::OpenOptions::new().append(true).open(exe).is_err());
    running.finish();
    // The container's program is our file itself; it cannot run there, and says so or fails.
    let mut bench = Bench::new(&["/proc/self/exe"]);
    bench.spec["process"]["capabilities"]["effective"].as_array_mut().expect("set").push(json!("CAP_SYS_ADMIN"));
    if let Ok(running) = bench.try_start() {
        running.wait();
        running.release();
    }
}

#[test]
fn binds_and_propagation() {
    let mut bench = Bench::script(
        "grep -E ' /(a|b|c|d) ' /proc/self/mountinfo | sed 's/ - .*//; s/:[0-9]*//g' | cut -d' ' -f5-; \
         touch /a/f /c/sub/f; touch /b/sub/f",
    );
    let source = bench.path("source");
    std::fs::create_dir_all(source.join("sub")).expect("mkdir");
    let sub = source.join("sub");
    nix::mount::mount(Some("t"), &sub, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).expect("mount");
    let mounts = bench.spec["mounts"].as_array_mut().expect("mounts");
    for (to, options) in [
        ("/a", json!(["rbind", "rprivate"])),
        ("/b", json!(["rbind", "rprivate", "ro", "rro"])),
        ("/c", json!(["rbind", "rprivate", "ro", "nosuid"])),
        ("/d", json!(["rbind", "rslave", "noexec"])),
    ] {
        mounts.push(json!({"destination": to, "type": "bind", "source": source, "options": options}));
    }
    let done = bench.run();
    nix::mount::umount(&sub).expect("umount");
    let lines: Vec<&str> = done.stdout.lines().collect();
    let starts = ["/a rw,", "/b ro,", "/c ro,nosuid,", "/d rw,noexec,"];
    assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{lines:?}");
    assert_eq!(done.stderr, "touch: /b/sub/f: Read-only file system\n");
    assert!(source.join("f").exists());
}
