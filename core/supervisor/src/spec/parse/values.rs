//! Small values: sizes, durations, lists of CPUs, environment, restart policies.

use std::collections::BTreeSet;

use sheave_api::containers::RestartPolicy;

use crate::spec::error::{Result, SpecError};

/// Reads a size in bytes: a number with an optional `b`, `k`, `m`, `g`, `t` (of 1024; `kb` and `kib` too).
///
/// # Errors
/// `invalid size: 'x'`, as Docker.
pub fn size(text: &str) -> Result<i64> {
    let invalid = || SpecError::refused("size", format!("invalid size: '{text}'"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.len() - lower.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = lower.split_at(digits);
    let factor = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(invalid()),
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << factor).ok_or_else(invalid);
    }
    let fraction: f64 = number.parse().map_err(|_| invalid())?;
    #[allow(clippy::cast_precision_loss, reason = "a size given as a fraction is an approximation")]
    let bytes = fraction * (1i64 << factor) as f64;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "checked against the range")]
    if bytes.is_finite() && (0.0..i64::MAX as f64).contains(&bytes) { Ok(bytes as i64) } else { Err(invalid()) }
}

/// Reads a duration as Go writes it (`1m30s`, `500ms`, `0`) in nanoseconds.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<i64> {
    let invalid = || SpecError::refused("duration", format!("time: invalid duration {text:?}"));
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1i64, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.').len();
        let (unit, after) = after.split_at(letters);
        let nanoseconds: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(invalid()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(invalid());
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let mut scaled = whole.checked_mul(nanoseconds).ok_or_else(invalid)?;
        let mut place = nanoseconds;
        for digit in fraction.bytes() {
            place /= 10;
            scaled = scaled.checked_add(i64::from(digit - b'0') * place).ok_or_else(invalid)?;
        }
        total = total.checked_add(scaled).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(sign * total)
}

/// Reads a list of CPUs or memory nodes: `0-2,4`.
///
/// # Errors
/// When it is none, or has numbers above 8192.
pub fn cpu_list(text: &str) -> Result<BTreeSet<u32>> {
    let invalid = || SpecError::refused("cpuset", format!("invalid format: {text}"));
    let mut list = BTreeSet::new();
    if text.is_empty() {
        return Ok(list);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().map_err(|_| invalid())?;
        let last: u32 = last.trim().parse().map_err(|_| invalid())?;
        if first > last || last > 8192 {
            return Err(invalid());
        }
        list.extend(first..=last);
    }
    Ok(list)
}

/// The key of a line of the environment.
///
/// # Errors
/// `invalid environment variable: =x`, as Docker, when there is none or it has a NUL.
pub fn env_key(line: &str) -> Result<&str> {
    let key = line.split_once('=').map_or(line, |(key, _)| key);
    if key.is_empty() || line.contains('\0') {
        return Err(SpecError::refused("Env", format!("invalid environment variable: {line}")));
    }
    Ok(key)
}

/// Checks a restart policy, and that it does not contradict the removal at the end.
///
/// # Errors
/// Docker's texts.
pub fn restart_policy(policy: &RestartPolicy, auto_remove: bool) -> Result<()> {
    let refuse = |text: String| Err(SpecError::refused("HostConfig.RestartPolicy", text));
    if auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return refuse("can't create 'AutoRemove' container with restart policy".to_owned());
    }
    match policy.name.as_str() {
        "no" | "always" | "unless-stopped" if policy.maximum_retry_count == 0 => Ok(()),
        "no" | "always" | "unless-stopped" => {
            let mut text = "invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned();
            if policy.maximum_retry_count < 0 {
                text.push_str(" and cannot be negative");
            }
            refuse(text)
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            refuse("invalid restart policy: maximum retry count cannot be negative".to_owned())
        }
        // Docker takes an empty name with any count, for clients older than the check.
        "on-failure" | "" => Ok(()),
        other => refuse(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or \
             'unless-stopped'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("10", Some(10)),
            ("64m", Some(64 << 20)),
            ("1G", Some(1 << 30)),
            ("1.5k", Some(1536)),
            ("3kb", Some(3072)),
            ("2KiB", Some(2048)),
            ("8 mb", Some(8 << 20)),
            ("-1", None),
            ("x", None),
            ("", None),
            ("9999999999999g", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1s", Some(1_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("500ms", Some(500_000_000)),
            ("-2h", Some(-7_200_000_000_000)),
            ("3", None),
            ("", None),
            ("1x", None),
            (".s", None),
            ("1..s", None),
        ] {
            assert_eq!(duration(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn lists_of_cpus() {
        for (text, expected) in
            [("", Some(0)), ("0", Some(1)), ("0-3,5", Some(5)), ("3-1", None), ("a", None), ("0-99999", None)]
        {
            assert_eq!(cpu_list(text).ok().map(|list| list.len()), expected, "{text}");
        }
    }

    #[test]
    fn restart_policies() {
        let check = |name: &str, count: i64, remove: bool, expected: &str| {
            let policy = RestartPolicy { name: name.to_owned(), maximum_retry_count: count };
            let found = restart_policy(&policy, remove).map_or_else(|e| e.to_string(), |()| String::new());
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{name} {count}: {found}");
        };
        check("", 7, true, "");
        check("no", 0, true, "");
        check("always", 0, false, "");
        check("on-failure", 3, false, "");
        check("always", 0, true, "can't create 'AutoRemove' container with restart policy");
        check("always", 1, false, "maximum retry count can only be used with 'on-failure'");
        check("on-failure", -1, false, "maximum retry count cannot be negative");
        check("sometimes", 0, false, "unknown policy 'sometimes'");
    }

    #[test]
    fn environment() {
        assert_eq!(env_key("A=b=c").unwrap(), "A");
        assert_eq!(env_key("A").unwrap(), "A");
        assert_eq!(env_key("=x").unwrap_err().to_string(), "invalid environment variable: =x");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,24}") {
            let _ = (size(&text), duration(&text), cpu_list(&text), env_key(&text).is_ok());
        }

        #[test]
        fn a_written_duration_is_read(seconds in 0i64..100_000, millis in 0i64..1000) {
            let text = format!("{seconds}s{millis}ms");
            prop_assert_eq!(duration(&text).unwrap(), seconds * 1_000_000_000 + millis * 1_000_000);
        }

        #[test]
        fn a_written_list_is_read(list in proptest::collection::btree_set(0u32..512, 1..20)) {
            let text = list.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            prop_assert_eq!(cpu_list(&text).unwrap(), list);
        }
    }
}
