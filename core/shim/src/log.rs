//! Docker's json-file log: one JSON object a line, rotated by size.
//!
//! Source of the format: `daemon/logger/jsonfilelog` and `daemon/logger/copier.go` of moby.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use sheave_shim::protocol::LogFile;

/// A line longer than this is cut into records without a newline.
const MAX_RECORD: usize = 16 << 10;

/// Which stream a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// stdout, and all of a terminal.
    Stdout = 0,
    /// stderr.
    Stderr = 1,
}

/// Makes records of output and appends them to the file.
#[derive(Debug)]
pub struct Log {
    config: LogFile,
    attrs: String,
    file: File,
    size: u64,
    partial: [Partial; 2],
    lost: u64,
}

/// The start of a line whose end has not come.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// When the line began: all records of one line carry it.
    time: Option<u64>,
}

impl Log {
    /// Opens the file for appending.
    pub fn open(config: LogFile) -> io::Result<Self> {
        let file = open(&config.path, false)?;
        let size = file.metadata()?.len();
        let attrs = match config.attrs.is_empty() {
            true => String::new(),
            false => format!("\"attrs\":{},", serde_json::to_string(&config.attrs)?),
        };
        Ok(Self { config, attrs, file, size, partial: Default::default(), lost: 0 })
    }

    /// Takes a piece of output that was read at `now` (nanoseconds since 1970).
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8], now: u64) {
        let mut records = Vec::with_capacity(bytes.len() + 256);
        while !bytes.is_empty() {
            let partial = &mut self.partial[stream as usize];
            let room = MAX_RECORD - partial.bytes.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let take = end.map_or(room.min(bytes.len()), |at| at + 1);
            let time = *partial.time.get_or_insert(now);
            partial.bytes.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            let is_whole = end.is_some();
            if is_whole || partial.bytes.len() == MAX_RECORD {
                let line = std::mem::take(&mut partial.bytes);
                partial.time = (!is_whole).then_some(time);
                self.record(&mut records, stream, &line, time);
                self.partial[stream as usize].bytes = {
                    let mut line = line;
                    line.clear();
                    line
                };
            }
        }
        self.append(&records);
    }

    /// Takes the end of a stream: what has no newline is a record too.
    pub fn finish(&mut self, stream: Stream) {
        let partial = std::mem::take(&mut self.partial[stream as usize]);
        if let Some(time) = partial.time.filter(|_| !partial.bytes.is_empty()) {
            let mut records = Vec::new();
            self.record(&mut records, stream, &partial.bytes, time);
            self.append(&records);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.config.path
    }

    /// How many writes failed.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn record(&mut self, records: &mut Vec<u8>, stream: Stream, line: &[u8], time: u64) {
        let due = self.config.max_size.is_some_and(|max| self.size + records.len() as u64 >= max);
        if due && self.size + records.len() as u64 > 0 {
            self.append(records);
            records.clear();
            self.rotate();
        }
        records.extend_from_slice(b"{\"log\":\"");
        escape(records, line);
        let name = if stream == Stream::Stdout { "stdout" } else { "stderr" };
        records.extend_from_slice(b"\",\"stream\":\"");
        records.extend_from_slice(name.as_bytes());
        records.extend_from_slice(b"\",");
        records.extend_from_slice(self.attrs.as_bytes());
        records.extend_from_slice(b"\"time\":\"");
        records.extend_from_slice(rfc3339(time).as_bytes());
        records.extend_from_slice(b"\"}\n");
    }

    fn append(&mut self, records: &[u8]) {
        if records.is_empty() {
            return;
        }
        match self.file.write_all(records) {
            Ok(()) => self.size += records.len() as u64,
            // A full disk must not stop the container; the count is part of its state.
            Err(_) => {
                self.lost += 1;
                self.size = self.file.metadata().map_or(self.size, |metadata| metadata.len());
            }
        }
    }

    fn rotate(&mut self) {
        let numbered = |number: u32| -> PathBuf {
            let mut name = self.config.path.clone().into_os_string();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            name.into()
        };
        // A file that cannot be moved is written over; losing old lines is what rotation does.
        for number in (1..self.config.max_file.max(1)).rev() {
            let _ = std::fs::rename(numbered(number - 1), numbered(number));
        }
        match open(&self.config.path, true) {
            Ok(file) => (self.file, self.size) = (file, 0),
            Err(_) => self.lost += 1,
        }
    }
}

fn open(path: &std::path::Path, empty: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    let file = options.open(path)?;
    if empty {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// As Docker escapes: JSON, and what HTML would take for itself; bytes that are no UTF-8 are U+FFFD.
fn escape(records: &mut Vec<u8>, line: &[u8]) {
    for chunk in line.utf8_chunks() {
        let text = chunk.valid();
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            let short: Option<&[u8]> = match byte {
                b'"' => Some(b"\\\""),
                b'\\' => Some(b"\\\\"),
                b'\n' => Some(b"\\n"),
                b'\r' => Some(b"\\r"),
                0..0x20 | b'<' | b'>' | b'&' => None,
                // U+2028 and U+2029 end a line in JavaScript.
                0xe2 if matches!(text.as_bytes().get(at..at + 3), Some([0xe2, 0x80, 0xa8 | 0xa9])) => None,
                _ => continue,
            };
            records.extend_from_slice(&text.as_bytes()[plain..at]);
            plain = at + 1;
            match short {
                Some(short) => records.extend_from_slice(short),
                None if byte == 0xe2 => {
                    let last = text.as_bytes()[at + 2];
                    records.extend_from_slice(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    plain = at + 3;
                }
                None => records.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            }
        }
        records.extend_from_slice(&text.as_bytes()[plain..]);
        if !chunk.invalid().is_empty() {
            records.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Go's `RFC3339Nano` in UTC: as many digits of the fraction as it needs.
fn rfc3339(nanoseconds: u64) -> String {
    let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days to a date, by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: u64 = 1_709_210_096_120_000_000;

    fn log(max_size: Option<u64>, max_file: u32) -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("log");
        let log = Log::open(LogFile { path, max_size, max_file, attrs: Default::default() }).expect("log");
        (dir, log)
    }

    fn texts(dir: &tempfile::TempDir, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        let value = |line| serde_json::from_str::<serde_json::Value>(line).expect(line);
        text.lines().map(|line| value(line)["log"].as_str().expect("log").to_owned()).collect()
    }

    #[test]
    fn exact_lines() {
        let (dir, mut log) = log(None, 1);
        log.write(Stream::Stdout, b"a \"b\" <&>\t\x1b\xff\r\nx", TIME);
        log.write(Stream::Stderr, "\u{2028}é\n".as_bytes(), TIME + 1);
        log.write(Stream::Stdout, b"y\nend", TIME + 5);
        log.finish(Stream::Stdout);
        log.finish(Stream::Stderr);
        let text = std::fs::read_to_string(dir.path().join("log")).expect("log");
        let expected = [
            r#"{"log":"a \"b\" \u003c\u0026\u003e\u0009\u001b\ufffd\r\n","stream":"stdout","time":"2024-02-29T12:34:56.12Z"}"#,
            r#"{"log":"\u2028é\n","stream":"stderr","time":"2024-02-29T12:34:56.120000001Z"}"#,
            r#"{"log":"xy\n","stream":"stdout","time":"2024-02-29T12:34:56.12Z"}"#,
            r#"{"log":"end","stream":"stdout","time":"2024-02-29T12:34:56.120000005Z"}"#,
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn long_lines_are_cut() {
        let (dir, mut log) = log(None, 1);
        let line = "x".repeat(MAX_RECORD + 10);
        log.write(Stream::Stdout, format!("{line}\nnext\n").as_bytes(), TIME);
        log.write(Stream::Stdout, &"y".repeat(MAX_RECORD).into_bytes(), TIME);
        log.write(Stream::Stdout, b"\n", TIME);
        let expected = [&line[..MAX_RECORD], "xxxxxxxxxx\n", "next\n", &"y".repeat(MAX_RECORD), "\n"];
        assert_eq!(texts(&dir, "log"), expected);
    }

    #[test]
    fn rotates() {
        let (dir, mut log) = log(Some(150), 3);
        for number in 0..8 {
            log.write(Stream::Stdout, format!("{number}\n").as_bytes(), TIME);
        }
        // Each record has 69 bytes: a file is full with the third.
        assert_eq!(texts(&dir, "log"), ["6\n", "7\n"]);
        assert_eq!(texts(&dir, "log.1"), ["3\n", "4\n", "5\n"]);
        assert_eq!(texts(&dir, "log.2"), ["0\n", "1\n", "2\n"]);
        log.write(Stream::Stdout, b"8\n9\n", TIME);
        assert_eq!(texts(&dir, "log"), ["9\n"]);
        assert_eq!(texts(&dir, "log.2"), ["3\n", "4\n", "5\n"]);
        assert!(!dir.path().join("log.3").exists());
    }

    #[test]
    fn one_file_starts_over() {
        let (dir, mut log) = log(Some(60), 1);
        log.write(Stream::Stdout, b"1\n2\n", TIME);
        assert_eq!(texts(&dir, "log"), ["2\n"]);
        assert!(!dir.path().join("log.1").exists());
    }

    #[test]
    fn times() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (TIME, "2024-02-29T12:34:56.12Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (4_102_444_799_999_999_999, "2099-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(rfc3339(time), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_it_is_cut(lines in proptest::collection::vec("[a-z\n<\u{2028}é]{0,40}", 0..20)) {
            let (dir, mut log) = log(None, 1);
            for line in &lines {
                log.write(Stream::Stdout, line.as_bytes(), TIME);
            }
            log.finish(Stream::Stdout);
            // A character cut in two by the pieces would be a replacement character: pieces here are whole strings.
            prop_assert_eq!(texts(&dir, "log").concat(), lines.concat());
        }
    }
}
