//! Carries a session's bytes between the terminal and the engine.

use std::io::Write;
use std::pin::Pin;

use bollard::Docker;
use bollard::container::LogOutput;
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::CliError;
use crate::terminal;

/// What the engine sends in a session.
pub(crate) type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
/// What it receives.
pub(crate) type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Writes all output until the engine ends it.
pub(crate) async fn drain(mut output: Output) -> Result<(), CliError> {
    while let Some(piece) = output.next().await {
        write(piece?)?;
    }
    Ok(())
}

/// Writes one piece to where it belongs.
pub(crate) fn write(piece: LogOutput) -> Result<(), CliError> {
    match piece {
        LogOutput::StdErr { message } => {
            let mut stderr = std::io::stderr().lock();
            stderr.write_all(&message)?;
            stderr.flush()?;
        }
        LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&message)?;
            stdout.flush()?;
        }
    }
    Ok(())
}

/// Sends standard input until it ends, then closes the engine's side of it.
pub(crate) async fn feed(mut input: Input) {
    let mut stdin = tokio_stdin();
    let mut buffer = vec![0; 16 << 10];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                if input.write_all(&buffer[..n]).await.is_err() || input.flush().await.is_err() {
                    return;
                }
            }
        }
    }
    // The container may have ended already; then nobody waits for the end of its input.
    let _ = input.shutdown().await;
}

/// Standard input read on a thread of its own, so that a terminal does not block the runtime.
fn tokio_stdin() -> impl tokio::io::AsyncRead + Unpin {
    let (reader, mut writer) = tokio::io::simplex(64 << 10);
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n) = std::io::Read::read(&mut stdin, &mut buffer) {
            if n == 0 || sender.blocking_send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(piece) = receiver.recv().await {
            if writer.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    });
    reader
}

/// What a terminal's size belongs to.
#[derive(Clone)]
pub(crate) enum Sized {
    /// A container's first process.
    Container(String),
    /// A process of an exec.
    Exec(String),
}

/// Tells the engine the terminal's size now and whenever it changes.
pub(crate) async fn follow_size(docker: Docker, what: Sized) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Some((rows, columns)) = terminal::size() {
            // Too early or too late in the process's life is no error of the user's.
            let _ = resize(&docker, &what, rows, columns).await;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

async fn resize(docker: &Docker, what: &Sized, rows: u16, columns: u16) -> Result<(), bollard::errors::Error> {
    use bollard::query_parameters::{ResizeContainerTTYOptionsBuilder, ResizeExecOptionsBuilder};
    match what {
        Sized::Container(id) => {
            let options = ResizeContainerTTYOptionsBuilder::new().h(rows.into()).w(columns.into()).build();
            docker.resize_container_tty(id, options).await
        }
        Sized::Exec(id) => {
            let options = ResizeExecOptionsBuilder::new().h(rows.into()).w(columns.into()).build();
            docker.resize_exec(id, options).await
        }
    }
}

/// Passes the signals that would end this command on to the container.
pub(crate) async fn proxy_signals(docker: Docker, container: String) {
    use bollard::query_parameters::KillContainerOptionsBuilder;
    let kinds = [
        (SignalKind::interrupt(), "INT"),
        (SignalKind::terminate(), "TERM"),
        (SignalKind::hangup(), "HUP"),
        (SignalKind::quit(), "QUIT"),
        (SignalKind::user_defined1(), "USR1"),
        (SignalKind::user_defined2(), "USR2"),
    ];
    let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
    for (kind, name) in kinds {
        let sender = sender.clone();
        let Ok(mut stream) = signal(kind) else { continue };
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(name).await.is_err() {
                    return;
                }
            }
        });
    }
    while let Some(name) = receiver.recv().await {
        let options = KillContainerOptionsBuilder::new().signal(name).build();
        // It may have ended in this moment.
        let _ = docker.kill_container(&container, Some(options)).await;
    }
}
