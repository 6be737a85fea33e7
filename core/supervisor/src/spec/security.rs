//! `HostConfig.SecurityOpt`.

use super::error::{Result, SpecError};
use super::host::HostFacts;
use super::seccomp::SeccompChoice;

/// What `SecurityOpt` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityOptions {
    /// Programs cannot gain privileges by set-uid bits or file capabilities.
    pub no_new_privileges: bool,
    /// Which system calls there are.
    pub seccomp: SeccompChoice,
    /// The container's own cgroup is writable to it.
    pub writable_cgroups: bool,
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads security options: `no-new-privileges[=bool]`, `seccomp=unconfined|builtin|<profile>`, `apparmor=…`, `label=…`,
/// `writable-cgroups[=bool]`; `:` may stand for `=`. What asks for a security module that this host does not run is
/// warned about, as there is nothing it could do.
///
/// # Errors
/// An unknown option or a wrong value, with Docker's texts; a profile of a module that the host does run is not
/// supported yet, and refused.
pub fn security_options(options: &[String], host: &HostFacts, warnings: &mut Vec<String>) -> Result<SecurityOptions> {
    let mut read = SecurityOptions::default();
    for option in options {
        let refuse =
            |pass| SpecError::refused("HostConfig.SecurityOpt", format!("invalid --security-opt {pass}: {option:?}"));
        let (key, value) = match option.as_str() {
            "no-new-privileges" | "writable-cgroups" => (option.as_str(), "true"),
            "disable" => ("label", "disable"),
            _ => option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(|| refuse(1))?,
        };
        match key {
            "no-new-privileges" => read.no_new_privileges = boolean(value).ok_or_else(|| refuse(2))?,
            "writable-cgroups" => read.writable_cgroups = boolean(value).ok_or_else(|| refuse(2))?,
            "seccomp" => read.seccomp = SeccompChoice::from_option(value)?,
            "label" if value == "disable" => {}
            "apparmor" if value == "unconfined" => {}
            "label" => module("selinux", option, host, warnings)?,
            "apparmor" => module("apparmor", option, host, warnings)?,
            _ => return Err(refuse(2)),
        }
    }
    Ok(read)
}

fn module(name: &str, option: &str, host: &HostFacts, warnings: &mut Vec<String>) -> Result<()> {
    if host.security_modules.iter().any(|module| module == name) {
        return Err(SpecError::Unsupported { field: "HostConfig.SecurityOpt", value: option.to_owned() });
    }
    warnings.push(format!("The kernel does not run {name}; security option {option:?} has no effect."));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[&str], expected: Result<SecurityOptions, &str>, warned: usize) {
        let mut warnings = Vec::new();
        let options: Vec<_> = options.iter().map(|o| (*o).to_owned()).collect();
        let found = security_options(&options, &HostFacts::example(), &mut warnings).map_err(|e| e.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{options:?}");
        assert_eq!(warnings.len(), warned, "{warnings:?}");
    }

    #[test]
    fn options() {
        let plain = SecurityOptions::default();
        check(&[], Ok(plain.clone()), 0);
        check(&["no-new-privileges"], Ok(SecurityOptions { no_new_privileges: true, ..plain.clone() }), 0);
        check(&["no-new-privileges:true"], Ok(SecurityOptions { no_new_privileges: true, ..plain.clone() }), 0);
        check(&["no-new-privileges=false"], Ok(plain.clone()), 0);
        check(&["seccomp=unconfined"], Ok(SecurityOptions { seccomp: SeccompChoice::Unconfined, ..plain.clone() }), 0);
        check(&["label=disable", "apparmor=unconfined", "seccomp=builtin"], Ok(plain.clone()), 0);
        check(&["label=type:x", "apparmor=mine"], Ok(plain), 2);
        check(&["foo"], Err("invalid --security-opt 1: \"foo\""), 0);
        check(&["foo=bar"], Err("invalid --security-opt 2: \"foo=bar\""), 0);
        check(&["no-new-privileges=maybe"], Err("invalid --security-opt 2: \"no-new-privileges=maybe\""), 0);
    }

    #[test]
    fn a_module_that_runs_is_not_passed_over() {
        let host = HostFacts { security_modules: vec!["apparmor".to_owned()], ..HostFacts::example() };
        let error = security_options(&["apparmor=mine".to_owned()], &host, &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "HostConfig.SecurityOpt is not supported by this engine (asked for: apparmor=mine)"
        );
    }
}
