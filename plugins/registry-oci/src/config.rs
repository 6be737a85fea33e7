//! The plugin's configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use sheave_plugin::Error;
use url::Url;

/// `[registry.registry-oci]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Mirrors of `docker.io`, tried first (`--registry-mirror`).
    pub(crate) registry_mirrors: Vec<String>,
    /// Hosts whose certificate is not verified, and which may speak plain HTTP (`--insecure-registry`): `host`, `host:port`,
    /// `*.example.com`.
    pub(crate) insecure_registries: Vec<String>,
    /// Mirrors of any registry by host pattern; the most specific pattern counts.
    pub(crate) mirrors: BTreeMap<String, Vec<String>>,
    /// Files with additional certificate authorities (PEM) by host pattern.
    pub(crate) ca: BTreeMap<String, Vec<String>>,
}

/// How specific a pattern that matches is; a greater number wins. None: it does not match.
pub(crate) fn specificity(pattern: &str, host: &str) -> Option<usize> {
    if pattern == "*" {
        return Some(0);
    }
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            (suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len())
        }
        None => (pattern == host).then_some(usize::MAX),
    }
}

/// The value of the most specific pattern that matches.
pub(crate) fn most_specific<'a, T>(patterns: &'a BTreeMap<String, T>, host: &str) -> Option<&'a T> {
    let matching = patterns.iter().filter_map(|(p, v)| specificity(p, host).map(|s| (s, v)));
    matching.max_by_key(|(s, _)| *s).map(|(_, v)| v)
}

/// A host without its port.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

/// `localhost` and the loopback addresses: their traffic does not leave the machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = without_port(host).trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Config {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mirrors = self.mirrors.iter().map(|(p, urls)| (format!("mirrors.{p}"), urls));
        for (field, urls) in mirrors.chain([("registry-mirrors".to_owned(), &self.registry_mirrors)]) {
            for url in urls {
                check_mirror(&field, url)?;
            }
        }
        for pattern in self.insecure_registries.iter().chain(self.mirrors.keys()).chain(self.ca.keys()) {
            let rest = pattern.strip_prefix("*.").unwrap_or(pattern);
            if pattern.is_empty() || (pattern != "*" && rest.contains(['*', '/', ' '])) {
                return Err(Error::invalid(
                    "config",
                    format!("{pattern:?} is not a host pattern: expected host, host:port, *.domain or *"),
                ));
            }
        }
        Ok(())
    }

    /// Whether a host may be used without verified TLS.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        let names = [host, without_port(host)];
        self.insecure_registries.iter().any(|p| names.iter().any(|n| specificity(p, n).is_some()))
    }

    /// The mirrors of a registry, without a trailing slash.
    pub(crate) fn mirrors_of(&self, host: &str) -> Vec<String> {
        let hub = if host == "docker.io" { self.registry_mirrors.as_slice() } else { &[] };
        let others = most_specific(&self.mirrors, host).map_or(&[][..], Vec::as_slice);
        hub.iter().chain(others).map(|url| url.trim_end_matches('/').to_owned()).collect()
    }
}

fn check_mirror(field: &str, text: &str) -> Result<(), Error> {
    let problem = |reason: &str| Err(Error::invalid(field, format!("invalid mirror {text:?}: {reason}")));
    match Url::parse(text) {
        Err(_) => problem("it is not a URL"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => problem("its scheme must be http or https"),
        Ok(url) if url.host_str().is_none_or(str::is_empty) => problem("it has no host"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => problem("it must not hold credentials"),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => problem("it must end with its path"),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_pattern_wins() {
        let patterns: BTreeMap<String, u8> =
            [("*", 1), ("*.example.com", 2), ("*.eu.example.com", 3), ("a.eu.example.com:5000", 4)]
                .map(|(p, n)| (p.to_owned(), n))
                .into();
        for (host, wins) in [
            ("quay.io", 1),
            ("example.com", 1),
            ("x.example.com", 2),
            ("a.eu.example.com", 3),
            ("a.eu.example.com:5000", 4),
        ] {
            assert_eq!(most_specific(&patterns, host), Some(&wins), "{host}");
        }
    }

    #[test]
    fn knows_loopback() {
        for (host, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.9.0.1:5000", true),
            ("[::1]:5000", true),
            ("[::1]", true),
            ("128.0.0.1", false),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (json, part) in [
            (r#"{"registry-mirrors":["mirror"]}"#, "mirror"),
            (r#"{"registry-mirrors":["ftp://m"]}"#, "scheme"),
            (r#"{"mirrors":{"*":["https://u:p@m"]}}"#, "credentials"),
            (r#"{"mirrors":{"a*b":[]}}"#, "host pattern"),
            (r#"{"insecure-registries":["10.0.0.0/8"]}"#, "host pattern"),
        ] {
            let config: Config = sheave_plugin::config(json).expect(json);
            let error = config.check().expect_err(json).message;
            assert!(error.contains(part), "{error}");
        }
    }
}
