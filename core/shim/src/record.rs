//! The files that outlive the shim: state and exit records.

use std::io;
use std::path::Path;

use serde::Serialize;

/// Writes a record so that a reader sees the old file or the new one, whole.
pub fn write<T: Serialize>(dir: &Path, name: &str, record: &T) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.new"));
    std::fs::write(&temporary, serde_json::to_vec(record)?)?;
    std::fs::rename(&temporary, dir.join(name))
}

/// The start time of a process in clock ticks since boot: field 22 of its `stat`.
pub fn start_time(pid: i32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    // The name may have spaces and parentheses in it; the last parenthesis ends it.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(bad)?;
    rest.split_whitespace().nth(19).and_then(|field| field.parse().ok()).ok_or_else(bad)
}

/// Tells this boot from others.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_grow() {
        let own = start_time(std::process::id() as i32).expect("own");
        assert!(own >= start_time(1).expect("first") && own > 0);
        assert!(start_time(0).is_err());
        assert_eq!(boot_id().expect("boot id").len(), 36);
    }
}
