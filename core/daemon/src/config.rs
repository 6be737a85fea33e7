//! The configuration: `/etc/sheave/sheave.toml`, then the command line over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sheave_host::Grants;

use crate::error::DaemonError;
use crate::flags::{DEFAULT_FILE, Flags, LogForm};

/// What the daemon runs with. In the file, keys are written with dashes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// `-H`
    pub hosts: Vec<String>,
    /// `--data-root`
    pub data_root: Option<PathBuf>,
    /// `--exec-root`
    pub exec_root: Option<PathBuf>,
    /// `--pidfile`
    pub pidfile: Option<PathBuf>,
    /// `--debug`
    pub debug: bool,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<LogForm>,
    /// `--storage-driver`
    pub storage_driver: Option<String>,
    /// `--bip`
    pub bip: Option<String>,
    /// `--bridge`
    pub bridge: Option<String>,
    /// `--registry-mirror`
    pub registry_mirrors: Vec<String>,
    /// `--insecure-registry`
    pub insecure_registries: Vec<String>,
    /// `--metrics-addr`
    pub metrics_addr: Option<String>,
    /// `--group`
    pub group: Option<String>,
    /// `--label`
    pub labels: Vec<String>,
    /// `--default-runtime`
    pub default_runtime: Option<String>,
    /// The program `sheave-shim`; the one beside `sheaved` by default.
    pub shim: Option<PathBuf>,
    /// The program that `--init` runs as process 1.
    pub init: Option<PathBuf>,
    /// `[registries."host"]`, by host pattern.
    pub registries: BTreeMap<String, Registry>,
    /// `[plugins.<name>]`
    pub plugins: BTreeMap<String, Plugin>,
    /// `[[hooks]]`, in the order in which they are asked.
    pub hooks: Vec<Hook>,
    /// `[runtimes.<name>]`: OCI runtime programs.
    pub runtimes: BTreeMap<String, sheave_supervisor::Runtime>,
    /// `[secrets]`: files that hold the secrets which plugins are granted, by name.
    pub secrets: BTreeMap<String, PathBuf>,
}

/// One registry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Registry {
    /// Its mirrors, tried first.
    pub mirrors: Vec<String>,
    /// Files with additional certificate authorities.
    pub ca: Vec<String>,
    /// Whether its certificate is not verified and it may speak plain HTTP.
    pub insecure: bool,
}

/// One plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Plugin {
    /// What its driver gets, as JSON.
    pub config: toml::Table,
    /// What it may use; without this, what it requests.
    pub grants: Option<Grants>,
    /// How long one call may take.
    pub deadline_seconds: Option<u64>,
}

/// One hook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hook {
    /// The plugin's name.
    pub name: String,
    /// Whether operations are denied while it is away.
    #[serde(default = "yes")]
    pub mandatory: bool,
    /// How long one call may take.
    #[serde(default = "five")]
    pub deadline_seconds: u64,
}

fn yes() -> bool {
    true
}

fn five() -> u64 {
    5
}

impl Config {
    /// Reads the file and puts the command line over it.
    ///
    /// # Errors
    /// [`DaemonError::Read`], [`DaemonError::Config`].
    pub fn load(flags: Flags) -> Result<Self, DaemonError> {
        let path = &flags.config_file;
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path == Path::new(DEFAULT_FILE) => String::new(),
            Err(source) => return Err(DaemonError::Read { path: path.clone(), source }),
        };
        let config = Self::parse(&text).map_err(|reason| DaemonError::Config { path: path.clone(), reason })?;
        Ok(config.overridden(flags))
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let text = error.to_string();
            let text = text.trim_end();
            match suggestion(error.message()) {
                Some(known) => format!("{text}\ndid you mean `{known}`?"),
                None => text.to_owned(),
            }
        })
    }

    fn overridden(self, flags: Flags) -> Self {
        let list = |given: Vec<String>, kept: Vec<String>| if given.is_empty() { kept } else { given };
        Self {
            hosts: list(flags.hosts, self.hosts),
            data_root: flags.data_root.or(self.data_root),
            exec_root: flags.exec_root.or(self.exec_root),
            pidfile: flags.pidfile.or(self.pidfile),
            debug: flags.debug || self.debug,
            log_level: flags.log_level.or(self.log_level),
            log_format: flags.log_format.or(self.log_format),
            storage_driver: flags.storage_driver.or(self.storage_driver),
            bip: flags.bip.or(self.bip),
            bridge: flags.bridge.or(self.bridge),
            registry_mirrors: list(flags.registry_mirrors, self.registry_mirrors),
            insecure_registries: list(flags.insecure_registries, self.insecure_registries),
            metrics_addr: flags.metrics_addr.or(self.metrics_addr),
            group: flags.group.or(self.group),
            labels: list(flags.labels, self.labels),
            default_runtime: flags.default_runtime.or(self.default_runtime),
            ..self
        }
    }

    /// The addresses of the API.
    pub fn hosts(&self) -> Vec<String> {
        if self.hosts.is_empty() { vec!["unix:///run/sheave/sheave.sock".to_owned()] } else { self.hosts.clone() }
    }

    /// The data root.
    pub fn data_root(&self) -> PathBuf {
        self.data_root.clone().unwrap_or_else(|| "/var/lib/sheave".into())
    }

    /// The exec root.
    pub fn exec_root(&self) -> PathBuf {
        self.exec_root.clone().unwrap_or_else(|| "/run/sheave".into())
    }

    /// The pidfile.
    pub fn pidfile(&self) -> PathBuf {
        self.pidfile.clone().unwrap_or_else(|| self.exec_root().join("sheaved.pid"))
    }

    /// The filter of log lines. What the libraries say at `debug` would drown what the engine says.
    pub fn log_filter(&self) -> String {
        match self.log_level.as_deref() {
            Some(level @ ("debug" | "trace")) => format!("info,sheave={level}"),
            None if self.debug => "info,sheave=debug".to_owned(),
            None => "info".to_owned(),
            Some(level) => level.to_owned(),
        }
    }

    /// What the plugin host is told about each plugin.
    pub fn plugin_options(&self) -> BTreeMap<String, sheave_host::PluginOptions> {
        let defaults = sheave_host::PluginOptions::default();
        let options = |plugin: &Plugin| sheave_host::PluginOptions {
            config: serde_json::to_string(&plugin.config).unwrap_or_else(|_| defaults.config.clone()),
            grants: plugin.grants.clone(),
            deadline: plugin.deadline_seconds.map_or(defaults.deadline, Duration::from_secs),
        };
        self.plugins.iter().map(|(name, plugin)| (name.clone(), options(plugin))).collect()
    }
}

/// The known key that an unknown one resembles most, from serde's message: its names stand in backticks.
fn suggestion(message: &str) -> Option<&str> {
    let mut names = message.strip_prefix("unknown field")?.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let distance = |known: &&str| strsim::damerau_levenshtein(unknown, known);
    names.min_by_key(distance).filter(|known| distance(known) <= known.len().max(unknown.len()) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_name_the_nearest() {
        for (text, part) in [
            ("data-rot = \"/x\"", "did you mean `data-root`?"),
            ("registry-mirror = []", "did you mean `registry-mirrors`?"),
            ("[[hooks]]\nname = \"a\"\nmandatry = true", "did you mean `mandatory`?"),
            ("[registries.\"a\"]\nmirror = []", "did you mean `mirrors`?"),
            ("[plugins.a]\nhosts = 1", "unknown field `hosts`"),
            ("data-root = 1", "line 1"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(!Config::parse("zzzzzzzz = 1").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn flags_override() {
        let file =
            Config::parse("hosts = [\"unix:///a\"]\nlabels = [\"x=y\"]\ndata-root = \"/file\"\nbip = \"1\"").unwrap();
        let flags = Flags { hosts: vec!["unix:///b".into()], data_root: Some("/flag".into()), ..Flags::default() };
        let config = file.overridden(flags);
        assert_eq!(config.hosts(), ["unix:///b"]);
        assert_eq!(config.data_root(), Path::new("/flag"));
        assert_eq!(config.bip.as_deref(), Some("1"));
        assert_eq!(config.labels, ["x=y"]);
        assert_eq!(config.pidfile(), Path::new("/run/sheave/sheaved.pid"));
    }

    #[test]
    fn plugins_get_json() {
        let text =
            "[plugins.registry-x]\ndeadline-seconds = 3\n[plugins.registry-x.config]\nhosts = { \"a.b\" = \"/d\" }";
        let options = Config::parse(text).unwrap().plugin_options();
        let plugin = &options["registry-x"];
        assert_eq!(plugin.config, r#"{"hosts":{"a.b":"/d"}}"#);
        assert_eq!(plugin.deadline, Duration::from_secs(3));
    }
}
