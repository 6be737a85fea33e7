//! The driver.

use sheave_plugin::registry::{Authorization, Credentials, Driver, Endpoint, Reference, Scope};
use sheave_plugin::{Descriptor, Error, ErrorKind};

use crate::config::Config;

/// Registry hosts that are directories.
///
/// Specification: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>
pub struct LayoutRegistry {
    config: Config,
}

impl Driver for LayoutRegistry {
    fn new(config: String) -> Result<Self, Error> {
        let config: Config = sheave_plugin::config(&config)?;
        config.check()?;
        Ok(Self { config })
    }

    fn patterns(&self) -> Result<Vec<String>, Error> {
        Ok(self.config.hosts.keys().cloned().collect())
    }

    fn resolve(&self, reference: Reference) -> Result<Vec<Endpoint>, Error> {
        match self.config.hosts.get(&reference.host) {
            Some(directory) => Ok(vec![Endpoint::Layout(directory.clone())]),
            None => Err(Error::not_found(format!("no layout directory is configured for {}", reference.host))),
        }
    }

    fn authorize(
        &self,
        _: Endpoint,
        challenges: Vec<String>,
        _: Vec<Scope>,
        _: Option<Credentials>,
    ) -> Result<Authorization, Error> {
        if challenges.is_empty() {
            return Ok(Authorization { headers: Vec::new(), expires: None, identity_token: None });
        }
        Err(Error::of(ErrorKind::Unauthorized, "a layout directory has no credentials"))
    }

    fn locate(&self, _: Endpoint, _: Reference, _: Descriptor) -> Result<Vec<Endpoint>, Error> {
        Ok(Vec::new())
    }

    fn push_target(&self, reference: Reference) -> Result<Endpoint, Error> {
        Err(Error::of(ErrorKind::Unsupported, format!("{} is a layout directory and only read", reference.host)))
    }
}
