//! `sheave-plugin.toml`: what a plugin is and what it asks for.

use serde::{Deserialize, Serialize};

/// A plugin's manifest. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `<kind>-<implementation>`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The plugin interface it was built for, for example `0.1`.
    pub api: String,
    /// Its kinds.
    pub kinds: Vec<Kind>,
    /// One line for people.
    pub description: String,
    /// What it asks for; the operator grants.
    #[serde(default)]
    pub requests: Requests,
}

/// The kinds of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `storage`
    Storage,
    /// `network`
    Network,
    /// `volume`
    Volume,
    /// `registry`
    Registry,
    /// `build`
    Build,
    /// `hook`
    Hook,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Storage => "storage",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Registry => "registry",
            Self::Build => "build",
            Self::Hook => "hook",
        })
    }
}

/// What a plugin asks for. Nothing is granted by asking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Requests {
    /// Patterns of hosts it sends requests to.
    pub http: Vec<String>,
    /// Paths it reads.
    pub fs: Vec<String>,
    /// Variables of the environment.
    pub env: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// File systems its plans mount.
    pub mount_types: Vec<String>,
    /// Links and subnets its plans touch.
    pub net: Vec<String>,
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not TOML of this shape.
    #[error("sheave-plugin.toml: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A field has a value that is not allowed.
    #[error("sheave-plugin.toml: {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Manifest {
    /// The plugin interface of this SDK.
    pub const API: &str = "0.1";

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] with the field at fault.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        let field = |field, reason: &str| Err(ManifestError::Field { field, reason: reason.to_owned() });
        let name_ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if manifest.name.is_empty() || manifest.name.len() > 64 || !manifest.name.bytes().all(name_ok) {
            return field("name", "lower-case letters, digits and dashes, at most 64");
        }
        if manifest.kinds.is_empty() {
            return field("kinds", "at least one of storage, network, volume, registry, build, hook");
        }
        if manifest.api != Self::API {
            let reason = format!("this engine offers {}, the plugin needs {}", Self::API, manifest.api);
            return Err(ManifestError::Field { field: "api", reason });
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"hook-x\"\nversion = \"1\"\napi = \"0.1\"\nkinds = [\"hook\"]\ndescription = \"x\"\n";

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(Manifest::parse(GOOD).expect("good").kinds, [Kind::Hook]);
        for (text, part) in [
            (GOOD.replace("hook-x", "Hook X"), "name"),
            (GOOD.replace("0.1", "9.9"), "offers 0.1, the plugin needs 9.9"),
            (GOOD.replace("[\"hook\"]", "[]"), "kinds"),
            (GOOD.replace("[\"hook\"]", "[\"hoook\"]"), "hoook"),
            (format!("{GOOD}colour = 1\n"), "colour"),
        ] {
            let error = Manifest::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
