//! Platforms of image indexes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// An operating system and architecture in the normal form of containerd: `amd64`, `arm64`, `arm` with a variant.
///
/// Specification: <https://github.com/opencontainers/image-spec/blob/main/image-index.md>
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// For example `linux`.
    pub os: String,
    /// For example `amd64`.
    pub architecture: String,
    /// For example `v7`; empty where the architecture has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The platform this engine was built for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// A platform in normal form.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (os, architecture, variant) =
            (os.to_ascii_lowercase(), architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64", v) => ("amd64", v),
            ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", ""),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            (a, v) => (a, v),
        };
        Self { os, architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// Whether an image for `other` runs where this platform is asked for; an empty field of `other` matches any.
    pub fn accepts(&self, other: &Self) -> bool {
        let other = Self::new(&other.os, &other.architecture, &other.variant);
        let me = Self::new(&self.os, &self.architecture, &self.variant);
        me.os == other.os
            && me.architecture == other.architecture
            && (me.variant == other.variant || other.variant.is_empty())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/arch[/variant]`, or an architecture or operating system alone, as `--platform` takes it.
    fn from_str(s: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = s.split('/').collect();
        let valid = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !parts.iter().all(valid) {
            return Err(Error::invalid(format!("{s:?} is an invalid OS/architecture specifier: invalid argument")));
        }
        match parts.as_slice() {
            ["linux"] => Ok(Self::host()),
            [architecture] => Ok(Self::new("linux", architecture, "")),
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(Error::invalid(format!("{s:?} is an invalid OS/architecture specifier: invalid argument"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        for (given, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("Linux/AMD64", "linux/amd64"),
            ("arm64", "linux/arm64"),
        ] {
            assert_eq!(given.parse::<Platform>().expect(given).to_string(), normal);
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "lin ux/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
