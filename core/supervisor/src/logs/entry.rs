//! One line of a json-file log, and its form on the wire.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;

use super::Query;
use crate::io::mux::{self, Framing, Stream};
use crate::time::Timestamp;

/// `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}`
#[derive(Debug, Deserialize)]
pub struct Entry<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    time: Timestamp,
}

impl<'a> Entry<'a> {
    /// Reads a line; `None` for one that a crash tore.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// When it was written.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Appends it in the form asked for, if its stream was asked for.
    pub fn write(&self, query: &Query, out: &mut BytesMut) {
        let stream = match &*self.stream {
            "stderr" if query.stderr => Stream::Stderr,
            "stdout" if query.stdout => Stream::Stdout,
            _ => return,
        };
        let prefix = self.prefix(query);
        if query.framing == Framing::Multiplexed {
            let len = prefix.len() + self.log.len();
            out.put_slice(&mux::header(stream, u32::try_from(len).unwrap_or(u32::MAX)));
        }
        out.put_slice(prefix.as_bytes());
        out.put_slice(self.log.as_bytes());
    }

    fn prefix(&self, query: &Query) -> String {
        let mut prefix = String::new();
        if query.timestamps {
            prefix.push_str(&self.time.fixed());
            prefix.push(' ');
        }
        if query.details {
            let pairs: Vec<_> = self.attrs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            prefix.push_str(&pairs.join(","));
            prefix.push(' ');
        }
        prefix
    }
}
