//! The table of routes: method and pattern to endpoint.
//!
//! Names contain slashes (`/images/registry.example/team/app/json`), so a pattern is matched by what stands before and
//! after its names, and the pattern with the most fixed characters wins.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use sheave_types::Action;

use crate::route::{Endpoint, Route};
use crate::routes::missing;

/// What a path leads to.
#[derive(Clone)]
pub(crate) enum Target {
    /// An endpoint.
    Operation(Action, Arc<dyn Endpoint>),
    /// An operation of Docker's API that nobody offers here; its name.
    Missing(&'static str),
    /// An endpoint of a swarm.
    NoSwarm,
}

struct Entry {
    method: Method,
    pattern: Pattern,
    target: Target,
}

/// All routes of an engine.
#[derive(Default)]
pub struct Router {
    /// By the first segment of the path.
    entries: HashMap<&'static str, Vec<Entry>>,
}

/// A target with the parts of the path that the pattern names.
pub(crate) type Found = (Target, Vec<(&'static str, String)>);

impl Router {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the routes of an area, served by `area`.
    #[must_use]
    pub fn area<S: ?Sized + Send + Sync + 'static>(mut self, routes: Vec<Route<S>>, area: &Arc<S>) -> Self {
        for Route { method, pattern, action, bind } in routes {
            self.add(method, pattern, Target::Operation(action, bind(Arc::clone(area))));
        }
        self
    }

    /// Adds the endpoints of Docker's API that no area serves, so that they answer with their name.
    #[must_use]
    pub(crate) fn with_missing(mut self) -> Self {
        for (method, pattern, target) in missing::endpoints() {
            if !self.has(&method, pattern) {
                self.add(method, pattern, target);
            }
        }
        self
    }

    fn has(&self, method: &Method, pattern: &'static str) -> bool {
        let pattern = Pattern::new(pattern);
        let entries = self.entries.get(pattern.first_segment()).map_or(&[][..], Vec::as_slice);
        entries.iter().any(|e| e.method == method && e.pattern.literals == pattern.literals)
    }

    fn add(&mut self, method: Method, pattern: &'static str, target: Target) {
        let pattern = Pattern::new(pattern);
        let entries = self.entries.entry(pattern.first_segment()).or_default();
        let weight = pattern.weight();
        let at = entries.iter().position(|e| e.pattern.weight() < weight).unwrap_or(entries.len());
        entries.insert(at, Entry { method, pattern, target });
    }

    /// Finds the target of a decoded path without its version.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<Found> {
        let entries = self.entries.get(first_segment(path))?;
        entries.iter().filter(|e| e.method == method).find_map(|entry| {
            let values = entry.pattern.matches(path)?;
            let values = values.into_iter().map(str::to_owned);
            Some((entry.target.clone(), entry.pattern.names.iter().copied().zip(values).collect()))
        })
    }
}

fn first_segment(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or_default()
}

/// `/containers/{id}/json`: literals around names.
struct Pattern {
    literals: Vec<&'static str>,
    names: Vec<&'static str>,
}

impl Pattern {
    fn new(text: &'static str) -> Self {
        let mut parts = text.split(['{', '}']);
        let mut pattern = Self { literals: Vec::new(), names: Vec::new() };
        while let Some(literal) = parts.next() {
            pattern.literals.push(literal);
            pattern.names.extend(parts.next());
        }
        pattern
    }

    fn first_segment(&self) -> &'static str {
        self.literals.first().map_or("", |literal| first_segment(literal))
    }

    /// How many characters are fixed; without names it is above all with names.
    fn weight(&self) -> usize {
        let fixed = self.literals.iter().map(|l| l.len()).sum();
        if self.names.is_empty() { usize::MAX } else { fixed }
    }

    /// The values of the names. From the right, each name takes as little as it can and at least one character.
    fn matches<'a>(&self, path: &'a str) -> Option<Vec<&'a str>> {
        let [first, between @ ..] = self.literals.as_slice() else { return None };
        let [between @ .., last] = between else { return (path == *first).then(Vec::new) };
        let mut rest = path.strip_prefix(first)?.strip_suffix(last)?;
        let mut values = Vec::with_capacity(self.names.len());
        for literal in between.iter().rev() {
            let (before, value) = rest.rsplit_once(literal)?;
            values.push(value);
            rest = before;
        }
        values.push(rest);
        values.reverse();
        values.iter().all(|v| !v.is_empty()).then_some(values)
    }
}

/// Splits `/v1.43/path` into the text of the version and the path.
pub(crate) fn split_version(path: &str) -> (Option<&str>, &str) {
    let split = || {
        let rest = path.strip_prefix("/v")?;
        let (version, _) = rest.split_once('/')?;
        let fits = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        fits.then(|| (Some(version), &rest[version.len()..]))
    };
    split().unwrap_or((None, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn router() -> Router {
        Router::new().with_missing()
    }

    #[test]
    fn names_may_contain_slashes() {
        let router = router();
        for (method, path, expected) in [
            ("GET", "/images/json", Some(("image.list", vec![]))),
            ("GET", "/images/docker.io/a/b:1/json", Some(("image.inspect", vec!["docker.io/a/b:1"]))),
            ("GET", "/images/json/json", Some(("image.inspect", vec!["json"]))),
            ("POST", "/images/h:5000/a/b/push", Some(("image.push", vec!["h:5000/a/b"]))),
            ("DELETE", "/images/a/b@sha256:0", Some(("image.remove", vec!["a/b@sha256:0"]))),
            ("GET", "/images//json", None),
            ("POST", "/images/json", None),
            ("GET", "/containers//web/json", Some(("container.inspect", vec!["/web"]))),
            ("GET", "/containers/a/attach/ws", Some(("container.attach-ws", vec!["a"]))),
            ("DELETE", "/containers/a/checkpoints/b", Some(("checkpoint.remove", vec!["a", "b"]))),
            ("DELETE", "/containers/a", Some(("container.remove", vec!["a"]))),
            ("GET", "/networks/", Some(("network.list", vec![]))),
            ("GET", "/networks/a", Some(("network.inspect", vec!["a"]))),
            ("HEAD", "/containers/a/archive", Some(("container.archive-stat", vec!["a"]))),
            ("PATCH", "/containers/json", None),
            ("GET", "/", None),
            ("GET", "", None),
            ("GET", "/nothing", None),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = router.find(&method, path).map(|(target, params)| match target {
                Target::Missing(name) => (name, params.into_iter().map(|(_, v)| v).collect()),
                Target::NoSwarm | Target::Operation(..) => panic!("{path} leads elsewhere"),
            });
            let expected = expected.map(|(n, v)| (n, v.into_iter().map(str::to_owned).collect::<Vec<_>>()));
            assert_eq!(found, expected, "{method} {path}");
        }
        assert!(matches!(router.find(&Method::GET, "/swarm"), Some((Target::NoSwarm, _))));
    }

    #[test]
    fn versions_in_paths() {
        for (path, version, rest) in [
            ("/v1.43/info", Some("1.43"), "/info"),
            ("/info", None, "/info"),
            ("/v1/info", Some("1"), "/info"),
            ("/version", None, "/version"),
            ("/volumes/v1.2/x", None, "/volumes/v1.2/x"),
            ("/v1.43", None, "/v1.43"),
            ("/vx/info", None, "/vx/info"),
        ] {
            assert_eq!(split_version(path), (version, rest), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_answered(path in "/(v1\\.4[0-9]/)?(images|containers|networks|x)?(/[\\PC]{0,20}){0,3}") {
            let (_, rest) = split_version(&path);
            let _ = router().find(&Method::GET, rest);
        }

        #[test]
        fn any_name_comes_through(name in "[a-z0-9/:.@_-]{1,40}") {
            let (_, params) = router().find(&Method::POST, &format!("/images/{name}/tag")).unwrap();
            prop_assert_eq!(params, vec![("name", name)]);
        }
    }
}
