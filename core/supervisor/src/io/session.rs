//! One attached client: its input to the container, the container's output to it.

use bytes::Bytes;
use sheave_shim::protocol::ExitRecord;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::keys::{Detector, Sequence};
use super::mux::Framing;
use crate::Error;
use crate::shim::{Output, StreamReader, StreamWriter};

/// Bytes of input taken at once.
const PIECE: usize = 32 * 1024;

/// A client's connection after its hijack.
pub struct Client {
    /// What it sends; ends when it closes its writing half.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What it gets.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// How a client is served.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The form of what it gets.
    pub framing: Framing,
    /// Whether its input goes to the container.
    pub stdin: bool,
    /// The keys with which it leaves; only where there is a terminal.
    pub detach: Option<Sequence>,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The process ended and all its output was sent.
    Ended,
    /// The client typed the detach keys.
    Detached,
    /// The client is gone, or was too slow for too long.
    Gone,
}

enum InputEnd {
    Closed,
    Detached,
    Broken,
}

impl Client {
    /// Sends what an earlier reader gives (the log), then closes nothing.
    ///
    /// # Errors
    /// Those of the connection and of the reader.
    pub async fn replay(&mut self, mut pieces: mpsc::Receiver<std::io::Result<Bytes>>) -> std::io::Result<()> {
        while let Some(piece) = pieces.recv().await {
            self.writer.write_all(&piece?).await?;
        }
        self.writer.flush().await
    }

    /// Sends a text as output in the framing of `terms`, for errors that come after the hijack.
    pub async fn say(&mut self, terms: &Terms, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        // A client that is gone need not be told.
        let _ = self.writer.write_all(&terms.framing.wrap(super::mux::Stream::Stdout, bytes)).await;
        let _ = self.writer.flush().await;
    }

    /// Closes the connection for writing, so that the client sees the end.
    pub async fn close(mut self) {
        let _ = self.writer.shutdown().await;
    }

    /// Serves the client until the process ends or the client leaves. `ended` is told of the end before the client is.
    pub async fn serve(
        mut self,
        streams: (StreamReader, StreamWriter),
        terms: &Terms,
        ended: impl FnOnce(&ExitRecord) + Send,
    ) -> Left {
        let (mut output, input) = streams;
        let left = {
            let detector = terms.detach.clone().map(Detector::new);
            let feeding = feed(&mut self.reader, &input, detector);
            let showing = show(&mut output, &mut self.writer, terms.framing);
            tokio::pin!(feeding, showing);
            let mut open = terms.stdin;
            loop {
                tokio::select! {
                    shown = &mut showing => break match shown {
                        Some(record) => {
                            ended(&record);
                            Left::Ended
                        }
                        None => Left::Gone,
                    },
                    end = &mut feeding, if open => match end {
                        InputEnd::Closed => open = false,
                        InputEnd::Detached => break Left::Detached,
                        InputEnd::Broken => break Left::Gone,
                    },
                }
            }
        };
        let _ = self.writer.shutdown().await;
        left
    }
}

/// The end of the process, once all its output is written; nothing where the client or the shim is gone.
async fn show(
    output: &mut StreamReader,
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    framing: Framing,
) -> Option<ExitRecord> {
    loop {
        match output.next().await {
            Ok(Output::Bytes(stream, bytes)) => {
                let bytes = framing.wrap(stream, bytes);
                if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                    return None;
                }
            }
            Ok(Output::Exited(record)) => return Some(record),
            Err(_) => return None,
        }
    }
}

async fn feed(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    input: &StreamWriter,
    mut detector: Option<Detector>,
) -> InputEnd {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) => {
                let held = detector.as_mut().map(Detector::finish).unwrap_or_default();
                // After the process has ended, its output may still be on the way: go on with that.
                let _ = input.write(&held).await;
                let _ = input.half_close().await;
                return InputEnd::Closed;
            }
            Ok(count) => count,
            Err(_) => return InputEnd::Broken,
        };
        let (bytes, detached) = match &mut detector {
            Some(detector) => detector.feed(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        if let Err(Error::ShimGone(_)) = input.write(&bytes).await {
            return InputEnd::Closed;
        }
        if detached {
            return InputEnd::Detached;
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}
