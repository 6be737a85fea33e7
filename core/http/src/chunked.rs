//! Takes the chunked transfer coding off what a client sends on a hijacked connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// The longest line with a chunk's size, extensions included, and the longest trailer line.
const LINE: usize = 1024;

enum State {
    Size,
    Data(u64),
    /// The line end after a chunk's data.
    AfterData,
    Trailer,
    End,
}

/// A reader of chunked bytes that yields their content.
pub(crate) struct Chunked<R> {
    inner: R,
    state: State,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Chunked<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, state: State::Size, line: Vec::new() }
    }

    /// Reads a line without its end.
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        loop {
            let buffer = ready!(Pin::new(&mut self.inner).poll_fill_buf(cx))?;
            if buffer.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let end = buffer.iter().position(|b| *b == b'\n');
            let taken = end.map_or(buffer.len(), |n| n + 1);
            self.line.extend_from_slice(&buffer[..taken]);
            Pin::new(&mut self.inner).consume(taken);
            if self.line.len() > LINE {
                return Poll::Ready(Err(invalid("a chunk's line is too long")));
            }
            if end.is_some() {
                let mut line = std::mem::take(&mut self.line);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Poll::Ready(Ok(line));
            }
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = ready!(self.poll_line(cx))?;
        self.state = match self.state {
            State::Size => match size(&line)? {
                0 => State::Trailer,
                size => State::Data(size),
            },
            State::AfterData if line.is_empty() => State::Size,
            State::AfterData => return Poll::Ready(Err(invalid("no line end after a chunk"))),
            State::Trailer if line.is_empty() => State::End,
            State::Trailer => State::Trailer,
            State::Data(left) => State::Data(left),
            State::End => State::End,
        };
        Poll::Ready(Ok(()))
    }
}

fn size(line: &[u8]) -> io::Result<u64> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).map_err(|_| invalid("a chunk's size"))?;
    if text.starts_with('+') {
        return Err(invalid("a chunk's size"));
    }
    u64::from_str_radix(text, 16).map_err(|_| invalid("a chunk's size"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Chunked<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.state {
                State::End => return Poll::Ready(Ok(())),
                State::Data(left) => {
                    let available = ready!(Pin::new(&mut self.inner).poll_fill_buf(cx))?;
                    if available.is_empty() {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let taken = available.len().min(buf.remaining()).min(most);
                    buf.put_slice(&available[..taken]);
                    Pin::new(&mut self.inner).consume(taken);
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::AfterData } else { State::Data(left) };
                    return Poll::Ready(Ok(()));
                }
                _ => ready!(self.poll_step(cx))?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, BufReader};

    async fn decode(bytes: &[u8], buffer: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Chunked::new(BufReader::with_capacity(buffer, bytes)).read_to_end(&mut out).await?;
        Ok(out)
    }

    #[tokio::test]
    async fn table() {
        for (bytes, expected) in [
            ("3\r\nabc\r\n0\r\n\r\nrest", Some("abc")),
            ("A;x=y\r\n0123456789\r\n1\r\nz\r\n0\r\nTrailer: 1\r\n\r\n", Some("0123456789z")),
            ("0\r\n\r\n", Some("")),
            ("3\r\nab", None),
            ("3\r\nabcd\r\n0\r\n\r\n", None),
            ("g\r\n", None),
            ("-1\r\n", None),
            ("+1\r\na\r\n0\r\n\r\n", None),
            ("", None),
        ] {
            let decoded = decode(bytes.as_bytes(), 4).await.ok().map(|b| String::from_utf8(b).unwrap());
            assert_eq!(decoded.as_deref(), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_content(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8), buffer in 1usize..40) {
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend(format!("{:x}\r\n", part.len()).bytes());
                bytes.extend(part);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(runtime.block_on(decode(&bytes, buffer)).unwrap(), parts.concat());
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(decode(&bytes, 8));
        }
    }
}
