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
                let item = ready!(stream.as_mut().poll_next(cx));
                match &item {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => finish.failed(error),
                    None => finish.ended(),
                }
                Poll::Ready(item.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(..) => SizeHint::default(),
        }
    }
}
