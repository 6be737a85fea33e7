//! Which system calls a container's programs may make: profiles, and filter programs compiled from them.

mod compile;
mod default;
mod oci;
mod profile;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use oci_spec::runtime::LinuxSeccomp;

use super::capabilities::CapabilitySet;
use super::error::Result;

pub use profile::{Action, ArchMap, Argument, Conditions, Operator, Profile, Rule};

/// What a container asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum SeccompChoice {
    /// Nothing: the default profile, or none in a privileged container.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile of its own, also in a privileged container.
    Profile(Arc<Profile>),
}

impl SeccompChoice {
    /// Reads the value of the security option `seccomp`: `unconfined`, `builtin` or a profile's text.
    ///
    /// # Errors
    /// A text that is no profile.
    pub fn from_option(value: &str) -> Result<Self> {
        match value {
            "unconfined" => Ok(Self::Unconfined),
            "builtin" => Ok(Self::Default),
            text => Ok(Self::Profile(Arc::new(Profile::parse(text)?))),
        }
    }

    /// `None` is no filter, `Some(None)` the default profile.
    fn profile(&self, privileged: bool) -> Option<Option<&Arc<Profile>>> {
        match self {
            Self::Unconfined => None,
            Self::Default => (!privileged).then_some(None),
            Self::Profile(profile) => Some(Some(profile)),
        }
    }
}

/// The most filters that are kept; clients choose profiles, so there is a bound.
const KEPT: usize = 64;

type Key = (Option<Arc<Profile>>, CapabilitySet);

/// Compiles filters and keeps them: a profile is compiled once for each set of capabilities, in some 10 ms.
#[derive(Debug)]
pub struct SeccompFilters {
    default: Profile,
    kernel: (u32, u32),
    compiled: Mutex<HashMap<Key, Arc<[u8]>>>,
}

impl SeccompFilters {
    /// For this kernel, given as major and minor.
    pub fn new(kernel: (u32, u32)) -> Self {
        Self { default: default::default_profile(), kernel, compiled: Mutex::default() }
    }

    /// The filter program of a container with these capabilities, as the bytes of `struct sock_filter`s; `None` is no
    /// filter.
    ///
    /// # Errors
    /// A profile that cannot be compiled.
    pub fn filter(
        &self,
        choice: &SeccompChoice,
        privileged: bool,
        capabilities: CapabilitySet,
    ) -> Result<Option<Arc<[u8]>>> {
        let Some(own) = choice.profile(privileged) else { return Ok(None) };
        let key = (own.cloned(), capabilities);
        if let Some(known) = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let place = self.place(capabilities);
        let program: Arc<[u8]> = compile::compile(key.0.as_deref().unwrap_or(&self.default), &place)?.into();
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(key, Arc::clone(&program));
        Ok(Some(program))
    }

    /// The same as a part of the runtime specification, for runtimes that compile it themselves.
    ///
    /// # Errors
    /// A profile with conditions that cannot be read.
    pub fn specification(
        &self,
        choice: &SeccompChoice,
        privileged: bool,
        capabilities: CapabilitySet,
    ) -> Result<Option<LinuxSeccomp>> {
        let Some(own) = choice.profile(privileged) else { return Ok(None) };
        oci::linux_seccomp(own.map_or(&self.default, Arc::as_ref), &self.place(capabilities)).map(Some)
    }

    fn place(&self, capabilities: CapabilitySet) -> profile::Place {
        profile::Place { capabilities, arch: compile::GO_ARCH, kernel: self.kernel }
    }
}

#[cfg(test)]
mod tests;
