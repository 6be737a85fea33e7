//! The suite of registry plugins.

use std::sync::Arc;

use sheave_plugin::registry::{Access, AnyDriver, Credentials, Endpoint, Reference, Scope};
use sheave_plugin::{Error, ErrorKind, Linked, host};

use crate::scripted::{ScriptedHost, response};

/// What the suite runs over.
pub struct RegistrySuite {
    /// The plugin.
    pub plugin: Linked,
    /// A configuration (JSON) that it accepts.
    pub config: &'static str,
    /// A registry host that it serves under that configuration.
    pub serves: &'static str,
}

const SECRET: &str = "pass-w0rd:with@signs";

impl RegistrySuite {
    /// Runs every check; panics with what a plugin does wrong.
    pub fn run(&self) {
        self.refuses_bad_configuration();
        self.patterns_are_well_formed();
        self.resolves_to_usable_endpoints();
        self.starts_without_credentials();
        self.survives_hostile_challenges();
        self.answers_a_token_challenge();
        self.never_logs_secrets();
    }

    fn make(&self, config: &str) -> Result<Box<dyn AnyDriver>, Error> {
        let make = self.plugin.registry.expect("the plugin offers the kind registry");
        make(config.to_owned())
    }

    fn driver(&self) -> Box<dyn AnyDriver> {
        self.make(self.config).expect("the given configuration is accepted")
    }

    fn reference(&self) -> Reference {
        Reference { host: self.serves.into(), path: "team/app".into(), tag: Some("1".into()), digest: None }
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let offline = Arc::new(ScriptedHost::offline());
        host::scope(offline, || self.driver().resolve(self.reference())).expect("resolves a host that it serves")
    }

    fn refuses_bad_configuration(&self) {
        for bad in [r#"{"no-such-key-0":1}"#, "{", "\"x\"", "1"] {
            let error = self.make(bad).err().unwrap_or_else(|| panic!("the configuration {bad} was accepted"));
            assert_eq!(error.kind, ErrorKind::Invalid, "{bad}: {}", error.message);
        }
        let error = self.make(r#"{"no-such-key-0":1}"#).err().expect("refused above");
        assert!(error.message.contains("no-such-key-0"), "the error names the key: {}", error.message);
    }

    fn patterns_are_well_formed(&self) {
        let patterns = self.driver().patterns().expect("patterns");
        assert!(!patterns.is_empty(), "a registry plugin serves something");
        for pattern in &patterns {
            let rest = pattern.strip_prefix("*.").unwrap_or(pattern);
            let good = pattern == "*" || (!rest.is_empty() && !rest.contains(['*', '/', ' ']));
            assert!(good, "{pattern:?}: expected `*`, `*.example.com` or a host");
        }
        let serves = |p: &String| {
            p == "*" || p == self.serves || p.strip_prefix('*').is_some_and(|suffix| self.serves.ends_with(suffix))
        };
        assert!(patterns.iter().any(serves), "no pattern of {patterns:?} is for {}", self.serves);
    }

    fn resolves_to_usable_endpoints(&self) {
        let endpoints = self.endpoints();
        assert!(!endpoints.is_empty(), "an image is somewhere");
        for endpoint in &endpoints {
            match endpoint {
                Endpoint::Http(http) => {
                    let rest = http.base.strip_prefix("https://").or_else(|| http.base.strip_prefix("http://"));
                    assert!(rest.is_some_and(|r| !r.is_empty()), "{}: expected a URL", http.base);
                    assert!(
                        !http.base.ends_with('/') && !http.base.ends_with("/v2"),
                        "{}: ends before /v2/",
                        http.base
                    );
                }
                Endpoint::Layout(path) => assert!(path.starts_with('/'), "{path}: expected an absolute path"),
            }
        }
        assert_eq!(endpoints, self.endpoints(), "the same question has the same answer");
        let offline: Arc<ScriptedHost> = Arc::new(ScriptedHost::offline());
        host::scope(offline, || match self.driver().push_target(self.reference()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind, ErrorKind::Unsupported, "push: {}", error.message),
        });
    }

    fn starts_without_credentials(&self) {
        for endpoint in self.endpoints() {
            let offline = Arc::new(ScriptedHost::offline());
            let given = host::scope(offline, || self.driver().authorize(endpoint, Vec::new(), pull_scope(), None));
            let given = given.expect("no challenge and no credentials is no error");
            assert_eq!(given.headers, [], "nothing to send without a challenge");
        }
    }

    fn survives_hostile_challenges(&self) {
        let long = "Bearer ".repeat(10_000);
        for challenge in [
            "",
            "Bearer",
            "Bearer realm=",
            "Bearer realm=\"",
            "Bearer realm=\"file:///etc/passwd\"",
            "Basic",
            "Negotiate abc==",
            "\u{0}\u{1}é",
            &long,
        ] {
            for endpoint in self.endpoints() {
                let host = Arc::new(ScriptedHost::new(|_| Ok(response(500, &[], "<html>"))));
                let challenges = vec![challenge.to_owned()];
                let answer = host::scope(host.clone(), || {
                    self.driver().authorize(endpoint.clone(), challenges, pull_scope(), None)
                });
                if let Ok(given) = answer {
                    assert_eq!(given.headers, [], "{challenge:.40}: headers made from nothing");
                }
                let strange = host.requests().into_iter().find(|r| !r.url.starts_with("http"));
                assert_eq!(strange, None, "{challenge:.40}");
            }
        }
    }

    fn answers_a_token_challenge(&self) {
        for endpoint in self.endpoints() {
            let Endpoint::Http(http) = &endpoint else { continue };
            let realm = format!("{}/token", http.base);
            let challenge = format!(r#"Bearer realm="{realm}",service="s",scope="repository:team/app:pull""#);
            let host = Arc::new(ScriptedHost::new(|request| {
                let who = request.headers.iter().any(|h| h.key.eq_ignore_ascii_case("authorization"));
                Ok(response(200, &[], format!(r#"{{"token":"t-{who}","expires_in":300}}"#)))
            }));
            let driver = self.driver();
            let ask = |challenges: Vec<String>, credentials: Option<Credentials>| {
                host::scope(host.clone(), || driver.authorize(endpoint.clone(), challenges, pull_scope(), credentials))
                    .expect("a token server that answers")
            };
            let first = ask(vec![challenge.clone()], None);
            assert!(first.headers.iter().any(|h| h.value == "Bearer t-false"), "{:?}", first.headers);
            assert!(first.expires.is_none_or(|e| e > 1_000_000 && e <= 1_300_000), "expiry: {:?}", first.expires);
            let asked = host.requests();
            let url = &asked.first().expect("the token server is asked").url;
            assert!(url.starts_with(&realm) && url.contains("service=s") && url.contains("team%2Fapp"), "{url}");
            let other = ask(vec![challenge], Some(credentials()));
            let other_sent = other.headers.iter().any(|h| h.value == "Bearer t-false" || h.value == "Bearer t-true");
            assert!(other_sent, "{:?}", other.headers);
            host.requests();
            let again = ask(Vec::new(), None);
            assert!(again.headers.iter().all(|h| h.value == "Bearer t-false"), "another account's token is not reused");
            host.advance(300_000);
            let late = ask(Vec::new(), None);
            assert_eq!(late.headers, [], "an expired token is not sent");
        }
    }

    fn never_logs_secrets(&self) {
        for endpoint in self.endpoints() {
            let host = Arc::new(ScriptedHost::new(|_| Ok(response(401, &[], "{}"))));
            let challenges = vec!["Bearer realm=\"https://token.example/t\"".to_owned(), "Basic realm=x".to_owned()];
            let answer = host::scope(host.clone(), || {
                self.driver().authorize(endpoint, challenges, pull_scope(), Some(credentials()))
            });
            let lines = host.lines().join("\n");
            let error = answer.err().map_or(String::new(), |e| e.message);
            assert!(!lines.contains(SECRET) && !error.contains(SECRET), "a secret was shown: {lines} {error}");
        }
    }
}

fn pull_scope() -> Vec<Scope> {
    vec![Scope { repository: "team/app".into(), access: Access::Pull }]
}

fn credentials() -> Credentials {
    Credentials {
        username: "user".into(),
        password: SECRET.into(),
        identity_token: String::new(),
        registry_token: String::new(),
    }
}
