//! The container's first process.

use std::collections::BTreeSet;
use std::path::Path;

use oci_spec::runtime::{
    BoxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, Process, ProcessBuilder, User, UserBuilder,
};
use sheave_api::containers::{ContainerConfig, ExecCreateRequest, HostConfig};

use super::SpecInput;
use crate::spec::capabilities::capabilities;
use crate::spec::error::{Result, SpecError};
use crate::spec::host::HostFacts;
use crate::spec::merge::MergedConfig;
use crate::spec::modes::PidMode;
use crate::spec::parse::env_key;
use crate::spec::security::security_options;
use crate::spec::ulimits;
use crate::spec::user::ResolvedUser;
use crate::spec::validate::oom_score_warning;

/// Where programs are looked for when the image does not say.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where an init program is in a container.
pub(super) const INIT: &str = "/sbin/docker-init";

/// Host path of the init program, where the container asks for one. In a process namespace that others have too there
/// is a first process already.
pub(super) fn init_program<'a>(input: &SpecInput<'a>) -> Result<Option<&'a Path>> {
    let asked = input.host_config.init == Some(true);
    let own = PidMode::read(&input.host_config.pid_mode)? == PidMode::Private;
    Ok(input.host.programs.init.as_deref().filter(|_| asked && own))
}

pub(super) fn build(input: &SpecInput<'_>, no_new_privileges: bool, warnings: &mut Vec<String>) -> Result<Process> {
    let (config, host_config) = (&input.config.config, input.host_config);
    let floor = input.host.oom_score_floor;
    let score = host_config.oom_score_adj.max(floor);
    // The default of 0 is not a wish: where the engine itself is higher, its containers silently are too.
    if score != host_config.oom_score_adj && host_config.oom_score_adj != 0 {
        warnings.push(oom_score_warning(host_config.oom_score_adj, floor));
    }
    let limits = ulimits::resolve(host_config.resources.ulimits.as_deref().unwrap_or_default(), input.host, warnings)?;
    let mut args = input.config.command();
    if init_program(input)?.is_some() {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    let mut process = ProcessBuilder::default()
        .terminal(config.tty)
        .user(oci_user(input.user)?)
        .args(args)
        .env(environment(config, input.user))
        .cwd(if config.working_dir.is_empty() { "/" } else { config.working_dir.as_str() })
        .capabilities(oci_capabilities(host_config, host_config.privileged, input.host)?)
        .no_new_privileges(no_new_privileges)
        .oom_score_adj(i32::try_from(score).unwrap_or(0))
        .build()?;
    process.set_rlimits((!limits.is_empty()).then_some(limits));
    if config.tty && host_config.console_size != [0, 0] {
        let [height, width] = host_config.console_size.map(u64::from);
        process.set_console_size(Some(BoxBuilder::default().height(height).width(width).build()?));
    }
    Ok(process)
}

/// The process of an exec in a running container: its own user, directory and lines of the environment, and all else as
/// the container's first process has it. A privileged one has every capability that the engine has.
///
/// `user` is resolved in the container, from the request's user or else the container's.
///
/// # Errors
/// `No exec command specified`, an environment line without a key.
pub fn exec_process(
    container: &MergedConfig,
    host_config: &HostConfig,
    request: &ExecCreateRequest,
    user: &ResolvedUser,
    host: &HostFacts,
) -> Result<Process> {
    let args = request.cmd.clone().unwrap_or_default();
    if args.is_empty() {
        return Err(SpecError::refused("Cmd", "No exec command specified"));
    }
    for line in request.env.iter().flatten() {
        env_key(line)?;
    }
    let mut config = container.config.clone();
    config.tty = request.tty;
    config.env.get_or_insert_default().extend(request.env.iter().flatten().cloned());
    if !request.working_dir.is_empty() {
        config.working_dir.clone_from(&request.working_dir);
    }
    let privileged = host_config.privileged || request.privileged;
    let options = host_config.security_opt.as_deref().unwrap_or_default();
    let security = security_options(options, host, &mut Vec::new())?;
    let score = i32::try_from(host_config.oom_score_adj.max(host.oom_score_floor)).unwrap_or(0);
    let limits = ulimits::resolve(host_config.resources.ulimits.as_deref().unwrap_or_default(), host, &mut Vec::new())?;
    let mut process = ProcessBuilder::default()
        .terminal(request.tty)
        .user(oci_user(user)?)
        .args(args)
        .env(environment(&config, user))
        .cwd(if config.working_dir.is_empty() { "/" } else { config.working_dir.as_str() })
        .capabilities(oci_capabilities(host_config, privileged, host)?)
        .no_new_privileges(security.no_new_privileges)
        .oom_score_adj(score)
        .build()?;
    process.set_rlimits((!limits.is_empty()).then_some(limits));
    if let Some([height, width]) = request.console_size.filter(|_| request.tty) {
        let size = BoxBuilder::default().height(u64::from(height)).width(u64::from(width)).build()?;
        process.set_console_size(Some(size));
    }
    Ok(process)
}

fn oci_user(user: &ResolvedUser) -> Result<User> {
    let built = UserBuilder::default().uid(user.uid).gid(user.gid);
    Ok(built.additional_gids(user.additional_gids.clone()).build()?)
}

/// Bounding, effective and permitted ones; none is inheritable or ambient, so programs of other users have none.
fn oci_capabilities(host_config: &HostConfig, privileged: bool, host: &HostFacts) -> Result<LinuxCapabilities> {
    let set = capabilities(
        host_config.cap_add.as_deref().unwrap_or_default(),
        host_config.cap_drop.as_deref().unwrap_or_default(),
        privileged,
        host.bounding,
    )?;
    let none = oci_spec::runtime::Capabilities::new;
    let builder = LinuxCapabilitiesBuilder::default().bounding(set.to_oci()).effective(set.to_oci());
    Ok(builder.permitted(set.to_oci()).inheritable(none()).ambient(none()).build()?)
}

/// The environment: defaults, then the container's own lines, which replace them; a key without a value takes one away.
pub(in crate::spec) fn environment(config: &ContainerConfig, user: &ResolvedUser) -> Vec<String> {
    fn key(line: &str) -> &str {
        line.split_once('=').map_or(line, |(key, _)| key)
    }
    let own = config.env.as_deref().unwrap_or_default();
    let mut defaults = vec![PATH.to_owned(), format!("HOSTNAME={}", config.hostname)];
    if config.tty {
        defaults.push("TERM=xterm".to_owned());
    }
    let keys: BTreeSet<_> = own.iter().map(|line| key(line)).collect();
    let mut lines: Vec<_> = defaults.into_iter().filter(|line| !keys.contains(key(line))).collect();
    // Of one key given twice the last counts, at the place of the first.
    for line in own.iter().filter(|line| line.contains('=')) {
        match lines.iter_mut().find(|earlier| key(earlier) == key(line)) {
            Some(earlier) => earlier.clone_from(line),
            None => lines.push(line.clone()),
        }
    }
    if !keys.contains("HOME") {
        lines.push(format!("HOME={}", user.home));
    }
    lines
}
