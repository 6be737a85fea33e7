//! Log drivers and their options.

use std::collections::BTreeMap;

use sheave_api::containers::LogConfig;

use super::values::size;
use crate::spec::error::{Result, SpecError};

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDriver {
    /// A file of JSON lines.
    JsonFile(JsonFileOptions),
    /// Nowhere.
    None,
}

/// Options of `json-file`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonFileOptions {
    /// Bytes after which a new file is begun; `None` is never.
    pub max_size: Option<u64>,
    /// Files kept, at least 1.
    pub max_files: u32,
    /// Older files are compressed.
    pub compress: bool,
    /// Labels and variables written with each line: names separated by commas, and patterns.
    pub attributes: BTreeMap<String, String>,
}

fn refuse<T>(text: impl Into<String>) -> Result<T> {
    Err(SpecError::refused("HostConfig.LogConfig", text))
}

/// Reads a log configuration; an empty type is `json-file`.
///
/// # Errors
/// Docker's texts for unknown drivers, options and values; a driver that Docker has and this engine has not is refused
/// by its name.
pub fn log_driver(config: &LogConfig) -> Result<LogDriver> {
    match config.kind.as_str() {
        "" | "json-file" => json_file(&config.config),
        "none" => {
            // Docker lets `none` have any option; nothing reads them, so nothing is lost.
            Ok(LogDriver::None)
        }
        known @ ("local" | "syslog" | "journald" | "gelf" | "fluentd" | "awslogs" | "splunk" | "gcplogs") => {
            Err(SpecError::Unsupported { field: "HostConfig.LogConfig.Type", value: known.to_owned() })
        }
        other => refuse(format!("error looking up logging plugin {other}: plugin {other:?} not found")),
    }
}

fn json_file(options: &BTreeMap<String, String>) -> Result<LogDriver> {
    let mut read = JsonFileOptions { max_files: 1, ..JsonFileOptions::default() };
    for (key, value) in options {
        match key.as_str() {
            "max-size" if value == "-1" => read.max_size = None,
            "max-size" => {
                let bytes = u64::try_from(size(value)?).unwrap_or(0);
                if bytes == 0 {
                    return refuse(format!("max-size must be a positive number, got {value}"));
                }
                read.max_size = Some(bytes);
            }
            "max-file" => match value.parse::<u32>() {
                Ok(0) => return refuse("max-file cannot be less than 1"),
                Ok(files) => read.max_files = files,
                Err(_) => return refuse(format!("strconv.Atoi: parsing {value:?}: invalid syntax")),
            },
            "compress" => match value.as_str() {
                "true" | "1" | "t" | "T" | "TRUE" | "True" => read.compress = true,
                "false" | "0" | "f" | "F" | "FALSE" | "False" => read.compress = false,
                _ => return refuse(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")),
            },
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" => {
                read.attributes.insert(key.clone(), value.clone());
            }
            // The shim writes each line itself, so a slow reader never holds a container up: both modes hold.
            "mode" if matches!(value.as_str(), "blocking" | "non-blocking") => {}
            "mode" => return refuse(format!("logger: logging mode not supported: {value}")),
            "max-buffer-size" if options.get("mode").is_some_and(|mode| mode == "non-blocking") => {
                size(value)?;
            }
            "max-buffer-size" => {
                return refuse("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
            }
            _ => return refuse(format!("unknown log opt '{key}' for json-file log driver")),
        }
    }
    if read.compress && (read.max_files == 1 || read.max_size.is_none()) {
        return refuse("compress cannot be true when max-file is less than 2 or max-size is not set");
    }
    Ok(LogDriver::JsonFile(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, options: &[(&str, &str)], expected: Result<LogDriver, &str>) {
        let config = LogConfig {
            kind: kind.to_owned(),
            config: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let found = log_driver(&config).map_err(|e| e.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{kind} {options:?}");
    }

    #[test]
    fn drivers_and_options() {
        let plain = JsonFileOptions { max_files: 1, ..Default::default() };
        check("", &[], Ok(LogDriver::JsonFile(plain.clone())));
        check("none", &[], Ok(LogDriver::None));
        let rotated = JsonFileOptions { max_size: Some(10 << 20), max_files: 3, ..plain.clone() };
        check("json-file", &[("max-size", "10m"), ("max-file", "3")], Ok(LogDriver::JsonFile(rotated)));
        check("json-file", &[("x", "1")], Err("unknown log opt 'x' for json-file log driver"));
        check("json-file", &[("max-file", "0")], Err("max-file cannot be less than 1"));
        check("json-file", &[("max-size", "q")], Err("invalid size: 'q'"));
        check("json-file", &[("mode", "non-blocking"), ("max-buffer-size", "4m")], Ok(LogDriver::JsonFile(plain)));
        check("nope", &[], Err("error looking up logging plugin nope: plugin \"nope\" not found"));
        check("local", &[], Err("HostConfig.LogConfig.Type is not supported by this engine (asked for: local)"));
        check(
            "json-file",
            &[("compress", "true")],
            Err("compress cannot be true when max-file is less than 2 or max-size is not set"),
        );
    }
}
