//! A container's configuration from its request and its image, by Docker's rules.

use sheave_api::containers::{ContainerConfig, ContainerCreateRequest, HealthConfig};

use super::error::{Result, SpecError};
use super::parse::env_key;
use super::validate::conflicts;

/// A request's configuration with what it inherits from its image.
///
/// The command is settled: [`command`](Self::command) is what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedConfig {
    /// The configuration, as inspect shows it.
    pub config: ContainerConfig,
}

impl MergedConfig {
    /// The program and its arguments.
    pub fn command(&self) -> Vec<String> {
        self.config.entrypoint.iter().flatten().chain(self.config.cmd.iter().flatten()).cloned().collect()
    }
}

/// Merges a request with the configuration of its image (`ContainerConfig::from` an `ImageConfig`).
///
/// What the request leaves out comes from the image; environment, labels, exposed ports and volumes are united, the
/// request's own winning. An entrypoint in the request leaves the image's arguments out; an empty list removes the image's
/// entrypoint alone, a list of one empty string its arguments too.
///
/// # Errors
/// `no command specified` when neither has a command, an environment line without a key, wishes of the request that do
/// not go together; Docker's texts.
pub fn merge(request: &ContainerCreateRequest, image: &ContainerConfig) -> Result<MergedConfig> {
    conflicts(&request.config, &request.host_config)?;
    let mut config = request.config.clone();
    let inherit = |own: &mut String, image: &String| {
        if own.is_empty() {
            own.clone_from(image);
        }
    };
    inherit(&mut config.user, &image.user);
    inherit(&mut config.working_dir, &image.working_dir);
    inherit(&mut config.stop_signal, &image.stop_signal);
    for (port, empty) in &image.exposed_ports {
        config.exposed_ports.entry(port.clone()).or_insert(*empty);
    }
    for line in config.env.iter().flatten() {
        env_key(line)?;
    }
    config.env = Some(environment(config.env.take().unwrap_or_default(), image.env.as_deref().unwrap_or_default()));
    let labels = config.labels.get_or_insert_default();
    for (key, value) in image.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
            config.args_escaped = image.args_escaped;
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if image.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty()) {
        let volumes = config.volumes.get_or_insert_default();
        for (path, empty) in image.volumes.iter().flatten() {
            volumes.entry(path.clone()).or_insert(*empty);
        }
    }
    if config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
    if config.stop_timeout.is_none() {
        config.stop_timeout = image.stop_timeout;
    }
    config.healthcheck = health(config.healthcheck.take(), image.healthcheck.as_ref());
    // An entrypoint of one empty string is how clients say "none".
    if config.entrypoint.as_deref() == Some(&[String::new()]) {
        config.entrypoint = None;
    }
    let merged = MergedConfig { config };
    if merged.command().is_empty() {
        return Err(SpecError::refused("Cmd", "no command specified"));
    }
    Ok(merged)
}

/// The request's environment, then the image's lines whose keys it does not have. `KEY` alone takes the image's `KEY`
/// away.
fn environment(own: Vec<String>, image: &[String]) -> Vec<String> {
    fn key(line: &str) -> &str {
        line.split_once('=').map_or(line, |(key, _)| key)
    }
    let inherited: Vec<_> =
        image.iter().filter(|line| !own.iter().any(|mine| key(mine) == key(line))).cloned().collect();
    own.into_iter().chain(inherited).collect()
}

fn health(own: Option<HealthConfig>, image: Option<&HealthConfig>) -> Option<HealthConfig> {
    let (Some(mut own), Some(image)) = (own.clone(), image) else { return own.or_else(|| image.cloned()) };
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    for (mine, theirs) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *mine == 0 {
            *mine = theirs;
        }
    }
    Some(own)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn merged(request: Value, image: Value) -> Result<MergedConfig, String> {
        let request = serde_json::from_value(request).unwrap();
        merge(&request, &serde_json::from_value(image).unwrap()).map_err(|e| e.to_string())
    }

    fn check_command(request: Value, image: Value, expected: Result<&[&str], &str>) {
        let found = merged(request.clone(), image.clone()).map(|m| m.command());
        let expected = expected.map(|list| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected.map_err(str::to_owned), "{request} over {image}");
    }

    #[test]
    fn commands() {
        let image = json!({"Entrypoint": ["/e"], "Cmd": ["c"]});
        check_command(json!({}), image.clone(), Ok(&["/e", "c"]));
        check_command(json!({"Cmd": ["x"]}), image.clone(), Ok(&["/e", "x"]));
        check_command(json!({"Cmd": []}), image.clone(), Ok(&["/e", "c"]));
        check_command(json!({"Entrypoint": ["/f"]}), image.clone(), Ok(&["/f"]));
        check_command(json!({"Entrypoint": "/f", "Cmd": "a"}), image.clone(), Ok(&["/f", "a"]));
        check_command(json!({"Entrypoint": [], "Cmd": ["x"]}), image.clone(), Ok(&["x"]));
        check_command(json!({"Entrypoint": []}), image.clone(), Ok(&["c"]));
        check_command(json!({"Entrypoint": [""], "Cmd": ["x"]}), image.clone(), Ok(&["x"]));
        check_command(json!({"Entrypoint": [""]}), image, Err("no command specified"));
        check_command(json!({}), json!({}), Err("no command specified"));
        check_command(json!({"Cmd": ["sh", "-c", ""]}), json!({}), Ok(&["sh", "-c", ""]));
    }

    #[test]
    fn what_is_left_out_is_inherited() {
        let image = json!({"User": "1", "WorkingDir": "/w", "Cmd": ["c"], "StopSignal": "SIGINT",
            "Env": ["A=1", "B=2", "C=3"], "Labels": {"a": "1", "b": "2"}, "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/v": {}}, "Shell": ["sh"],
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "Retries": 3}});
        let own = json!({"Env": ["B=9", "C"], "Labels": {"b": "3"}, "ExposedPorts": {"81/udp": {}},
            "Volumes": {"/u": {}}, "Healthcheck": {"Interval": 7}, "WorkingDir": "/x"});
        let config = merged(own, image).unwrap().config;
        assert_eq!(config.env.unwrap(), ["B=9", "C", "A=1"]);
        assert_eq!(config.labels.unwrap(), [("a".into(), "1".into()), ("b".into(), "3".into())].into());
        assert_eq!(config.exposed_ports.len(), 2);
        assert_eq!(config.volumes.unwrap().len(), 2);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1", "/x"));
        let health = config.healthcheck.unwrap();
        assert_eq!((health.test.len(), health.interval, health.retries), (2, 7, 3));
        assert_eq!(config.shell.unwrap(), ["sh"]);
        let error = merged(json!({"Env": ["=x"], "Cmd": ["a"]}), json!({})).unwrap_err();
        assert_eq!(error, "invalid environment variable: =x");
    }
}
