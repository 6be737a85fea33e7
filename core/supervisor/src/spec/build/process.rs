//! The container's first process.

use std::collections::BTreeSet;
use std::path::Path;

use oci_spec::runtime::{BoxBuilder, LinuxCapabilitiesBuilder, Process, ProcessBuilder, UserBuilder};
use sheave_api::containers::ContainerConfig;

use super::SpecInput;
use crate::spec::capabilities::capabilities;
use crate::spec::error::Result;
use crate::spec::modes::PidMode;
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
    let set = capabilities(
        host_config.cap_add.as_deref().unwrap_or_default(),
        host_config.cap_drop.as_deref().unwrap_or_default(),
        host_config.privileged,
        input.host.bounding,
    )?;
    let (inheritable, ambient) = (oci_spec::runtime::Capabilities::new(), oci_spec::runtime::Capabilities::new());
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.to_oci())
        .effective(set.to_oci())
        .permitted(set.to_oci())
        .inheritable(inheritable)
        .ambient(ambient)
        .build()?;
    let user = UserBuilder::default()
        .uid(input.user.uid)
        .gid(input.user.gid)
        .additional_gids(input.user.additional_gids.clone())
        .build()?;
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
        .user(user)
        .args(args)
        .env(environment(config, input.user))
        .cwd(if config.working_dir.is_empty() { "/" } else { config.working_dir.as_str() })
        .capabilities(capabilities)
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
