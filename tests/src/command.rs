//! Running programs and collecting what they say.

use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; 128 + the signal's number if a signal ended it.
    pub code: i32,
    /// All of standard output, with invalid UTF-8 replaced.
    pub stdout: String,
    /// All of standard error, with invalid UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Standard output without the white space at its end, of a program that must have succeeded.
    ///
    /// # Panics
    /// If the exit code is not 0.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert!(self.code == 0, "{self}");
        self.stdout.trim_end().to_owned()
    }

    /// Standard error of a program that must have failed with this exit code and a text that contains `text`.
    ///
    /// # Panics
    /// If the code is another or the text is not in standard error.
    #[track_caller]
    pub fn fails(&self, code: i32, text: &str) -> String {
        assert!(self.code == code && self.stderr.contains(text), "expected exit code {code} and {text:?}\n{self}");
        self.stderr.clone()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\nexit code {}\nstdout: {}\nstderr: {}", self.command, self.code, self.stdout, self.stderr)
    }
}

/// Runs the program with `input` as its standard input; ends it after `limit` and says so.
///
/// # Panics
/// If it cannot be started or does not end in time.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Output {
    let line = line_of(command);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    let input = input.to_vec();
    std::thread::spawn(move || {
        // A program that does not read its input closes the pipe: that is its right.
        let _ = stdin.write_all(&input);
    });
    let stdout = collect(child.stdout.take().expect("a pipe was asked for"));
    let stderr = collect(child.stderr.take().expect("a pipe was asked for"));
    let status = wait(&mut child, limit);
    // A grandchild may hold the pipe open after the program ended: what it has to say is not waited for.
    let patience = Duration::from_secs(if status.is_some() { 5 } else { 1 });
    let text = |from: mpsc::Receiver<Vec<u8>>| {
        let mut all = Vec::new();
        while let Ok(part) = from.recv_timeout(patience) {
            all.extend(part);
        }
        String::from_utf8_lossy(&all).into_owned()
    };
    let output = Output { command: line, code: status.unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) };
    assert!(status.is_some(), "not ended within {limit:?}\n{output}");
    output
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The exit code within the limit; afterwards the program is killed and there is none.
pub fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let end = std::time::Instant::now() + limit;
    loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => return Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))),
            None if std::time::Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            None => crate::pause(Duration::from_millis(5)),
        }
    }
}
