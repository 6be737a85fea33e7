//! The driver.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sheave_plugin::registry::{Authorization, Credentials, Driver, Endpoint, Reference, Scope};
use sheave_plugin::{Descriptor, Error, ErrorKind, Label, host};

use crate::challenge::{self, Challenge};
use crate::config::Config;
use crate::endpoints;
use crate::token::{self, Token};

/// Any registry of the distribution specification.
///
/// Specification: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>
pub struct OciRegistry {
    config: Config,
    /// What an endpoint accepted for one set of scopes and credentials. Lost with the instance, which costs one more request.
    known: Mutex<HashMap<Key, Known>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    base: String,
    scopes: Vec<String>,
    account: [String; 4],
}

#[derive(Clone)]
enum Known {
    Basic,
    Bearer(Token),
}

/// Tokens kept at once; past that the memory is emptied.
const KNOWN: usize = 1000;

impl Driver for OciRegistry {
    fn new(config: String) -> Result<Self, Error> {
        let config: Config = sheave_plugin::config(&config)?;
        config.check()?;
        Ok(Self { config, known: Mutex::default() })
    }

    fn patterns(&self) -> Result<Vec<String>, Error> {
        Ok(vec!["*".into()])
    }

    fn resolve(&self, reference: Reference) -> Result<Vec<Endpoint>, Error> {
        endpoints::all(&self.config, &reference)
    }

    fn authorize(
        &self,
        endpoint: Endpoint,
        challenges: Vec<String>,
        scopes: Vec<Scope>,
        credentials: Option<Credentials>,
    ) -> Result<Authorization, Error> {
        let Endpoint::Http(endpoint) = endpoint else { return Ok(nothing()) };
        // A mirror is another party than the registry that the credentials are for.
        let credentials = credentials.filter(|c| has_any(c) && !self.is_mirror(&endpoint.base));
        let challenges: Vec<Challenge> = challenges.iter().flat_map(|c| challenge::parse(c)).collect();
        if let Some(given) = credentials.as_ref().filter(|c| !c.registry_token.is_empty()) {
            return if challenges.is_empty() {
                Ok(with_headers(vec![bearer(&given.registry_token)?]))
            } else {
                Err(Error::of(ErrorKind::Unauthorized, "unauthorized: the registry refused the given token"))
            };
        }
        let key = key(&endpoint.base, &scopes, credentials.as_ref());
        if challenges.is_empty() {
            return Ok(self.remembered(&key, credentials.as_ref()));
        }
        self.answer(key, &challenges, &scopes, credentials.as_ref())
    }

    fn locate(&self, _: Endpoint, _: Reference, _: Descriptor) -> Result<Vec<Endpoint>, Error> {
        Ok(Vec::new())
    }

    fn push_target(&self, reference: Reference) -> Result<Endpoint, Error> {
        let mut own = endpoints::own(&self.config, &reference)?;
        Ok(own.remove(0))
    }
}

impl OciRegistry {
    fn is_mirror(&self, base: &str) -> bool {
        let all = self.config.mirrors.values().flatten().chain(&self.config.registry_mirrors);
        all.into_iter().any(|url| url.trim_end_matches('/') == base)
    }

    fn remembered(&self, key: &Key, credentials: Option<&Credentials>) -> Authorization {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        match (known, credentials) {
            (Some(Known::Bearer(token)), _) if token.expires > host::now() => with_token(&token),
            (Some(Known::Basic), Some(credentials)) => with_headers(vec![token::basic(credentials)]),
            _ => nothing(),
        }
    }

    fn answer(
        &self,
        key: Key,
        challenges: &[Challenge],
        scopes: &[Scope],
        credentials: Option<&Credentials>,
    ) -> Result<Authorization, Error> {
        let of = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        let (known, authorization) = if let Some(challenge) = of("bearer") {
            let token = token::fetch(&key.base, challenge, scopes, credentials)?;
            let authorization = with_token(&token);
            (Known::Bearer(token), authorization)
        } else if of("basic").is_some() {
            let Some(credentials) = credentials.filter(|c| !c.username.is_empty()) else {
                return Err(Error::of(ErrorKind::Unauthorized, "no basic auth credentials"));
            };
            (Known::Basic, with_headers(vec![token::basic(credentials)]))
        } else {
            let schemes: Vec<_> = challenges.iter().map(|c| c.scheme.as_str()).collect();
            return Err(Error::of(
                ErrorKind::Unauthorized,
                format!("{} asks for an unknown authentication: {}", key.base, schemes.join(", ")),
            ));
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KNOWN {
            all.clear();
        }
        all.insert(key, known);
        Ok(authorization)
    }
}

fn has_any(c: &Credentials) -> bool {
    !c.username.is_empty() || !c.identity_token.is_empty() || !c.registry_token.is_empty()
}

fn key(base: &str, scopes: &[Scope], credentials: Option<&Credentials>) -> Key {
    let account = credentials.map_or_else(Default::default, |c| {
        [c.username.clone(), c.password.clone(), c.identity_token.clone(), c.registry_token.clone()]
    });
    Key { base: base.to_owned(), scopes: scopes.iter().map(token::scope_text).collect(), account }
}

fn bearer(value: &str) -> Result<Label, Error> {
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::invalid("registrytoken", "the registry token holds characters that no header can"));
    }
    Ok(Label { key: "Authorization".into(), value: format!("Bearer {value}") })
}

fn with_token(token: &Token) -> Authorization {
    Authorization {
        headers: vec![Label { key: "Authorization".into(), value: format!("Bearer {}", token.value) }],
        expires: Some(token.expires),
        identity_token: token.refresh.clone(),
    }
}

fn with_headers(headers: Vec<Label>) -> Authorization {
    Authorization { headers, expires: None, identity_token: None }
}

fn nothing() -> Authorization {
    with_headers(Vec::new())
}
