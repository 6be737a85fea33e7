//! The messages of a progress stream: pull, push, load, build.

use serde::{Deserialize, Serialize};

/// One message of a progress stream, written as one line of JSON that ends in CRLF.
///
/// Every field may be absent; which are set tells what the message is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgressMessage {
    /// Text of a build's or load's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What happens, to the layer `id` or to the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How far it is.
    #[serde(default, rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The first twelve digits of the layer's digest, or the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What ended the stream.
    #[serde(default, rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The same text, for old clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Data for programs, for example the digest of what was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// How far an operation on a layer is, in bytes unless `units` says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgressDetail {
    /// What is done.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub current: u64,
    /// All of it; 0 where it is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total: u64,
    /// The unit of both; bytes if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<String>,
    /// Whether clients show no numbers.
    #[serde(default, rename = "hidecounts", skip_serializing_if = "std::ops::Not::not")]
    pub hide_counts: bool,
}

/// The error at the end of a stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The HTTP status it would have had, where a client acts on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What went wrong.
    pub message: String,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl ProgressMessage {
    /// A message about the whole.
    pub fn status(status: impl Into<String>) -> Self {
        Self { status: Some(status.into()), ..Self::default() }
    }

    /// A message about the part `id`, without numbers.
    pub fn of(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self { id: Some(id.into()), progress_detail: Some(ProgressDetail::default()), ..Self::status(status) }
    }

    /// A message about the part `id` that is at `current` of `total`.
    pub fn at(id: impl Into<String>, status: impl Into<String>, current: u64, total: u64) -> Self {
        let detail = ProgressDetail { current, total, ..ProgressDetail::default() };
        Self { progress_detail: Some(detail), ..Self::of(id, status) }
    }

    /// The message that ends a stream with an error.
    pub fn failed(message: impl Into<String>) -> Self {
        let message = message.into();
        let detail = ErrorDetail { code: None, message: message.clone() };
        Self { error_detail: Some(detail), error: Some(message), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_dockers_form() {
        for (message, json) in [
            (ProgressMessage::status("Digest: x"), r#"{"status":"Digest: x"}"#),
            (
                ProgressMessage::of("0123", "Pulling fs layer"),
                r#"{"status":"Pulling fs layer","progressDetail":{},"id":"0123"}"#,
            ),
            (
                ProgressMessage::at("0123", "Downloading", 1, 2),
                r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"0123"}"#,
            ),
            (ProgressMessage::failed("no"), r#"{"errorDetail":{"message":"no"},"error":"no"}"#),
        ] {
            assert_eq!(serde_json::to_string(&message).expect("json"), json);
            assert_eq!(serde_json::from_str::<ProgressMessage>(json).expect("json"), message);
        }
    }
}
