//! A virtual machine with a kernel of its own, for what the kernel of this machine cannot be: its only cgroups are of version 2.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{command, images};

/// What a guest printed while it ran a script.
#[derive(Debug)]
pub struct Console(Vec<String>);

impl Console {
    /// The values of the lines `name: value`, in their order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    }

    /// Everything, for messages.
    pub fn text(&self) -> String {
        self.0.join("\n")
    }
}

/// Boots a guest that runs the shell script `script` with the workspace's programs on its PATH, and waits until it is off.
/// Directory `/layout` in it is an OCI image layout with the image of [`images::BUSYBOX`] under the tag `busybox`.
///
/// # Panics
/// If the guest cannot be made, does not power off within `limit`, or its script ends with another code than 0.
#[track_caller]
pub fn run(script: &str, programs: &[PathBuf], limit: Duration) -> Console {
    let base = images::dir().with_file_name("guest");
    assert!(base.join("stamp").exists(), "{} has no guest: run `make images` first", base.display());
    let dir = tempfile::Builder::new().prefix("shguest").tempdir_in("/var/tmp").expect("a directory below /var/tmp");
    let (test, archive) = (dir.path().join("test"), dir.path().join("initramfs"));
    std::fs::write(&test, script).expect("a file of the guest");
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup/guest-archive.sh");
    let mut packing = Command::new("bash");
    packing.arg(pack).args([&base, &archive, &test]).args(programs);
    command::run(&mut packing, b"", Duration::from_secs(60)).ok();
    let console = boot(&base.join("vmlinuz"), &archive, limit);
    assert_eq!(console.values("guest"), ["ready", "ended 0"], "the console of the guest:\n{}", console.text());
    console
}

fn boot(kernel: &Path, initramfs: &Path, limit: Duration) -> Console {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(processor()).args(["-m", "1536", "-smp", "2", "-nodefaults", "-no-user-config", "-display", "none"]);
    qemu.args(["-no-reboot", "-serial", "stdio", "-append", "console=ttyS0 quiet loglevel=1 panic=-1 nokaslr edd=off"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("qemu-system-x86_64 of the package qemu-system-x86");
    let out = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
    // Read beside the wait: the guest stands still when nobody takes what it prints.
    let reader = std::thread::spawn(move || {
        let lines = out.split(b'\n').map_while(Result::ok);
        lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()).collect()
    });
    let ended = command::wait(&mut child, limit);
    let console = Console(reader.join().expect("the reader does not panic"));
    assert_eq!(ended, Some(0), "the guest was not off within {limit:?}; its console:\n{}", console.text());
    console
}

/// The virtual processor. A machine that is virtual itself may have a `/dev/kvm` without the processor's virtualization
/// (`kvm_pvm`), under which only kernels made for it run; Debian's then runs on QEMU's emulated processor, several times slower.
fn processor() -> &'static [&'static str] {
    let hardware = ["kvm_intel", "kvm_amd"].iter().any(|name| Path::new("/sys/module").join(name).exists());
    if hardware && Path::new("/dev/kvm").exists() {
        &["-accel", "kvm", "-cpu", "host"]
    } else {
        eprintln!("this machine has no hardware virtualization: the guest's processor is emulated");
        &["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max"]
    }
}
