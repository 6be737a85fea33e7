//! What of a log is asked for.

use crate::error::{Error, Fault};
use crate::io::mux::Framing;
use crate::time::Timestamp;

/// How many lines from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// All of them.
    All,
    /// The last so many, over rotated files too.
    Last(usize),
}

/// What of a log is asked for, and in which form.
#[derive(Debug, Clone)]
pub struct Query {
    /// Go on with what is written later.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Each line begins with its attributes.
    pub details: bool,
    /// Lines from the end; counted before the other conditions.
    pub tail: Tail,
    /// Nothing before this time.
    pub since: Option<Timestamp>,
    /// Nothing after this time.
    pub until: Option<Timestamp>,
    /// Raw for a terminal.
    pub framing: Framing,
}

impl Query {
    /// Everything there is.
    pub fn all(framing: Framing) -> Self {
        Self {
            follow: false,
            stdout: true,
            stderr: true,
            timestamps: false,
            details: false,
            tail: Tail::All,
            since: None,
            until: None,
            framing,
        }
    }
}

impl Tail {
    /// Reads `all`, a number, or what Docker takes as all: anything else.
    pub fn parse(text: Option<&str>) -> Self {
        match text.map(str::parse::<i64>) {
            Some(Ok(n)) => usize::try_from(n).map_or(Tail::All, Tail::Last),
            _ => Tail::All,
        }
    }
}

/// Reads `seconds` or `seconds.nanoseconds` since the epoch, or RFC 3339; zero and nothing mean no bound.
///
/// # Errors
/// `Invalid` for anything else.
pub fn parse_time(name: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    let Some(text) = text.filter(|t| !t.is_empty() && *t != "0") else { return Ok(None) };
    if let Some(time) = Timestamp::parse(text) {
        return Ok(Some(time));
    }
    let error = || Error::from(Fault::Value { name, value: text.to_owned() });
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| error())?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error());
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| error())?;
    let total = seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(nanos)).ok_or_else(error)?;
    Ok((total != 0).then_some(Timestamp::from_nanos(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, nanos) in [
            (Some("1700000000"), Some(1_700_000_000_000_000_000)),
            (Some("1700000000.5"), Some(1_700_000_000_500_000_000)),
            (Some("1700000000.000000001"), Some(1_700_000_000_000_000_001)),
            (Some("2023-11-14T22:13:20Z"), Some(1_700_000_000_000_000_000)),
            (Some("0"), None),
            (Some(""), None),
            (None, None),
        ] {
            assert_eq!(parse_time("since", text).unwrap(), nanos.map(Timestamp::from_nanos), "{text:?}");
        }
        for bad in ["x", "1.x", "1.0000000000", "99999999999999999999", "10m"] {
            assert!(parse_time("since", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn tails() {
        for (text, tail) in [
            (None, Tail::All),
            (Some("all"), Tail::All),
            (Some("-1"), Tail::All),
            (Some("0"), Tail::Last(0)),
            (Some("5"), Tail::Last(5)),
        ] {
            assert_eq!(Tail::parse(text), tail);
        }
    }
}
