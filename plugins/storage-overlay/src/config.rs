//! The driver's table in the engine's configuration.

use serde::Deserialize;
use sheave_plugin::Error;

/// What can be set.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Options of overlayfs after the driver's own, for example `xino=off`. A layer directory must stay readable without
    /// its mount, so `metacopy` and `redirect_dir` are the driver's.
    pub options: Vec<String>,
}

/// What the driver sets itself: without `index=off` a layer that two containers share cannot be mounted again after it was
/// copied; `redirect_dir` and `metacopy` would leave files in a layer that mean nothing without the layers below.
pub(crate) const OWN_OPTIONS: [&str; 3] = ["index=off", "redirect_dir=off", "metacopy=off"];

impl Config {
    /// All options of a mount.
    ///
    /// # Errors
    /// `invalid` for an option that the driver sets itself or that would end the option.
    pub(crate) fn mount_options(&self) -> Result<Vec<String>, Error> {
        const RESERVED: [&str; 6] = ["lowerdir", "upperdir", "workdir", "index", "redirect_dir", "metacopy"];
        for option in &self.options {
            let name = option.split(['=', '+', ':']).next().unwrap_or_default();
            if name.is_empty() || RESERVED.contains(&name) || option.contains([',', '\\', '\0', '\n']) {
                let message = format!("configuration: options: {option:?} is set by the driver or not one option");
                return Err(Error::invalid("options", message));
            }
        }
        Ok(OWN_OPTIONS.iter().map(|o| (*o).to_owned()).chain(self.options.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_the_driver_sets() {
        for (option, good) in [
            ("xino=off", true),
            ("nfs_export=off", true),
            ("userxattr", true),
            ("lowerdir=/etc", false),
            ("lowerdir+=/etc", false),
            ("index=on", false),
            ("xino=off,upperdir=/etc", false),
            ("", false),
        ] {
            let config = Config { options: vec![option.to_owned()] };
            assert_eq!(config.mount_options().is_ok(), good, "{option}");
        }
    }
}
