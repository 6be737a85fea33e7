//! How Docker reads JSON: `null` is "not given", and a list of arguments may be one string.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

/// Reads `null` as the type's default; for `#[serde(deserialize_with = …)]` beside `#[serde(default)]`.
///
/// # Errors
/// Those of `T`.
pub fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a list of strings, one string (a list of one), or `null` (`None`, which for `Entrypoint` means "inherit" while
/// an empty list means "none").
///
/// # Errors
/// When it is something else.
pub fn string_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        List(Vec<String>),
    }
    let read = Option::<Either>::deserialize(deserializer)
        .map_err(|_| D::Error::custom("expected a string or a list of strings"))?;
    Ok(read.map(|either| match either {
        Either::One(one) => vec![one],
        Either::List(list) => list,
    }))
}

/// The value `{}` of Go's sets (`"Volumes": {"/data": {}}`); `null` is read as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {}
        Option::<Object>::deserialize(deserializer)?;
        Ok(Self {})
    }
}
