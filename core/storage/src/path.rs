//! Paths of plans: relative to the driver's root, and never out of it.

use std::fmt;
use std::path::{Path, PathBuf};

/// The engine's own directory below each driver's root: what was removed waits here until it is really gone.
pub(crate) const TRASH: &str = ".trash";

/// A path below a driver's root: plain names only, no `.`, no `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relative(PathBuf);

impl Relative {
    /// Reads a path as a plugin gave it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.len() > 1024 {
            return Err("it is longer than 1024 bytes");
        }
        for part in text.split('/') {
            match part {
                "" => return Err("it is absolute or has an empty part"),
                "." | ".." => return Err("it has the part . or .."),
                _ if part.len() > 255 => return Err("a part of it is longer than 255 bytes"),
                // The characters that end or split a mount option.
                _ if part.contains(['\0', '\n', ',', ':', '\\', '"']) => return Err("it has a character of options"),
                _ => {}
            }
        }
        if text.split('/').next() == Some(TRASH) {
            return Err("it lies in the engine's own directory");
        }
        Ok(Self(PathBuf::from(text)))
    }

    /// The path itself.
    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory that it lies in, and its last name.
    pub(crate) fn split(&self) -> (&Path, &Path) {
        let parent = self.0.parent().unwrap_or(Path::new(""));
        (parent, self.0.file_name().map_or(self.0.as_path(), Path::new))
    }
}

impl fmt::Display for Relative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        for (text, good) in [
            ("a", true),
            ("a/b", true),
            ("..a/b..", true),
            ("", false),
            ("/", false),
            ("/a", false),
            ("a/", false),
            ("a//b", false),
            ("..", false),
            ("a/../b", false),
            ("a/.", false),
            ("a\0b", false),
            ("a,upperdir=b", false),
            ("a:b", false),
            (".trash", false),
            (".trash/x", false),
            ("a/.trash", true),
        ] {
            assert_eq!(Relative::parse(text).is_ok(), good, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_below(text in "[./a-c\\\\,:]{0,12}") {
            if let Ok(path) = Relative::parse(&text) {
                prop_assert!(path.as_path().components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert!(path.as_path().is_relative());
                prop_assert_eq!(path.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_judged(text in any::<String>()) {
            if let Ok(path) = Relative::parse(&text) {
                prop_assert!(Path::new("/root").join(path.as_path()).starts_with("/root"));
                prop_assert!(!text.contains("//") && !text.split('/').any(|p| p == ".."));
            }
        }
    }
}
