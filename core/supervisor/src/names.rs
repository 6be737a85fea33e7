//! Container names: their rules, and ones made up where none is given.

use crate::Error;

/// Reads a name that a client gave, with or without its slash: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
///
/// # Errors
/// `Invalid` with Docker's text.
pub fn check(given: &str) -> Result<&str, Error> {
    let name = given.strip_prefix('/').unwrap_or(given);
    let follows = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let ok =
        name.len() >= 2 && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && name.bytes().all(follows);
    if ok { Ok(name) } else { Err(Error::InvalidName(given.to_owned())) }
}

const LEFT: [&str; 32] = [
    "able", "agile", "amber", "brave", "brisk", "calm", "clever", "coral", "eager", "early", "fair", "fleet", "gentle",
    "golden", "handy", "hardy", "keen", "lively", "lucky", "mellow", "noble", "plucky", "proud", "quick", "quiet",
    "ready", "sharp", "steady", "sunny", "tidy", "vivid", "warm",
];

const RIGHT: [&str; 32] = [
    "anchor", "ballast", "beacon", "bollard", "bowline", "capstan", "clipper", "cleat", "compass", "cutter", "dinghy",
    "fender", "galley", "halyard", "harbor", "hawser", "jib", "keel", "ketch", "lanyard", "mast", "mooring", "pulley",
    "quay", "rudder", "sextant", "shackle", "sloop", "spar", "tackle", "tiller", "windlass",
];

/// A name from random bits: two words, and from the second try on a number behind them.
pub fn suggest(random: u64, attempt: u32) -> String {
    let pick = |shift: u32| usize::try_from((random >> shift) & 31).unwrap_or(0);
    let name = format!("{}_{}", LEFT[pick(0)], RIGHT[pick(5)]);
    if attempt == 0 { name } else { format!("{name}{}", (random >> 10) % 10_000) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules() {
        for (given, name) in [("ab", "ab"), ("/web-1.x_", "web-1.x_"), ("0a", "0a")] {
            assert_eq!(check(given).unwrap(), name);
        }
        for bad in ["", "/", "a", "-ab", "a b", "a/b", "//ab", "é1", "_a", "a\n"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn suggestions_are_names(random: u64, attempt in 0u32..3) {
            let name = suggest(random, attempt);
            prop_assert_eq!(check(&name).unwrap(), &name);
        }
    }
}
