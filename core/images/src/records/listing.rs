//! `GET /images/json`.

use std::collections::{BTreeMap, HashMap, HashSet};

use sheave_api::images::ImageSummary;
use sheave_api::{Filters, timestamp};
use sheave_types::{Digest, Reference, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ImageUsers, Records, familiar_names, now_nanos};
use crate::image::Image;

const FILTERS: &[&str] = &["dangling", "reference", "label", "label!", "before", "since", "until"];

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// As `filters`.
    pub filters: Filters,
    /// Count what images share.
    pub shared_size: bool,
}

/// Nanoseconds since 1970 of an RFC 3339 time; 0 if it is none.
pub(super) fn created_nanos(image: &Image) -> i64 {
    let time = image.created().and_then(|c| OffsetDateTime::parse(c, &Rfc3339).ok());
    time.and_then(|t| i64::try_from(t.unix_timestamp_nanos()).ok()).unwrap_or(0)
}

/// The labels of an image pass `label` and `label!`.
pub(super) fn labels_pass(filters: &Filters, image: &Image) -> bool {
    let labels = image.config.labels.as_ref();
    filters.labels(|key| labels.and_then(|l| l.get(key)).map(String::as_str))
}

/// The time limit of `until`, if there is one.
pub(super) fn until(filters: &Filters) -> Result<Option<i64>> {
    match filters.get("until") {
        [] => Ok(None),
        [one] => Ok(Some(timestamp::parse(one, now_nanos())?)),
        _ => Err(sheave_types::Error::invalid("more than one until filter specified")),
    }
}

/// Go's `path.Match`: `*` and `?` stay within a component, `[…]` is a class.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=end).any(|n| glob(rest, &text[n..]))
        }
        [b'?', rest @ ..] => text.first().is_some_and(|b| *b != b'/') && glob(rest, &text[1..]),
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|b| *b == b']').filter(|e| *e > 0) else { return false };
            let (class, rest) = (&rest[..end], &rest[end + 1..]);
            text.first().is_some_and(|b| in_class(class, *b)) && glob(rest, &text[1..])
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => text.first() == Some(literal) && glob(rest, &text[1..]),
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, class) = match class {
        [b'^', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let mut at = 0;
    let mut found = false;
    while at < class.len() {
        if let [low, b'-', high, ..] = class[at..] {
            found |= (low..=high).contains(&byte);
            at += 3;
        } else {
            found |= class[at] == byte;
            at += 1;
        }
    }
    found != negated && byte != b'/'
}

/// Whether a pattern means a reference: its whole familiar form or its name.
fn matches_reference(pattern: &str, reference: &Reference) -> bool {
    [reference.familiar(), reference.familiar_name(), reference.to_string(), reference.name()]
        .iter()
        .any(|name| glob(pattern.as_bytes(), name.as_bytes()))
}

impl Records {
    /// The images that pass the filters, the newest first.
    pub(crate) fn list(&self, options: &ListOptions, users: Option<&dyn ImageUsers>) -> Result<Vec<ImageSummary>> {
        let filters = &options.filters;
        filters.check(FILTERS)?;
        let dangling = filters.flag("dangling")?;
        let bound = |key: &str| -> Result<Option<i64>> {
            filters.get(key).first().map(|name| self.resolve(name).map(|i| created_nanos(&i))).transpose()
        };
        let (before, since, until) = (bound("before")?, bound("since")?, until(filters)?);
        let all = self.all()?;
        let shares = options.shared_size.then(|| layer_users(&all));
        let mut listed: Vec<(i64, ImageSummary)> = Vec::new();
        for image in &all {
            let created = created_nanos(image);
            let in_time = before.is_none_or(|t| created < t)
                && since.is_none_or(|t| created > t)
                && until.is_none_or(|t| created <= t);
            if !in_time || !labels_pass(filters, image) {
                continue;
            }
            let Some((tags, digests)) = names(image, filters.get("reference")) else { continue };
            if dangling.is_some_and(|wanted| wanted != tags.is_empty()) {
                continue;
            }
            let containers = users.map_or(-1, |u| i64::try_from(u.users(&image.id).len()).unwrap_or(i64::MAX));
            let shared = shares.as_ref().map_or(-1, |s| shared_size(image, s));
            listed.push((created, summary(image, (tags, digests), containers, shared)));
        }
        listed.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.id.cmp(&y.id)));
        Ok(listed.into_iter().map(|(_, summary)| summary).collect())
    }
}

/// The names that pass `reference`; none if the image has none of them.
fn names(image: &Image, patterns: &[String]) -> Option<(Vec<String>, Vec<String>)> {
    if patterns.is_empty() {
        return Some(familiar_names(image));
    }
    let kept = image
        .references
        .iter()
        .filter(|r| r.parse::<Reference>().is_ok_and(|r| patterns.iter().any(|p| matches_reference(p, &r))));
    let references: Vec<_> = kept.cloned().collect();
    (!references.is_empty()).then(|| familiar_names(&Image { references, ..image.clone() }))
}

fn layer_users(images: &[Image]) -> HashMap<Digest, usize> {
    let mut users = HashMap::new();
    for image in images {
        for chain in image.chain_ids().into_iter().collect::<HashSet<_>>() {
            *users.entry(chain).or_default() += 1;
        }
    }
    users
}

fn shared_size(image: &Image, users: &HashMap<Digest, usize>) -> i64 {
    let layers = image.chain_ids().into_iter().zip(&image.record.layers);
    let shared = layers.filter(|(chain, _)| users.get(chain).is_some_and(|n| *n > 1)).map(|(_, l)| l.size).sum::<u64>();
    i64::try_from(shared).unwrap_or(i64::MAX)
}

fn summary(image: &Image, (tags, digests): (Vec<String>, Vec<String>), containers: i64, shared: i64) -> ImageSummary {
    ImageSummary {
        containers,
        created: created_nanos(image).div_euclid(1_000_000_000),
        id: image.id.to_string(),
        labels: image.config.labels.clone().map(BTreeMap::from_iter),
        parent_id: String::new(),
        descriptor: None,
        repo_digests: digests,
        repo_tags: tags,
        shared_size: shared,
        size: i64::try_from(image.size()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, text, matches) in [
            ("alpine", "alpine", true),
            ("alp*", "alpine", true),
            ("alp*", "alpine:3", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("al?ine:[0-9]", "alpine:3", true),
            ("al?ine:[^0-9]", "alpine:3", false),
            ("al[", "al[", false),
            ("a\\*", "a*", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), matches, "{pattern} {text}");
        }
        let reference: Reference = "localhost:5000/team/app:1".parse().expect("reference");
        for (pattern, matches) in [
            ("localhost:5000/team/app", true),
            ("localhost:5000/*/app:1", true),
            ("app", false),
            ("localhost:5000/team/app:2", false),
        ] {
            assert_eq!(matches_reference(pattern, &reference), matches, "{pattern}");
        }
    }
}
