//! What an engine has in the kernel: taken before and after, compared, so that nothing is left over.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Sandbox;

/// Everything in the namespaces of a sandbox, one line a thing, such as `mount overlay /var/…` or `link br0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// What is there now.
    ///
    /// # Panics
    /// If the sandbox's /proc cannot be read.
    pub fn take(sandbox: &Sandbox) -> Self {
        let mut lines = BTreeSet::new();
        processes(sandbox, &mut lines);
        mounts(sandbox, &mut lines);
        for group in sandbox.cgroups() {
            cgroups(group, group, &mut lines);
        }
        let network = "ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/link \\1/'; \
            ip -o -4 addr | awk '{print \"address\", $2, $4}'; \
            ip route show table all | grep -vE '^broadcast|fe80::' | sed 's/^/route /; s/ *linkdown//; s/ *$//'; \
            nft list ruleset | sed -E 's/counter packets [0-9]+ bytes [0-9]+/counter/; s/ expires [0-9a-z]+//; s/^[ \\t]*//; s/^/nft /' | grep -v 'nft $'";
        lines.extend(sandbox.sh(network).ok().lines().map(str::to_owned));
        Self(lines)
    }

    /// What is there when nothing changes any more: the end of a container is told before all of it has been taken down.
    ///
    /// # Panics
    /// If it still changes after ten seconds.
    pub fn settled(sandbox: &Sandbox) -> Self {
        let mut last = Self::take(sandbox);
        crate::eventually("a kernel at rest", Duration::from_secs(10), || {
            crate::pause(Duration::from_millis(300));
            let now = Self::take(sandbox);
            let rest = now == last;
            last = now;
            rest.then(|| last.clone())
        })
    }

    /// What is here and not in `before`, and the other way round, as lines with `+` and `-`; empty if nothing changed.
    pub fn since(&self, before: &Self) -> String {
        let mut text = String::new();
        for line in self.0.difference(&before.0) {
            let _ = writeln!(text, "+ {line}");
        }
        for line in before.0.difference(&self.0) {
            let _ = writeln!(text, "- {line}");
        }
        text
    }

    /// The lines that begin with this word and a space.
    pub fn of(&self, kind: &str) -> Vec<&str> {
        self.0.iter().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')).collect()
    }
}

/// Waits until the state is again as it was: teardown may go on after the engine has answered.
///
/// # Panics
/// With the difference, if it is still there after ten seconds.
#[track_caller]
pub fn back_to(sandbox: &Sandbox, before: &Snapshot) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let difference = Snapshot::take(sandbox).since(before);
        if difference.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "left in the kernel:\n{difference}");
        crate::pause(Duration::from_millis(100));
    }
}

/// Names below a directory, relative, sorted, at most `depth` deep: what an operation left on disk.
pub fn tree(dir: &Path, depth: usize) -> Vec<String> {
    fn walk(dir: &Path, base: &Path, depth: usize, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            found.push(path.strip_prefix(base).unwrap_or(&path).display().to_string());
            if depth > 1 && path.is_dir() && !path.is_symlink() {
                walk(&path, base, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, depth, &mut found);
    found.sort();
    found
}

fn processes(sandbox: &Sandbox, lines: &mut BTreeSet<String>) {
    // The sandbox's own /proc: it lists the processes of the sandbox and of all namespaces below.
    let proc = format!("/proc/{}/root/proc", sandbox.pid());
    for entry in fs::read_dir(&proc).expect("the sandbox's /proc").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "1" || !name.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        // It may have ended since.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // The engine itself comes back with another number after a crash.
        let program = line.split(' ').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let engine = ["sheaved", "dockerd", "containerd"].contains(&program);
        let own = engine || line.trim() == "sleep 3600" || program == "docker-registry";
        let state = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // A zombie of the sandbox's process 1 is about to be reaped.
        let zombie = state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
        if !own && !zombie && !state.is_empty() {
            lines.insert(format!("process {name} {line}"));
        }
    }
}

fn mounts(sandbox: &Sandbox, lines: &mut BTreeSet<String>) {
    let text = fs::read_to_string(format!("/proc/{}/mountinfo", sandbox.pid())).expect("the sandbox's /proc");
    for line in text.lines() {
        let place = line.split(' ').nth(4).unwrap_or_default();
        let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        lines.insert(format!("mount {kind} {place}"));
    }
}

fn cgroups(group: &Path, base: &Path, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            let hierarchy = base.strip_prefix("/sys/fs/cgroup").unwrap_or(base);
            let hierarchy = hierarchy.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
            let name = path.strip_prefix(base).unwrap_or(&path);
            lines.insert(format!("cgroup {} {}", hierarchy.unwrap_or_default(), name.display()));
            cgroups(&path, base, lines);
        }
    }
}
