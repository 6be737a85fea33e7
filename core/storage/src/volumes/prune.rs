//! Removing volumes that no container needs.

use std::collections::BTreeMap;

use sheave_api::Filters;
use sheave_api::volumes::{ANONYMOUS, VolumePruneResponse};
use sheave_telemetry::events::{Event, EventKind};

use super::{Doc, Inner, filters};
use crate::error::{Result, StorageError};

/// Removes the unused volumes that pass the filters; those that come into use meanwhile stay.
pub(super) async fn run(inner: &Inner, given: &Filters) -> Result<VolumePruneResponse> {
    filters::check(given, &["all", "label", "label!"])?;
    let all = given.flag("all").map_err(StorageError::Filters)?.unwrap_or(false);
    let _claim = inner.claims.try_take(&["prune".to_owned()], &[]).ok_or(StorageError::Pruning)?;
    let mut response = VolumePruneResponse::default();
    for row in inner.database.volumes().all::<Doc>()? {
        let anonymous = row.doc.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS));
        let wanted = (all || anonymous) && filters::labels(given, &row);
        if !wanted || !inner.users(&row.name)?.is_empty() {
            continue;
        }
        let size = inner.size(&row).await.ok().flatten().unwrap_or(0);
        match inner.remove(&row.name).await {
            Ok(()) => {
                response.space_reclaimed += size;
                response.volumes_deleted.push(row.name);
            }
            Err(StorageError::InUse { .. } | StorageError::NoSuchVolume { .. }) => {}
            Err(error) => tracing::warn!(volume = row.name, %error, "cannot be pruned"),
        }
    }
    let attributes = BTreeMap::from([("reclaimed".to_owned(), response.space_reclaimed.to_string())]);
    inner.events.publish(Event::now(EventKind::Volume, "prune", "", attributes));
    Ok(response)
}
