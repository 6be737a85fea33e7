//! `sheave demo`: the engine's main job, for real, in a scratch directory.
//!
//! Starts a private `sheaved` (own data, socket, bridge and subnet), makes an image and serves it to that engine through the
//! registry plugin for layout directories, pulls it, runs it with a published port, fetches a page from it, and removes all of it.

mod image;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::CliError;

#[derive(Args)]
pub(crate) struct Demo {
    /// Keep the scratch directory
    #[arg(long)]
    keep: bool,
    /// Port of the host to publish on; 0 for any
    #[arg(short, long, default_value_t = 0)]
    port: u16,
}

const IMAGE: &str = "demo.local/hello:1";
const PATIENCE: Duration = Duration::from_secs(20);

fn failed(what: impl std::fmt::Display) -> CliError {
    CliError::Demo(what.to_string())
}

/// A private engine; stopped when this is dropped.
struct Engine {
    child: Child,
    dir: PathBuf,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0));
        // Asked first, so that it takes its bridge and rules with it.
        let _ = kill(pid, Signal::SIGTERM);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "polls a process and a port of its own, for which there is no event")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

fn beside(program: &str) -> Result<PathBuf, CliError> {
    let path = std::env::current_exe()?.with_file_name(program);
    if path.exists() {
        Ok(path)
    } else {
        Err(failed(format!("{} is missing: build it with `cargo build --workspace`", path.display())))
    }
}

fn start(dir: &Path) -> Result<Engine, CliError> {
    let unique = std::process::id() % 200;
    let config = format!(
        "[plugins.registry-layout.config]\nhosts = {{ \"demo.local\" = \"{}\" }}\n",
        dir.join("layout").display()
    );
    std::fs::write(dir.join("sheave.toml"), config)?;
    let log = std::fs::File::create(dir.join("sheaved.log"))?;
    let child = Command::new(beside("sheaved")?)
        .arg("--config-file")
        .arg(dir.join("sheave.toml"))
        .arg("--data-root")
        .arg(dir.join("data"))
        .arg("--exec-root")
        .arg(dir.join("exec"))
        .arg("--pidfile")
        .arg(dir.join("sheaved.pid"))
        .arg("--host")
        .arg(socket(dir))
        .arg("--bridge")
        .arg(format!("shdemo{unique}"))
        .arg("--bip")
        .arg(format!("10.213.{unique}.1/24"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let mut engine = Engine { child, dir: dir.to_owned() };
    let until = Instant::now() + PATIENCE;
    while std::os::unix::net::UnixStream::connect(dir.join("sheave.sock")).is_err() {
        let ended = engine.child.try_wait()?.is_some();
        if ended || Instant::now() > until {
            let log = std::fs::read_to_string(engine.dir.join("sheaved.log")).unwrap_or_default();
            return Err(failed(format!("the engine did not start:\n{log}")));
        }
        pause();
    }
    Ok(engine)
}

fn socket(dir: &Path) -> String {
    format!("unix://{}", dir.join("sheave.sock").display())
}

/// Runs this program against the private engine, as a user would, and shows the command and its output.
fn sheave(dir: &Path, arguments: &[&str]) -> Result<String, CliError> {
    println!("\n$ sheave {}", arguments.join(" "));
    let output = Command::new(std::env::current_exe()?)
        .arg("--host")
        .arg(socket(dir))
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{text}{errors}");
    std::io::stdout().flush()?;
    if output.status.success() {
        Ok(text.trim().to_owned())
    } else {
        Err(failed(format!("`sheave {}` failed", arguments.join(" "))))
    }
}

fn fetch(address: &str) -> Result<String, CliError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET / HTTP/1.0\r\nHost: demo\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        match answer {
            Ok(text) if text.contains(" 200 ") => {
                return Ok(text.split_once("\r\n\r\n").unwrap_or(("", &text)).1.to_owned());
            }
            // The server in the container may need a moment to listen.
            _ if Instant::now() < until => pause(),
            Ok(text) => return Err(failed(format!("unexpected answer from {address}: {text}"))),
            Err(e) => return Err(failed(format!("{address}: {e}"))),
        }
    }
}

impl Demo {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(failed("run it as root: an engine makes namespaces, mounts and links"));
        }
        let scratch = tempfile::Builder::new().prefix("sheave-demo-").tempdir()?;
        let dir = scratch.path().to_owned();
        println!("A private engine in {}", dir.display());
        image::write_layout(&dir.join("layout"))?;
        let engine = start(&dir)?;
        let outcome = self.tour(&dir);
        drop(engine);
        if self.keep || outcome.is_err() {
            println!("\nKept: {}", scratch.keep().display());
        }
        outcome?;
        println!("\nDone. The engine has stopped, and what it made is gone.");
        Ok(())
    }

    fn tour(&self, dir: &Path) -> Result<(), CliError> {
        sheave(dir, &["version"])?;
        sheave(dir, &["pull", IMAGE])?;
        sheave(dir, &["images"])?;
        let publish = format!("127.0.0.1:{}:80", if self.port == 0 { String::new() } else { self.port.to_string() });
        sheave(dir, &["run", "--detach", "--name", "hello", "--publish", &publish, IMAGE])?;
        let ports = sheave(dir, &["inspect", "--format", "{{json .NetworkSettings.Ports}}", "hello"])?;
        let ports: serde_json::Value = serde_json::from_str(&ports).map_err(failed)?;
        let port = ports["80/tcp"][0]["HostPort"].as_str().ok_or_else(|| failed("the port is not published"))?;
        let address = format!("127.0.0.1:{port}");
        println!("\n$ curl http://{address}/");
        let page = fetch(&address)?;
        print!("{page}");
        if page.trim() != image::PAGE.trim() {
            return Err(failed("that is not the page of the image"));
        }
        sheave(dir, &["exec", "hello", "ps"])?;
        sheave(dir, &["logs", "hello"])?;
        sheave(dir, &["ps"])?;
        sheave(dir, &["rm", "--force", "--volumes", "hello"])?;
        Ok(())
    }
}
