//! Query strings: from text to the type of an endpoint's parameters, by Docker's rules.
//!
//! - A bool is false for nothing, `0`, `no`, `false`, `none`, in any case and with blanks around; true for all else.
//! - An empty value of an `Option` is `None`, an empty number is 0, the first value of a repeated key counts.
//! - A `Vec` has every value of its key. A [`Filters`](sheave_api::Filters) reads its JSON.
//! - Unknown parameters are ignored.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use sheave_api::version::Params;

use crate::error::HttpError;

/// Splits and decodes a query string.
pub(crate) fn parse(text: &str) -> Params {
    let mut params = Params::new();
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        params.entry(key.into_owned()).or_default().push(value.into_owned());
    }
    params
}

/// Reads the parameters of an endpoint.
pub(crate) fn decode<T: DeserializeOwned>(params: &Params) -> Result<T, HttpError> {
    let pairs = params.iter().map(|(key, values)| (key.as_str(), Values { key, values }));
    T::deserialize(MapDeserializer::new(pairs)).map_err(|QueryError { name, reason }| HttpError::Parameter {
        name: name.unwrap_or_else(|| "query".into()),
        reason,
    })
}

/// Docker's rule for booleans.
pub(crate) fn truth(value: &str) -> bool {
    !matches!(value.trim().to_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

#[derive(Debug)]
struct QueryError {
    name: Option<String>,
    reason: String,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for QueryError {}

impl de::Error for QueryError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { name: None, reason: message.to_string() }
    }
}

impl QueryError {
    fn at(mut self, key: &str) -> Self {
        self.name.get_or_insert_with(|| key.to_owned());
        self
    }
}

/// The values of one key.
#[derive(Clone, Copy)]
struct Values<'a> {
    key: &'a str,
    values: &'a [String],
}

impl<'a> Values<'a> {
    fn first(self) -> &'a str {
        self.values.first().map_or("", String::as_str)
    }

    fn number<T: std::str::FromStr + Default>(self) -> Result<T, QueryError> {
        match self.first().trim() {
            "" => Ok(T::default()),
            text => text.parse().map_err(|_| {
                QueryError { name: None, reason: format!("{text:?} is not a number in range") }.at(self.key)
            }),
        }
    }
}

impl<'de> IntoDeserializer<'de, QueryError> for Values<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! numbers {
    ($($method:ident => $visit:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
            visitor.$visit(self.number()?).map_err(|e: QueryError| e.at(self.key))
        })*
    };
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_str(self.first()).map_err(|e: QueryError| e.at(self.key))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_bool(truth(self.first()))
    }

    numbers! {
        deserialize_i8 => visit_i8, deserialize_i16 => visit_i16, deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64, deserialize_u8 => visit_u8, deserialize_u16 => visit_u16,
        deserialize_u32 => visit_u32, deserialize_u64 => visit_u64, deserialize_f32 => visit_f32,
        deserialize_f64 => visit_f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        if self.first().is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        let values = self.values.iter().map(|v| Values { key: self.key, values: std::slice::from_ref(v) });
        visitor.visit_seq(SeqDeserializer::new(values))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        visitor.visit_enum(self.first().into_deserializer()).map_err(|e: QueryError| e.at(self.key))
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use sheave_api::Filters;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    struct Query {
        all: bool,
        limit: i64,
        h: Option<u32>,
        names: Vec<String>,
        detach_keys: Option<String>,
        filters: Filters,
    }

    fn read(text: &str) -> Result<Query, String> {
        decode(&parse(text)).map_err(|e| e.to_string())
    }

    #[test]
    fn by_dockers_rules() {
        let query = read("all=1&limit=-1&h=24&names=a&names=b%2Fc&detachKeys=ctrl-p%2Cctrl-q&x=y").unwrap();
        let keys = Some("ctrl-p,ctrl-q".to_owned());
        let names = vec!["a".to_owned(), "b/c".to_owned()];
        assert_eq!(query, Query { all: true, limit: -1, h: Some(24), names, detach_keys: keys, ..Query::default() });
        assert_eq!(read("all=&limit=&h=&detachKeys=&filters=").unwrap(), Query::default());
        assert_eq!(read("filters=%7B%22a%22%3A%5B%22b%22%5D%7D").unwrap().filters.get("a"), ["b"]);
        for (text, part) in [("limit=x", "limit"), ("h=-1", "\"-1\""), ("filters=%7B", "filters")] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn booleans() {
        for (text, value) in [("", false), ("0", false), (" False ", false), ("NO", false), ("none", false)] {
            assert_eq!(truth(text), value, "{text}");
        }
        for text in ["1", "true", "True", "yes", "on", "2", "null"] {
            assert!(truth(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = read(&text);
        }

        #[test]
        fn strings_come_through(value in "\\PC{1,40}") {
            let text = form_urlencoded::Serializer::new(String::new()).append_pair("names", &value).finish();
            prop_assert_eq!(read(&text).unwrap().names, vec![value]);
        }
    }
}
