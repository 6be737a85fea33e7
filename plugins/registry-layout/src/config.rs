//! The plugin's configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use sheave_plugin::Error;

/// `[registry.registry-layout]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Directories with an OCI image layout by the registry host that they stand for: `demo.local = "/srv/demo"`.
    pub(crate) hosts: BTreeMap<String, String>,
}

impl Config {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (host, directory) in &self.hosts {
            if host.is_empty() || host.contains(['*', '/', ' ']) {
                return Err(Error::invalid("hosts", format!("{host:?} is not a registry host")));
            }
            // References name a host only if it looks like one; others are paths of docker.io.
            if !host.contains(['.', ':']) && host != "localhost" {
                return Err(Error::invalid(
                    "hosts",
                    format!("the host {host:?} needs a dot or a port to be taken for one"),
                ));
            }
            if !directory.starts_with('/') || directory.split('/').any(|part| part == "..") {
                return Err(Error::invalid("hosts", format!("{host}: {directory:?} is not an absolute path")));
            }
        }
        Ok(())
    }
}
