//! The flags of `run` and `create`, and the request that they make.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig, Mount,
    MountType, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use clap::Args;

use crate::error::CliError;
use crate::units::parse_bytes;

/// What describes a container.
#[derive(Args)]
pub(crate) struct ContainerFlags {
    /// Give the container a name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Allocate a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Set a variable (KEY=VALUE, or KEY for its value here)
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<std::path::PathBuf>,
    /// Set metadata
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// User or uid, with group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Directory that the command starts in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long)]
    entrypoint: Option<String>,
    /// Host name
    #[arg(short = 'h', long)]
    hostname: Option<String>,
    /// Mount a directory or volume
    #[arg(short, long, value_name = "SOURCE:TARGET[:OPTIONS]")]
    volume: Vec<String>,
    /// Mount with key=value options
    #[arg(long, value_name = "type=…,source=…,target=…")]
    mount: Vec<String>,
    /// Mount an empty memory file system
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Publish a port
    #[arg(short, long, value_name = "[[IP:]HOST:]CONTAINER[/PROTOCOL]")]
    publish: Vec<String>,
    /// Publish all exposed ports
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Expose a port
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// Join a network
    #[arg(long, alias = "net", value_name = "NETWORK")]
    network: Option<String>,
    /// Further name in the network
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Fixed IPv4 address
    #[arg(long)]
    ip: Option<String>,
    /// Line for /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// DNS server
    #[arg(long)]
    dns: Vec<String>,
    /// Limit memory
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Limit memory and swap
    #[arg(long, value_name = "BYTES")]
    memory_swap: Option<String>,
    /// Number of CPUs
    #[arg(long)]
    cpus: Option<f64>,
    /// Relative share of the CPUs
    #[arg(short, long)]
    cpu_shares: Option<i64>,
    /// CPUs it may run on
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Limit processes
    #[arg(long)]
    pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// Limit of a resource
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Add a capability
    #[arg(long)]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long)]
    cap_drop: Vec<String>,
    /// Give it all that the engine may
    #[arg(long)]
    privileged: bool,
    /// Security option
    #[arg(long)]
    security_opt: Vec<String>,
    /// Kernel parameter
    #[arg(long, value_name = "KEY=VALUE")]
    sysctl: Vec<String>,
    /// Device of the host
    #[arg(long, value_name = "HOST[:CONTAINER[:rwm]]")]
    device: Vec<String>,
    /// Further group
    #[arg(long)]
    group_add: Vec<String>,
    /// Read-only root file system
    #[arg(long)]
    read_only: bool,
    /// Remove it when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// When to start it again
    #[arg(long, value_name = "no|always|unless-stopped|on-failure[:N]")]
    restart: Option<String>,
    /// Signal that stops it
    #[arg(long)]
    stop_signal: Option<String>,
    /// Seconds until it is killed at a stop
    #[arg(long)]
    stop_timeout: Option<i64>,
    /// Process namespace
    #[arg(long)]
    pid: Option<String>,
    /// IPC namespace
    #[arg(long)]
    ipc: Option<String>,
    /// Log driver
    #[arg(long)]
    log_driver: Option<String>,
    /// Option of the log driver
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
    /// OCI runtime
    #[arg(long)]
    runtime: Option<String>,
    /// Platform of the image
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// When to pull the image
    #[arg(long, value_parser = ["always", "missing", "never"], default_value = "missing")]
    pub(crate) pull: String,
    /// Image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn bad(flag: &'static str, reason: impl Into<String>) -> CliError {
    CliError::Flag { flag, reason: reason.into() }
}

fn list(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn pairs(flag: &'static str, values: &[String]) -> Result<Option<HashMap<String, String>>, CliError> {
    let pair = |v: &String| {
        let (key, value) = v.split_once('=').unwrap_or((v, ""));
        if key.is_empty() {
            Err(bad(flag, format!("{v:?}: expected KEY=VALUE")))
        } else {
            Ok((key.to_owned(), value.to_owned()))
        }
    };
    let map = values.iter().map(pair).collect::<Result<HashMap<_, _>, _>>()?;
    Ok((!map.is_empty()).then_some(map))
}

impl ContainerFlags {
    /// The request; `attached` says whether output goes to this terminal.
    pub(crate) fn body(&self, attached: bool) -> Result<ContainerCreateBody, CliError> {
        let (bindings, exposed) = self.ports()?;
        Ok(ContainerCreateBody {
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            attach_stdin: Some(attached && self.interactive),
            attach_stdout: Some(attached),
            attach_stderr: Some(attached),
            tty: Some(self.tty),
            open_stdin: Some(self.interactive),
            stdin_once: Some(attached && self.interactive),
            env: list(&self.variables()?),
            cmd: list(&self.command),
            image: Some(self.image.clone()),
            working_dir: self.workdir.clone(),
            entrypoint: self.entrypoint.as_ref().map(|e| vec![e.clone()]),
            labels: pairs("--label", &self.label)?,
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            exposed_ports: list(&exposed),
            volumes: list(&self.anonymous()),
            host_config: Some(self.host_config(bindings)?),
            networking_config: self.networking(),
            ..ContainerCreateBody::default()
        })
    }

    fn variables(&self) -> Result<Vec<String>, CliError> {
        let mut lines = Vec::new();
        for file in &self.env_file {
            let text =
                std::fs::read_to_string(file).map_err(|e| bad("--env-file", format!("{}: {e}", file.display())))?;
            lines.extend(
                text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned),
            );
        }
        lines.extend(self.env.iter().cloned());
        // A name alone takes its value from here, and is left out where it has none.
        let with_value = |line: String| match line.split_once('=') {
            Some(_) => Some(line),
            None => std::env::var(&line).ok().map(|value| format!("{line}={value}")),
        };
        Ok(lines.into_iter().filter_map(with_value).collect())
    }

    fn anonymous(&self) -> Vec<String> {
        self.volume.iter().filter(|v| !v.contains(':')).cloned().collect()
    }

    fn host_config(&self, port_bindings: HashMap<String, Option<Vec<PortBinding>>>) -> Result<HostConfig, CliError> {
        let binds: Vec<String> = self.volume.iter().filter(|v| v.contains(':')).map(|v| absolute(v)).collect();
        let bytes = |flag, value: &Option<String>| value.as_deref().map(|v| parse_bytes(flag, v)).transpose();
        let swap = match self.memory_swap.as_deref() {
            Some("-1") => Some(-1),
            other => other.map(|v| parse_bytes("--memory-swap", v)).transpose()?,
        };
        let tmpfs = self.tmpfs.iter().map(|t| t.split_once(':').unwrap_or((t, "")));
        let tmpfs: HashMap<String, String> = tmpfs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        #[allow(clippy::cast_possible_truncation, reason = "a number of CPUs")]
        let nano_cpus = self.cpus.map(|c| (c * 1e9) as i64);
        let log_config = (self.log_driver.is_some() || !self.log_opt.is_empty()).then_some(()).map(|()| {
            Ok::<_, CliError>(HostConfigLogConfig {
                typ: self.log_driver.clone(),
                config: pairs("--log-opt", &self.log_opt)?,
            })
        });
        Ok(HostConfig {
            binds: list(&binds),
            mounts: self.mounts()?,
            tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
            port_bindings: (!port_bindings.is_empty()).then_some(port_bindings),
            publish_all_ports: Some(self.publish_all),
            network_mode: Some(self.network.clone().unwrap_or_else(|| "default".to_owned())),
            extra_hosts: list(&self.add_host),
            dns: list(&self.dns),
            memory: bytes("--memory", &self.memory)?,
            memory_swap: swap,
            nano_cpus,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            pids_limit: self.pids_limit,
            shm_size: bytes("--shm-size", &self.shm_size)?,
            ulimits: self.ulimits()?,
            cap_add: list(&self.cap_add),
            cap_drop: list(&self.cap_drop),
            privileged: Some(self.privileged),
            security_opt: list(&self.security_opt),
            sysctls: pairs("--sysctl", &self.sysctl)?,
            devices: self.devices(),
            group_add: list(&self.group_add),
            readonly_rootfs: Some(self.read_only),
            auto_remove: Some(self.rm),
            restart_policy: self.restart_policy()?,
            pid_mode: self.pid.clone(),
            ipc_mode: self.ipc.clone(),
            log_config: log_config.transpose()?,
            runtime: self.runtime.clone(),
            ..HostConfig::default()
        })
    }

    fn networking(&self) -> Option<NetworkingConfig> {
        if self.network_alias.is_empty() && self.ip.is_none() {
            return None;
        }
        let ipam =
            self.ip.as_ref().map(|ip| EndpointIpamConfig { ipv4_address: Some(ip.clone()), ..Default::default() });
        let endpoint = EndpointSettings { aliases: list(&self.network_alias), ipam_config: ipam, ..Default::default() };
        let network = self.network.clone().unwrap_or_else(|| "bridge".to_owned());
        Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(network, endpoint)])) })
    }

    fn restart_policy(&self) -> Result<Option<RestartPolicy>, CliError> {
        let Some(text) = &self.restart else { return Ok(None) };
        let (name, count) = text.split_once(':').map_or((text.as_str(), None), |(n, c)| (n, Some(c)));
        let policy = match name {
            "no" => RestartPolicyNameEnum::NO,
            "always" => RestartPolicyNameEnum::ALWAYS,
            "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
            "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
            _ => return Err(bad("--restart", format!("{text:?}: no, always, unless-stopped or on-failure[:N]"))),
        };
        let count =
            count.map(str::parse).transpose().map_err(|_| bad("--restart", format!("{text:?}: N is a number")))?;
        Ok(Some(RestartPolicy { name: Some(policy), maximum_retry_count: count }))
    }

    fn ulimits(&self) -> Result<Option<Vec<ResourcesUlimits>>, CliError> {
        let one = |text: &String| {
            let error = || bad("--ulimit", format!("{text:?}: NAME=SOFT[:HARD]"));
            let (name, limits) = text.split_once('=').ok_or_else(error)?;
            let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
            let number = |t: &str| t.parse::<i64>().map_err(|_| error());
            Ok(ResourcesUlimits { name: Some(name.to_owned()), soft: Some(number(soft)?), hard: Some(number(hard)?) })
        };
        let all = self.ulimit.iter().map(one).collect::<Result<Vec<_>, CliError>>()?;
        Ok((!all.is_empty()).then_some(all))
    }

    fn devices(&self) -> Option<Vec<DeviceMapping>> {
        let one = |text: &String| {
            let mut parts = text.splitn(3, ':');
            let host = parts.next().unwrap_or_default().to_owned();
            let container = parts.next().map_or_else(|| host.clone(), str::to_owned);
            let permissions = parts.next().unwrap_or("rwm").to_owned();
            DeviceMapping {
                path_on_host: Some(host),
                path_in_container: Some(container),
                cgroup_permissions: Some(permissions),
            }
        };
        (!self.device.is_empty()).then(|| self.device.iter().map(one).collect())
    }

    fn mounts(&self) -> Result<Option<Vec<Mount>>, CliError> {
        let all = self.mount.iter().map(|m| mount(m)).collect::<Result<Vec<_>, _>>()?;
        Ok((!all.is_empty()).then_some(all))
    }

    #[allow(clippy::type_complexity, reason = "the shape of the API's two fields")]
    fn ports(&self) -> Result<(HashMap<String, Option<Vec<PortBinding>>>, Vec<String>), CliError> {
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        let mut exposed = Vec::new();
        for text in &self.publish {
            for (port, binding) in publish(text)? {
                exposed.push(port.clone());
                bindings.entry(port).or_default().get_or_insert_default().push(binding);
            }
        }
        for text in &self.expose {
            exposed.push(if text.contains('/') { text.clone() } else { format!("{text}/tcp") });
        }
        exposed.sort();
        exposed.dedup();
        Ok((bindings, exposed))
    }
}

/// `./x:/y` with the absolute path that the engine needs.
fn absolute(bind: &str) -> String {
    let (source, rest) = bind.split_once(':').unwrap_or((bind, ""));
    if !source.starts_with('.') && !source.starts_with('~') {
        return bind.to_owned();
    }
    let path = match source.strip_prefix("~/") {
        Some(below) => std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(below)),
        None => std::path::absolute(source).ok(),
    };
    path.map_or_else(|| bind.to_owned(), |p| format!("{}:{rest}", p.display()))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some((first, last))
}

/// `[[ip:]host:]container[/protocol]`, each port with a range.
fn publish(text: &str) -> Result<Vec<(String, PortBinding)>, CliError> {
    let error = || bad("--publish", format!("invalid port: {text:?}; expected [[IP:]HOST:]CONTAINER[/PROTOCOL]"));
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err(error());
    }
    let (rest, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) => (ip.trim_start_matches('[').trim_end_matches(']'), host),
        None => ("", rest),
    };
    let (first, last) = range(container).ok_or_else(error)?;
    let hosts = if host.is_empty() { None } else { Some(range(host).ok_or_else(error)?) };
    let count = last - first;
    let host_port = |n: u16| match hosts {
        None => Ok(String::new()),
        Some((from, to)) if to - from == count => Ok((from + n).to_string()),
        // One container port and a range of host ports: the engine takes the first that is free.
        Some((from, to)) if count == 0 => Ok(format!("{from}-{to}")),
        Some(_) => Err(bad("--publish", format!("{text:?}: the ranges differ in length"))),
    };
    (0..=count)
        .map(|n| {
            let binding = PortBinding { host_ip: Some(ip.to_owned()), host_port: Some(host_port(n)?) };
            Ok((format!("{}/{protocol}", first + n), binding))
        })
        .collect()
}

/// `type=bind,source=/a,target=/b,readonly`
fn mount(text: &str) -> Result<Mount, CliError> {
    let mut mount = Mount { typ: Some(MountType::VOLUME), ..Mount::default() };
    for part in text.split(',') {
        let (key, value) = part.split_once('=').map_or((part, None), |(k, v)| (k, Some(v.to_owned())));
        match key {
            "type" => {
                mount.typ = Some(match value.as_deref() {
                    Some("bind") => MountType::BIND,
                    Some("volume") => MountType::VOLUME,
                    Some("tmpfs") => MountType::TMPFS,
                    Some("image") => MountType::IMAGE,
                    _ => return Err(bad("--mount", format!("{part:?}: bind, volume, tmpfs or image"))),
                });
            }
            "source" | "src" => mount.source = value,
            "target" | "dst" | "destination" => mount.target = value,
            "readonly" | "ro" => mount.read_only = Some(!matches!(value.as_deref(), Some("false" | "0"))),
            _ => return Err(bad("--mount", format!("{part:?}: the keys are type, source, target, readonly"))),
        }
    }
    if mount.target.is_none() {
        return Err(bad("--mount", format!("{text:?}: target is required")));
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports() {
        for (text, expected) in [
            ("80", "80/tcp=:"),
            ("8080:80", "80/tcp=:8080"),
            ("127.0.0.1::80", "80/tcp=127.0.0.1:"),
            ("[::1]:8080:80/udp", "80/udp=::1:8080"),
            ("9000-9001:80-81", "80/tcp=:9000 81/tcp=:9001"),
            ("9000-9005:80", "80/tcp=:9000-9005"),
        ] {
            let ports = publish(text).expect(text).into_iter();
            let shown = ports
                .map(|(p, b)| format!("{p}={}:{}", b.host_ip.unwrap_or_default(), b.host_port.unwrap_or_default()));
            assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{text}");
        }
        for bad in ["", "x", "80/foo", "1-2:3-5", "0:80:x", "81-80"] {
            assert!(publish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts() {
        let m = mount("type=bind,src=/a,dst=/b,ro").expect("mount");
        assert_eq!((m.source.as_deref(), m.target.as_deref(), m.read_only), (Some("/a"), Some("/b"), Some(true)));
        for bad in ["type=foo,dst=/b", "type=bind,src=/a", "dst=/b,colour=red"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }
}
