//! Sizes and times as docker shows and reads them.

use crate::error::CliError;

/// `1.23GB`, in decimal units with four significant digits.
pub(crate) fn size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    #[allow(clippy::cast_precision_loss, reason = "shown with four digits")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value.abs() >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let text = match value.abs() {
        v if v >= 100.0 || unit == 0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

/// `3 minutes`, as in `3 minutes ago`.
pub(crate) fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        3600..5400 => "About an hour".to_owned(),
        5400..172_800 => format!("{hours} hours"),
        172_800..1_209_600 => format!("{} days", seconds / 86_400),
        1_209_600..5_184_000 => format!("{} weeks", seconds / 604_800),
        5_184_000..63_072_000 => format!("{} months", seconds / 2_592_000),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

/// `3 minutes ago` for a time in seconds since 1970.
pub(crate) fn ago(unix: i64) -> String {
    format!("{} ago", duration(time::OffsetDateTime::now_utc().unix_timestamp() - unix))
}

/// Reads `64m`, `1.5g`, `1024`: binary units, as flags for memory have them.
pub(crate) fn parse_bytes(flag: &'static str, text: &str) -> Result<i64, CliError> {
    let error = || CliError::Flag { flag, reason: format!("invalid size: '{text}'") };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: i64 = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(error()),
    };
    let value: f64 = digits.trim().parse().map_err(|_| error())?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sizes are far below 2^53")]
    let bytes = (value * factor as f64) as i64;
    if bytes < 0 { Err(error()) } else { Ok(bytes) }
}

/// A time for `--since` and `--until`: seconds since 1970, RFC 3339, or a duration before now such as `10m` or `1h30m`.
pub(crate) fn parse_time(flag: &'static str, text: &str) -> Result<String, CliError> {
    if text.parse::<f64>().is_ok() {
        return Ok(text.to_owned());
    }
    let format = &time::format_description::well_known::Rfc3339;
    if let Ok(at) = time::OffsetDateTime::parse(text, format) {
        return Ok(format!("{}.{:09}", at.unix_timestamp(), at.nanosecond()));
    }
    let date = if text.len() == 10 { format!("{text}T00:00:00Z") } else { format!("{text}Z") };
    if let Ok(at) = time::OffsetDateTime::parse(&date, format) {
        return Ok(format!("{}.{:09}", at.unix_timestamp(), at.nanosecond()));
    }
    let seconds = parse_duration(text).ok_or_else(|| CliError::Flag {
        flag,
        reason: format!("invalid time {text:?}: use seconds, RFC 3339, or a duration such as 10m"),
    })?;
    let at = time::OffsetDateTime::now_utc() - std::time::Duration::from_secs_f64(seconds);
    Ok(format!("{}.{:09}", at.unix_timestamp(), at.nanosecond()))
}

/// Seconds of a duration such as `1h30m`, `500ms`.
pub(crate) fn parse_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += value
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1_240_000, "1.24MB"),
            (7_800_000, "7.8MB"),
            (118_000_000, "118MB"),
            (1_000, "1kB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (text, bytes) in
            [("64m", 64 << 20), ("1g", 1 << 30), ("1.5k", 1536), ("100", 100), ("10MB", 10 << 20), ("2GiB", 2 << 30)]
        {
            assert_eq!(parse_bytes("--memory", text).expect(text), bytes);
        }
        for bad in ["", "x", "1x", "-1", "m"] {
            assert!(parse_bytes("--memory", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (3599, "59 minutes"),
            (7200, "2 hours"),
            (259_200, "3 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(parse_duration("1h30m"), Some(5400.0));
        assert_eq!(parse_duration("500ms"), Some(0.5));
        for bad in ["", "5", "m", "5x"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert!(parse_time("--since", "2024-01-02T03:04:05Z").expect("time").starts_with("1704164645."));
        assert!(parse_time("--since", "2024-01-02").expect("date").starts_with("1704153600."));
    }
}
