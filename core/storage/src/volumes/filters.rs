//! Which volumes a filter lets through.

use sheave_api::Filters;

use super::Row;
use crate::error::{Result, StorageError};

/// Refuses filters that the call does not know.
///
/// # Errors
/// With the filter's name.
pub(super) fn check(filters: &Filters, allowed: &[&str]) -> Result<()> {
    filters.check(allowed).map_err(StorageError::Filters)
}

/// Whether the volume has the labels that are asked for, and none of those that are not wanted.
pub(super) fn labels(filters: &Filters, row: &Row) -> bool {
    filters.labels(|key| row.doc.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str))
}

/// Whether a volume is listed; `used` tells whether a container needs it.
///
/// # Errors
/// For a value of `dangling` that is neither true nor false, and those of `used`.
pub(super) fn passes(filters: &Filters, row: &Row, used: impl FnOnce() -> Result<bool>) -> Result<bool> {
    let named = filters.any("name", |value| matches_name(value, &row.name));
    if !named || !filters.any("driver", |value| value == row.driver) || !labels(filters, row) {
        return Ok(false);
    }
    match filters.flag("dangling").map_err(StorageError::Filters)? {
        Some(dangling) => Ok(used()? != dangling),
        None => Ok(true),
    }
}

/// A regular expression anywhere in the name, as Docker's; one that is none is taken as it stands.
fn matches_name(pattern: &str, name: &str) -> bool {
    match regex_lite::Regex::new(pattern) {
        Ok(expression) => expression.is_match(name),
        Err(_) => name.contains(pattern),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Doc;
    use super::*;

    #[test]
    fn table() {
        let labels = Some(BTreeMap::from([("tier".to_owned(), "db".to_owned())]));
        let doc =
            Doc { created: String::new(), mountpoint: String::new(), scope: "local".into(), options: None, labels };
        let row = Row { name: "web-data".into(), driver: "local".into(), doc };
        for (filters, used, passed) in [
            ("{}", false, true),
            (r#"{"name":["data"]}"#, false, true),
            (r#"{"name":["^web"]}"#, false, true),
            (r#"{"name":["^data"]}"#, false, false),
            (r#"{"name":["["]}"#, false, false),
            (r#"{"name":["x","web"]}"#, false, true),
            (r#"{"driver":["local"]}"#, false, true),
            (r#"{"driver":["nfs"]}"#, false, false),
            (r#"{"label":["tier"]}"#, false, true),
            (r#"{"label":["tier=db"]}"#, false, true),
            (r#"{"label":["tier=db","other"]}"#, false, false),
            (r#"{"label!":["tier"]}"#, false, false),
            (r#"{"dangling":["true"]}"#, false, true),
            (r#"{"dangling":["true"]}"#, true, false),
            (r#"{"dangling":["0"]}"#, true, true),
            (r#"{"dangling":["0"]}"#, false, false),
        ] {
            let parsed = Filters::parse(filters).expect(filters);
            assert_eq!(passes(&parsed, &row, || Ok(used)).expect(filters), passed, "{filters} used={used}");
        }
        let bad = Filters::parse(r#"{"dangling":["maybe"]}"#).expect("parse");
        assert!(passes(&bad, &row, || Ok(false)).is_err());
        assert!(check(&Filters::parse(r#"{"until":["1h"]}"#).expect("parse"), &["label"]).is_err());
    }
}
