//! Operations as hooks see them.

use std::sync::Arc;

use serde::Serialize;
use sheave_plugin::hook as plugin;
use sheave_types::{Action, Result};

/// Who asks: peer credentials on a unix socket, the listener's address otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// User id of the peer.
    pub uid: Option<u32>,
    /// Group id of the peer.
    pub gid: Option<u32>,
    /// Process id of the peer, in the daemon's namespace.
    pub pid: Option<u32>,
    /// The listener that it came by, for example `unix:///run/sheave/sheave.sock`.
    pub listener: String,
    /// Subject of the client's certificate.
    pub subject: Option<String>,
}

impl Identity {
    /// The engine itself, where it acts on its own: restart policies, recovery, pulls made by a build.
    pub fn engine() -> Self {
        Self { uid: Some(0), gid: Some(0), pid: Some(std::process::id()), listener: "engine".into(), subject: None }
    }
}

/// What is asked for, without its parameters.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The action.
    pub action: Action,
    /// The name or id in the request; may be empty.
    pub object: String,
    /// The caller.
    pub identity: Arc<Identity>,
}

impl Operation {
    pub(crate) fn with_body(&self, body: String) -> plugin::Operation {
        plugin::Operation {
            action: self.action.as_str().into(),
            object: self.object.clone(),
            identity: plugin::Identity {
                uid: self.identity.uid,
                gid: self.identity.gid,
                pid: self.identity.pid,
                listener: self.identity.listener.clone(),
                subject: self.identity.subject.clone(),
            },
            body,
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The HTTP status of the answer.
    pub status: u16,
    /// The error's message; empty on success.
    pub message: String,
    /// The object of the operation.
    pub object: String,
}

/// The decoded parameters of an operation: `{"query":{…},"body":{…}}` at the newest API version.
///
/// The value that the handler acts on implements it, so that what hooks see and what runs cannot differ.
pub trait Payload: Send {
    /// The JSON that hooks see. Called only when one of them subscribes.
    ///
    /// # Errors
    /// `internal` when the value cannot be written as JSON.
    fn to_json(&self) -> Result<String>;

    /// Puts an amended value in place of this one.
    ///
    /// # Errors
    /// `invalid` when it is not a value of the operation's type; this value stays as it was.
    fn replace(&mut self, json: &str) -> Result<()>;
}
