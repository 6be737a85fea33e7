//! The bytes of a blob as they come.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::RegistryError;
use super::transport::unreachable;

/// Read from a file at once, in bytes.
const CHUNK: usize = 512 << 10;

/// A blob on its way.
pub(crate) enum Body {
    Http {
        response: reqwest::Response,
        /// Bytes to pass over: the server began at the start though it was asked for a part.
        skip: u64,
        stall: Duration,
    },
    File {
        file: tokio::fs::File,
        path: String,
    },
}

impl Body {
    /// The next bytes; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        match self {
            Self::File { file, path } => {
                let mut chunk = BytesMut::with_capacity(CHUNK);
                let read = file.read_buf(&mut chunk).await;
                read.map_err(|source| RegistryError::Layout { path: path.clone(), source })?;
                Ok(Some(chunk.freeze()).filter(|c| !c.is_empty()))
            }
            Self::Http { response, skip, stall } => loop {
                let url = response.url().to_string();
                let next = tokio::time::timeout(*stall, response.chunk()).await;
                let next = next.map_err(|_| RegistryError::Stalled { method: "GET".into(), url, after: *stall })?;
                let chunk = next.map_err(|e| unreachable("GET", response.url(), &e))?;
                let Some(mut chunk) = chunk else { return Ok(None) };
                let passed = usize::try_from(*skip).unwrap_or(usize::MAX).min(chunk.len());
                let chunk = chunk.split_off(passed);
                *skip -= passed as u64;
                if !chunk.is_empty() {
                    return Ok(Some(chunk));
                }
            },
        }
    }
}
