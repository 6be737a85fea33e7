//! The command line, with dockerd's names.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// The Sheave daemon: serves the Docker Engine API.
#[derive(Debug, Default, Parser)]
#[command(name = "sheaved", version, max_term_width = 100)]
pub struct Flags {
    /// Where the API is served: unix:///path or tcp://127.0.0.1:PORT (repeatable) [default:
    /// unix:///run/sheave/sheave.sock]
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    pub hosts: Vec<String>,
    /// What outlives a reboot [default: /var/lib/sheave]
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// What does not [default: /run/sheave]
    #[arg(long, value_name = "DIR")]
    pub exec_root: Option<PathBuf>,
    /// The file with the daemon's process id [default: <exec-root>/sheaved.pid]
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// The configuration; it may be missing unless it is named here
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub config_file: PathBuf,
    /// Log what helps to find faults
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Log level: error, warn, info, debug, trace, or target=level pairs [default: info]
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Form of log lines [default: text]
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<LogForm>,
    /// The storage driver of new containers and images [default: overlay where the kernel has it]
    #[arg(short = 's', long, value_name = "NAME")]
    pub storage_driver: Option<String>,
    /// Address and prefix of the default bridge
    #[arg(long, value_name = "CIDR")]
    pub bip: Option<String>,
    /// The link of the default bridge; made if it does not exist
    #[arg(short = 'b', long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// A mirror of docker.io, tried first (repeatable)
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub registry_mirrors: Vec<String>,
    /// A registry whose certificate is not verified and which may speak plain HTTP (repeatable)
    #[arg(long = "insecure-registry", value_name = "HOST")]
    pub insecure_registries: Vec<String>,
    /// Serve Prometheus metrics at this loopback address, for example 127.0.0.1:9323
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_addr: Option<String>,
    /// The group that may use the unix socket [default: sheave, else docker, else root]
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub group: Option<String>,
    /// A label of this engine, KEY=VALUE (repeatable)
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,
    /// The runtime of containers that do not choose one [default: sheave]
    #[arg(long, value_name = "NAME")]
    pub default_runtime: Option<String>,
}

/// Where the configuration is looked for.
pub const DEFAULT_FILE: &str = "/etc/sheave/sheave.toml";

/// Forms of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerds_spelling() {
        let line = "sheaved -H unix:///a -H tcp://127.0.0.1:1 --data-root /d --exec-root /e -p /p -D -l warn --storage-driver \
                    vfs --bip 10.0.0.1/24 --bridge br --registry-mirror http://m --insecure-registry r:5000 --metrics-addr \
                    127.0.0.1:9323 --group g --log-format json --label a=b";
        let flags = Flags::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(flags.hosts.len(), 2);
        assert!(flags.debug);
        assert_eq!(flags.storage_driver.as_deref(), Some("vfs"));
        assert_eq!(flags.config_file.to_str(), Some(DEFAULT_FILE));
        assert_eq!(flags.log_format, Some(LogForm::Json));
    }
}
