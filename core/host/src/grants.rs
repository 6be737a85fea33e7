//! What the operator grants a plugin. Everything else is refused with the name of the missing grant.

use serde::{Deserialize, Serialize};
use sheave_plugin::Requests;

/// The grants of one plugin. The same fields as its requests, decided by the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Grants {
    /// Hosts it may send requests to: `*`, `*.example.com`, `example.com`, each with an optional port.
    pub http: Vec<String>,
    /// Files and directories it may read.
    pub fs: Vec<String>,
    /// Variables of the daemon's environment.
    pub env: Vec<String>,
    /// Secrets by name.
    pub secrets: Vec<String>,
    /// File systems that its storage and volume plans may mount.
    pub mount_types: Vec<String>,
    /// Links and subnets that its network plans may touch; `*` for all.
    pub net: Vec<String>,
}

impl Grants {
    /// Grants all that a plugin asks for: the choice of whoever links it into an engine.
    pub fn all_of(requests: &Requests) -> Self {
        Self {
            http: requests.http.clone(),
            fs: requests.fs.clone(),
            env: requests.env.clone(),
            secrets: requests.secrets.clone(),
            mount_types: requests.mount_types.clone(),
            net: requests.net.clone(),
        }
    }

    /// Whether requests to `host` (with `:port` where the URL has one) are granted.
    pub fn allows_http(&self, host: &str) -> bool {
        let bare =
            host.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(h, _)| h);
        self.http.iter().any(|pattern| host_matches(pattern, host) || host_matches(pattern, bare))
    }

    /// Whether reading `path` is granted. The path must be absolute and normal.
    pub fn allows_fs(&self, path: &std::path::Path) -> bool {
        let normal = path.is_absolute()
            && path.components().all(|c| matches!(c, std::path::Component::RootDir | std::path::Component::Normal(_)));
        normal && self.fs.iter().any(|granted| path.starts_with(granted))
    }

    /// Whether an environment variable is granted.
    pub fn allows_env(&self, name: &str) -> bool {
        self.env.iter().any(|granted| granted == name)
    }

    /// Whether a secret is granted.
    pub fn allows_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|granted| granted == name)
    }

    /// Whether a plan may mount this file system.
    pub fn allows_mount_type(&self, fstype: &str) -> bool {
        self.mount_types.iter().any(|granted| granted == fstype)
    }
}

/// Whether a host name matches a pattern with `*` in it; a `*` stands for one or more characters.
pub fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = host.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.len() > part.len() && rest.ends_with(part);
        }
        match rest.get(1..).and_then(|r| r.find(part)) {
            Some(at) => rest = &rest[1 + at + part.len()..],
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns() {
        for (pattern, host, matches) in [
            ("*", "example.com", true),
            ("*", "", false),
            ("example.com", "example.com", true),
            ("example.com", "EXAMPLE.com", true),
            ("example.com", "xexample.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "aexample.com", false),
            ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com", true),
            ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.amazonaws.com", false),
        ] {
            assert_eq!(host_matches(pattern, host), matches, "{pattern} {host}");
        }
    }

    #[test]
    fn grants() {
        let grants = Grants { http: vec!["a.com".into()], fs: vec!["/etc/x".into()], ..Grants::default() };
        assert!(grants.allows_http("a.com:5000"));
        assert!(!grants.allows_http("b.com"));
        for (path, allowed) in [("/etc/x/y", true), ("/etc/x", true), ("/etc/xy", false), ("/etc/x/../shadow", false)] {
            assert_eq!(grants.allows_fs(path.as_ref()), allowed, "{path}");
        }
        assert!(!grants.allows_env("HOME"));
    }
}
