//! The audit log: one JSON line an operation that changes something or was denied: who, what, verdicts, outcome.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// What one hook said.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The hook's name.
    pub hook: String,
    /// `allow`, `deny`, `amend` or `unavailable`.
    pub verdict: &'static str,
    /// Why it denied.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// One line of the log.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// RFC 3339, UTC.
    pub time: String,
    /// The action's name, for example `container.create`.
    pub action: &'a str,
    /// The name or id that the request named.
    pub object: &'a str,
    /// The caller's user id, from a unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The caller's process id, from a unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The listener that the request came by.
    pub listener: &'a str,
    /// What each hook said, in order.
    pub verdicts: &'a [Verdict],
    /// The HTTP status of the answer.
    pub status: u16,
    /// How long the operation took until its answer began, in microseconds.
    pub micros: u64,
}

/// An audit log in a file that only its owner can read.
#[derive(Debug)]
pub struct AuditLog {
    file: Mutex<File>,
}

impl AuditLog {
    /// Opens the log for appending, and makes it with mode 0600 if it is missing.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Appends a line; one write, so that lines never mix.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn record(&self, record: &Record<'_>) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// The present time as the log writes it.
pub fn timestamp() -> String {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_lines() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("audit.log");
        let log = AuditLog::open(&path).expect("open");
        let verdicts = [Verdict { hook: "policy".into(), verdict: "deny", reason: "no".into() }];
        let record = Record {
            time: timestamp(),
            action: "container.create",
            object: "x",
            uid: Some(0),
            pid: None,
            listener: "unix",
            verdicts: &verdicts,
            status: 403,
            micros: 12,
        };
        log.record(&record).expect("record");
        log.record(&record).expect("record");
        let text = std::fs::read_to_string(&path).expect("read");
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("json")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["verdicts"][0]["reason"], "no");
    }
}
