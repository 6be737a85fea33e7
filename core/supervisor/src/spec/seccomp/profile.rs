//! The format of seccomp profiles, Docker's and the runtime specification's together, and which of a profile's rules
//! hold for a container.

use serde::Deserialize;
use sheave_api::containers::null_default;

use crate::spec::capabilities::CapabilitySet;
use crate::spec::error::{Result, SpecError};

/// A profile: what happens to system calls.
///
/// [Format](https://docs.docker.com/engine/security/seccomp/).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// What happens to calls without a rule.
    pub default_action: Action,
    /// The error it gives; `EPERM` when not given.
    #[serde(default)]
    pub default_errno_ret: Option<u32>,
    /// Architectures by their native one.
    #[serde(default, deserialize_with = "null_default")]
    pub arch_map: Vec<ArchMap>,
    /// Architectures.
    #[serde(default, deserialize_with = "null_default")]
    pub architectures: Vec<String>,
    /// Flags for loading it.
    #[serde(default, deserialize_with = "null_default")]
    pub flags: Vec<String>,
    /// The rules.
    #[serde(default, rename = "syscalls", deserialize_with = "null_default")]
    pub rules: Vec<Rule>,
}

/// An architecture and those whose programs it runs too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ArchMap {
    /// The native one.
    pub architecture: String,
    /// The others.
    #[serde(deserialize_with = "null_default")]
    pub sub_architectures: Vec<String>,
}

/// A rule for some calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// One call, as old profiles have it.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// The calls.
    #[serde(deserialize_with = "null_default")]
    pub names: Vec<String>,
    /// What happens to them.
    pub action: Action,
    /// The error it gives; `EPERM` when not given.
    pub errno_ret: Option<u32>,
    /// What must hold of their arguments.
    #[serde(deserialize_with = "null_default")]
    pub args: Vec<Argument>,
    /// The rule holds only if all of this does.
    #[serde(deserialize_with = "null_default")]
    pub includes: Conditions,
    /// The rule does not hold if any of this does.
    #[serde(deserialize_with = "null_default")]
    pub excludes: Conditions,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs, reason = "the names of seccomp(2)")]
pub enum Action {
    #[default]
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
}

/// What must hold of an argument.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Argument {
    /// Which argument, from 0 to 5.
    pub index: u32,
    /// The value it is compared with, or the mask.
    pub value: u64,
    /// The value under a mask.
    pub value_two: u64,
    /// How.
    pub op: Operator,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs, reason = "the names of seccomp_rule_add(3)")]
pub enum Operator {
    #[default]
    #[serde(rename = "SCMP_CMP_EQ")]
    EqualTo,
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessEqual,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// When a rule holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conditions {
    /// Capabilities of the container.
    #[serde(deserialize_with = "null_default")]
    pub caps: Vec<String>,
    /// Architectures as Go names them.
    #[serde(deserialize_with = "null_default")]
    pub arches: Vec<String>,
    /// The oldest kernel, `4.8`.
    pub min_kernel: Option<String>,
}

/// What a profile's conditions are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) capabilities: CapabilitySet,
    pub(super) arch: &'static str,
    pub(super) kernel: (u32, u32),
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// `Decoding seccomp profile failed: …`; contradicting fields, with Docker's texts; what this engine cannot do.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: String| SpecError::Profile { reason };
        let profile: Self = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if !profile.arch_map.is_empty() && !profile.architectures.is_empty() {
            let text = "both 'architectures' and 'archMap' are specified in the seccomp profile, use either \
                        'architectures' or 'archMap'";
            return Err(wrong(text.to_owned()));
        }
        if let Some(flag) = profile.flags.first() {
            return Err(wrong(format!("flag {flag} is not supported by this engine")));
        }
        for rule in &profile.rules {
            if !rule.name.is_empty() && !rule.names.is_empty() {
                let text = "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'";
                return Err(wrong(text.to_owned()));
            }
            if let Some(argument) = rule.args.iter().find(|argument| argument.index > 5) {
                return Err(wrong(format!("argument {} of a call; there are 6", argument.index)));
            }
            for conditions in [&rule.includes, &rule.excludes] {
                conditions.min_kernel.as_deref().map_or(Ok((0, 0)), version)?;
            }
        }
        Ok(profile)
    }

    /// The rules that hold, in their order.
    pub(super) fn rules_for(&self, place: &Place) -> Result<Vec<&Rule>> {
        let mut rules = Vec::new();
        for rule in &self.rules {
            if rule.includes.all_hold(place)? && !rule.excludes.any_holds(place)? {
                rules.push(rule);
            }
        }
        Ok(rules)
    }
}

impl Rule {
    /// The calls it is for.
    pub(super) fn calls(&self) -> impl Iterator<Item = &str> {
        let one = (!self.name.is_empty()).then_some(self.name.as_str());
        self.names.iter().map(String::as_str).chain(one)
    }
}

impl Conditions {
    /// All capabilities, one of the architectures, the kernel; what is not given holds.
    fn all_hold(&self, place: &Place) -> Result<bool> {
        let kernel = self.min_kernel.as_deref().map(version).transpose()?;
        Ok(self.caps.iter().all(|name| place.capabilities.has(name))
            && (self.arches.is_empty() || self.arches.iter().any(|arch| arch == place.arch))
            && kernel.is_none_or(|least| place.kernel >= least))
    }

    /// Any capability, one of the architectures, the kernel; what is not given does not hold.
    fn any_holds(&self, place: &Place) -> Result<bool> {
        let kernel = self.min_kernel.as_deref().map(version).transpose()?;
        Ok(self.caps.iter().any(|name| place.capabilities.has(name))
            || self.arches.iter().any(|arch| arch == place.arch)
            || kernel.is_some_and(|least| place.kernel >= least))
    }
}

fn version(text: &str) -> Result<(u32, u32)> {
    text.split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| SpecError::Profile { reason: format!("invalid kernel version {text:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_docker_writes_them() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
              {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {},
               "excludes": {}},
              {"name": "mount", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
              {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
              {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
              {"names": ["x"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}}]}"#;
        let profile = Profile::parse(text).unwrap();
        let calls = |capabilities| {
            let place = Place { capabilities, arch: "amd64", kernel: (6, 1) };
            let rules = profile.rules_for(&place).unwrap();
            rules.into_iter().flat_map(Rule::calls).collect::<Vec<_>>()
        };
        assert_eq!(calls(CapabilitySet::default()), ["read", "write", "ptrace", "clone3"]);
        assert_eq!(calls(CapabilitySet::all()), ["read", "write", "mount", "ptrace"]);
    }

    #[test]
    fn wrong_profiles_are_refused() {
        for (text, expected) in [
            ("{", "EOF while parsing"),
            ("{}", "missing field `defaultAction`"),
            (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "unknown variant"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}"#, "not supported"),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"]}]}"#,
                "both 'name' and 'names'",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"includes": {"minKernel": "x"}}]}"#,
                "invalid kernel version",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{}]}"#,
                "both 'architectures' and 'archMap'",
            ),
        ] {
            let error = Profile::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("Decoding seccomp profile failed: ") && error.contains(expected), "{error}");
        }
    }
}
