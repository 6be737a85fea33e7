//! Points in time as clients write them: `since`, `until`.

use sheave_types::{Error, Result};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

const NANOS: i64 = 1_000_000_000;

/// Reads seconds since 1970 with an optional fraction, RFC 3339, a date with or without a time (UTC), or a Go duration
/// before `now`. The result, like `now`, is nanoseconds since 1970.
///
/// # Errors
/// `invalid`.
pub fn parse(text: &str, now: i64) -> Result<i64> {
    let text = text.trim();
    seconds(text)
        .or_else(|| calendar(text))
        .or_else(|| duration(text).map(|d| now.saturating_sub(d)))
        .ok_or_else(|| Error::invalid(format!("invalid time {text:?}: use seconds since 1970, RFC 3339 or a duration")))
}

/// `1700000000.000000001`.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    whole.checked_mul(NANOS)?.checked_add(nanos)
}

fn calendar(text: &str) -> Option<i64> {
    const FORMATS: &[&[BorrowedFormatItem<'_>]] = &[
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond]"),
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]"),
        format_description!("[year]-[month]-[day]T[hour]:[minute]"),
    ];
    let nanos = |t: OffsetDateTime| i64::try_from(t.unix_timestamp_nanos()).ok();
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return nanos(time);
    }
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return nanos(date.with_time(Time::MIDNIGHT).assume_utc());
    }
    FORMATS.iter().find_map(|format| nanos(PrimitiveDateTime::parse(text, format).ok()?.assume_utc()))
}

/// `1h30m`, `1.5s`, `300ms`: a Go duration in nanoseconds.
pub fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |n| end + n);
        total += number * unit(&rest[end..unit_end])?;
        rest = &rest[unit_end..];
    }
    // 292 years either way, as Go's.
    let in_range = total < 9.2e18;
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    in_range.then_some((sign * total) as i64)
}

fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        let now = 1_700_000_000 * NANOS;
        for (text, expected) in [
            ("1700000000", Some(now)),
            ("1700000000.5", Some(now + NANOS / 2)),
            ("1700000000.000000001", Some(now + 1)),
            ("0", Some(0)),
            ("2023-11-14T22:13:20Z", Some(now)),
            ("2023-11-14T23:13:20+01:00", Some(now)),
            ("2023-11-14T22:13:20.25", Some(now + NANOS / 4)),
            ("2023-11-14T22:13", Some(now - 20 * NANOS)),
            ("2023-11-14", Some(1_699_920_000 * NANOS)),
            ("10m", Some(now - 600 * NANOS)),
            ("1h30m", Some(now - 5400 * NANOS)),
            ("1.5s", Some(now - 1_500_000_000)),
            ("-10s", Some(now + 10 * NANOS)),
            ("", None),
            ("x", None),
            ("10", Some(10 * NANOS)),
            ("10y", None),
            ("1..5s", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse(text, now).ok(), expected, "{text}");
        }
    }
}
