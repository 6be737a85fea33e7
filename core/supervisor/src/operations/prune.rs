//! `POST /containers/prune`: removes the containers that do not run.

use sheave_api::{Filters, timestamp};
use sheave_types::{Error, Result};

use crate::record::View;
use crate::state::State;
use crate::time::Timestamp;

/// Whether a container is removed by a prune with these filters.
#[derive(Debug)]
pub struct Prune<'a> {
    filters: &'a Filters,
    until: Option<Timestamp>,
}

impl<'a> Prune<'a> {
    /// Reads the filters.
    ///
    /// # Errors
    /// `Invalid` for unknown keys and for times that are none.
    pub fn read(filters: &'a Filters, now: Timestamp) -> Result<Self> {
        filters.check(&["until", "label", "label!"])?;
        let until = match filters.get("until") {
            [] => None,
            [text] => Some(Timestamp::from_nanos(timestamp::parse(text, now.nanos())?)),
            _ => return Err(Error::invalid("more than one until filter specified")),
        };
        Ok(Self { filters, until })
    }

    /// Whether this one goes.
    pub fn takes(&self, view: &View) -> bool {
        let labels = view.record.config.labels.as_ref();
        matches!(view.state, State::Created { .. } | State::Exited(_) | State::Dead { .. })
            && self.until.is_none_or(|until| view.record.created < until)
            && self.filters.labels(|key| labels?.get(key).map(String::as_str))
    }
}
