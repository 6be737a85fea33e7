//! The body that hyper sends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sheave_types::Error;

use crate::finish::Finish;
use crate::reply::ByteStream;

pub(crate) enum ResponseBody {
    Empty,
    Full(Bytes),
    /// Chunks, and what is told when they end.
    Stream(ByteStream, Finish),
    /// The error that cuts a stream, once what was sent before it is out.
    Broken(Option<Error>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream, finish) => {
                match ready!(stream.as_mut().poll_next(cx)) {
                    Some(Ok(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
                    Some(Err(error)) => {
                        finish.failed(&error);
                        *self = Self::Broken(Some(error));
                        // hyper flushes when a body is not ready, and drops what it holds when a body fails.
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    None => {
                        finish.ended();
                        Poll::Ready(None)
                    }
                }
            }
            Self::Broken(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(..) | Self::Broken(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(..) | Self::Broken(_) => SizeHint::default(),
        }
    }
}
