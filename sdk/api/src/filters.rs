//! The `filters` parameter: both encodings that clients send.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use sheave_types::{Error, Result};

/// Filters: several values of a key are alternatives, several keys must all hold.
///
/// Read from the JSON text of a query parameter, `{"key":{"value":true}}` (Go clients) or `{"key":["value"]}` (the
/// others), and from the same as JSON; written as the latter. An empty text or `null` is no filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads the text of the parameter.
    ///
    /// # Errors
    /// `invalid` when it is neither of the two encodings.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|e| Error::invalid(format!("invalid filters: {e}")))
    }

    /// Refuses keys that the endpoint does not know.
    ///
    /// # Errors
    /// `invalid filter 'x'`.
    pub fn check(&self, allowed: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !allowed.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of a key; empty when it is not filtered by.
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether a thing passes this key: it is not filtered by, or one of its values satisfies `test`.
    pub fn any(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().any(|v| test(v)))
    }

    /// The value of a key that is true or false.
    ///
    /// # Errors
    /// `invalid` when it is neither, or both.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(values) = self.0.get(key) else { return Ok(None) };
        let read = |v: &String| match v.as_str() {
            "1" | "true" | "True" => Some(true),
            "0" | "false" | "False" => Some(false),
            _ => None,
        };
        match values.as_slice() {
            [value] => read(value).map(Some).ok_or_else(|| invalid_value(key, values)),
            _ => Err(invalid_value(key, values)),
        }
    }

    /// Whether `labels` has every `label` and none of the `label!` (`k` or `k=v`).
    pub fn labels<'a>(&self, labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels(key) == Some(value),
            None => labels(wanted).is_some(),
        };
        self.get("label").iter().all(has) && !self.get("label!").iter().any(has)
    }
}

/// The error for a value that its key does not take.
pub fn invalid_value(key: &str, values: &[String]) -> Error {
    Error::invalid(format!("invalid filter '{key}={values:?}'"))
}

struct FiltersVisitor;

impl<'de> Visitor<'de> for FiltersVisitor {
    type Value = Filters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists, or of objects of true")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Filters, E> {
        Filters::parse(text).map_err(E::custom)
    }

    fn visit_unit<E>(self) -> Result<Filters, E> {
        Ok(Filters::default())
    }

    fn visit_none<E>(self) -> Result<Filters, E> {
        Ok(Filters::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filters, A::Error> {
        let mut filters = BTreeMap::new();
        while let Some((key, values)) = map.next_entry::<String, Values>()? {
            if filters.insert(key.clone(), values.0).is_some() {
                return Err(A::Error::custom(format!("filter '{key}' is given twice")));
            }
        }
        Ok(Filters(filters))
    }
}

impl<'de> Deserialize<'de> for Filters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FiltersVisitor)
    }
}

struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            List(Vec<String>),
            // Go's clients write a set; a value is in it whatever stands behind it, as in Docker.
            Set(BTreeMap<String, bool>),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::List(list) => list,
            Either::Set(set) => set.into_keys().collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &[&str])]) -> Filters {
        let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        Filters(pairs.iter().map(|(k, v)| ((*k).to_owned(), list(v))).collect())
    }

    #[test]
    fn both_encodings() {
        let expected = filters(&[("dangling", &["true"]), ("label", &["a", "b=c"])]);
        for text in [
            r#"{"label":{"a":true,"b=c":true},"dangling":{"true":true}}"#,
            r#"{"label":["a","b=c"],"dangling":["true"]}"#,
            r#"{"label":["a","b=c"],"dangling":{"true":false}}"#,
        ] {
            assert_eq!(Filters::parse(text).expect(text), expected, "{text}");
        }
        for text in ["", "{}", "null"] {
            assert!(Filters::parse(text).expect(text).is_empty(), "{text}");
        }
        for text in ["x", "[]", r#"{"a":1}"#, r#"{"a":{"b":2}}"#, r#"{"a":[]"#, r#"{"a":[],"a":[]}"#] {
            assert!(Filters::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_flags_and_labels() {
        let given = filters(&[("dangling", &["1"]), ("label", &["a", "b=c"]), ("label!", &["z"])]);
        assert!(given.check(&["dangling", "label", "label!"]).is_ok());
        assert_eq!(given.check(&["label"]).expect_err("unknown").message(), "invalid filter 'dangling'");
        assert_eq!(given.flag("dangling").expect("flag"), Some(true));
        assert_eq!(given.flag("other").expect("absent"), None);
        assert!(given.flag("label").is_err());
        let labels = |pairs: &'static [(&str, &str)]| {
            given.labels(move |key| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
        };
        assert!(labels(&[("a", ""), ("b", "c")]));
        assert!(!labels(&[("a", ""), ("b", "d")]));
        assert!(!labels(&[("a", ""), ("b", "c"), ("z", "")]));
    }
}
