//! What plugin authors write against.
//!
//! A plugin implements one trait a kind ([`storage::Driver`], [`network::Driver`], [`volume::Driver`],
//! [`registry::Driver`], [`build::Driver`], [`hook::Driver`]) and names its types in [`plugin!`]. The traits and types are
//! generated from `sdk/wit`, so the same source builds as a linked crate, a native library and a WASM component.
//!
//! ```
//! use sheave_plugin::hook::{Driver, Operation, Outcome, Verdict};
//! use sheave_plugin::Error;
//!
//! struct NoPrivileged;
//!
//! impl Driver for NoPrivileged {
//!     fn new(_config: String) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!     fn subscriptions(&self) -> Result<Vec<String>, Error> {
//!         Ok(vec!["container.create".into()])
//!     }
//!     fn before(&self, operation: Operation) -> Result<Verdict, Error> {
//!         Ok(if operation.body.contains("\"Privileged\":true") {
//!             Verdict::Deny("privileged containers are not allowed".into())
//!         } else {
//!             Verdict::Allow
//!         })
//!     }
//!     fn after(&self, _operation: Operation, _outcome: Outcome) -> Result<(), Error> {
//!         Ok(())
//!     }
//!     fn spec(&self, _operation: Operation, _spec: String) -> Result<Verdict, Error> {
//!         Ok(Verdict::Allow)
//!     }
//! }
//! ```

mod generated;
pub mod host;
mod kind;
mod linked;
mod manifest;
pub mod snapshots;

pub use generated::shared::{
    Action, BindMount, CopyTree, Descriptor, Error, ErrorKind, Finding, FindingKind, FsMount, IdRange, Label, MakeDir,
    Mount, MountSource, OverlayMount, Platform, RenameTree, SetQuota,
};
pub use kind::{build, hook, network, registry, storage, volume};
pub use linked::{Linked, Make};
pub use manifest::{Kind, Manifest, ManifestError, Requests};

#[doc(hidden)]
pub use generated::worlds as __worlds;

impl Error {
    /// An error of this kind, without a field.
    pub fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None }
    }

    /// An `invalid` error at this field.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Invalid, message: message.into(), field: Some(field.to_owned()) }
    }

    /// A `not-found` error.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::NotFound, message)
    }

    /// A `conflict` error.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Conflict, message)
    }
}

/// Reads a driver's configuration; unknown keys and wrong types become an `invalid` error that names them.
///
/// # Errors
/// `invalid` with the message of the JSON reader.
pub fn config<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Error> {
    let json = if json.trim().is_empty() { "{}" } else { json };
    serde_json::from_str(json).map_err(|e| Error::invalid("config", format!("configuration: {e}")))
}

/// The value of the first label with this key.
pub fn label<'a>(labels: &'a [Label], key: &str) -> Option<&'a str> {
    labels.iter().find(|l| l.key == key).map(|l| l.value.as_str())
}
