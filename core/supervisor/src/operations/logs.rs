//! Logs of a container.

use std::path::PathBuf;

use bytes::Bytes;
use sheave_api::containers::ContainerLogsQuery;
use tokio::sync::mpsc;

use crate::error::{Error, Fault};
use crate::io::mux::Framing;
use crate::logs::{self, Query, Tail, parse_time};
use crate::state::State;
use crate::store::Handle;

/// A log that is being read, in the container's framing.
#[derive(Debug)]
pub struct LogStream {
    /// Whether it comes in frames.
    pub multiplexed: bool,
    /// Its pieces.
    pub pieces: mpsc::Receiver<std::io::Result<Bytes>>,
}

/// Begins to read.
pub fn read(handle: &Handle, path: PathBuf, query: &ContainerLogsQuery) -> Result<LogStream, Error> {
    if !query.stdout && !query.stderr {
        return Err(Fault::NoStream.into());
    }
    let view = handle.now();
    if view.record.host_config.log_config.kind == "none" {
        return Err(Fault::LogDriver.into());
    }
    let framing = Framing::of(view.record.config.tty);
    let running = matches!(view.state, State::Running(_) | State::Paused(_));
    let query = Query {
        follow: query.follow && running,
        stdout: query.stdout,
        stderr: query.stderr,
        timestamps: query.timestamps,
        details: query.details,
        tail: Tail::parse(query.tail.as_deref()),
        since: parse_time("since", query.since.as_deref())?,
        until: parse_time("until", query.until.as_deref())?,
        framing,
    };
    let (mut views, ends) = (handle.view.clone(), view.ends);
    let stopped = async move {
        // An error means that its driver has ended, after its removal.
        let _ = views.wait_for(|view| view.ends > ends || !view.state.is_running()).await;
    };
    Ok(LogStream { multiplexed: framing == Framing::Multiplexed, pieces: logs::read(path, query, stopped) })
}
