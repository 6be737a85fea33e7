//! Image references.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, ErrorKind, Kinded};

/// A full image reference: host, path, and a tag, a digest or both.
///
/// Grammar: <https://github.com/distribution/reference>, with Docker's defaults (`docker.io`, `library/`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a string is not a reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// A path component has capital letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Path and host are over 255 bytes.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// 64 hexadecimal digits are an id, not a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    IsId(String),
}

impl Kinded for ReferenceError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

const DEFAULT_HOST: &str = "docker.io";

impl Reference {
    /// The registry's host with its port, `docker.io` by default.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository within the registry, `library/…` for an official image of Docker Hub.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given; it wins over the tag.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// `host/path`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The name as Docker shows it: without `docker.io/` and `library/`.
    pub fn familiar_name(&self) -> String {
        if self.host != DEFAULT_HOST {
            return self.name();
        }
        self.path.strip_prefix("library/").filter(|p| !p.contains('/')).unwrap_or(&self.path).to_owned()
    }

    /// The whole reference as Docker shows it.
    pub fn familiar(&self) -> String {
        let mut s = self.familiar_name();
        if let Some(tag) = &self.tag {
            s.push(':');
            s.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            s.push('@');
            s.push_str(&digest.to_string());
        }
        s
    }

    /// The same with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// `ReferenceError::Format` if `tag` is not one.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Format);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

fn is_tag(s: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    s.len() <= 128 && s.bytes().next().is_some_and(word) && s.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_component(s: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = s.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(*first) || !alnum(*last) {
        return false;
    }
    // Separators are one dot, one or two underscores, or any number of dashes.
    s.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-'))
}

fn is_host(s: &str) -> bool {
    let (name, port) = match s.rsplit_once(':') {
        Some((name, port)) if !s.ends_with(']') => (name, Some(port)),
        _ => (s, None),
    };
    let port_ok = port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let bracketed = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let name_ok = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    port_ok && name_ok
}

fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, rest))
            if host.contains(['.', ':']) || host == "localhost" || host.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (host, rest)
        }
        _ => (DEFAULT_HOST, name),
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Reads a familiar or full reference and fills in Docker's defaults, but no tag.
    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        if s.len() == 64 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(ReferenceError::IsId(s.to_owned()));
        }
        let (rest, digest) = match s.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| ReferenceError::Format)?)),
            None => (s, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(ReferenceError::Format);
        }
        let (host, path) = split_host(name);
        let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
        let path =
            if host == DEFAULT_HOST && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if !is_host(host) {
            return Err(ReferenceError::Format);
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(name.to_owned()));
        }
        if !path.split('/').all(is_component) {
            return Err(ReferenceError::Format);
        }
        if host.len() + 1 + path.len() > 255 {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { host: host.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_references() {
        let digest = Digest::of(b"");
        for (given, full, familiar) in [
            ("alpine".to_owned(), "docker.io/library/alpine".to_owned(), "alpine".to_owned()),
            ("a/b:1".into(), "docker.io/a/b:1".into(), "a/b:1".into()),
            ("docker.io/alpine:3".into(), "docker.io/library/alpine:3".into(), "alpine:3".into()),
            ("index.docker.io/a/b".into(), "docker.io/a/b".into(), "a/b".into()),
            ("localhost/x".into(), "localhost/x".into(), "localhost/x".into()),
            ("localhost:5000/x/y:t".into(), "localhost:5000/x/y:t".into(), "localhost:5000/x/y:t".into()),
            ("[::1]:5000/x".into(), "[::1]:5000/x".into(), "[::1]:5000/x".into()),
            (format!("x@{digest}"), format!("docker.io/library/x@{digest}"), format!("x@{digest}")),
            (format!("x:t@{digest}"), format!("docker.io/library/x:t@{digest}"), format!("x:t@{digest}")),
        ] {
            let reference: Reference = given.parse().expect(&given);
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn refuses_what_is_none() {
        let long = "a/".repeat(140) + "b";
        for bad in [
            "",
            ":",
            "a:",
            "a//b",
            "/a",
            "a/",
            "a@sha256:1",
            "-a",
            "a..b",
            "a b",
            "a:t@",
            "../x",
            "a/../b",
            &long,
            "x:.t",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        assert_eq!("Alpine".parse::<Reference>(), Err(ReferenceError::Uppercase("Alpine".into())));
        assert!(matches!("a".repeat(64).parse::<Reference>(), Err(ReferenceError::IsId(_))));
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(s in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}") {
            if let Ok(reference) = s.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
