//! `index.json`: a projection of the database for other tools.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde::Serialize;

use super::{ContentStore, replace};
use crate::error::ContentError;
use crate::media::{Descriptor, OCI_INDEX};

/// One image under one name.
#[derive(Debug, Clone)]
pub(crate) struct IndexEntry {
    /// Its manifest.
    pub(crate) manifest: Descriptor,
    /// The full reference; none for an image without a name.
    pub(crate) name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: Vec<Descriptor>,
}

impl ContentStore {
    /// Writes `index.json` anew.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write_index(&self, entries: &[IndexEntry]) -> Result<(), ContentError> {
        let manifests = entries.iter().map(|entry| {
            let mut annotations = BTreeMap::new();
            if let Some(name) = &entry.name {
                annotations.insert("io.containerd.image.name".to_owned(), name.clone());
                annotations.insert("org.opencontainers.image.ref.name".to_owned(), name.clone());
            }
            Descriptor { annotations, ..entry.manifest.clone() }
        });
        let index = Index { schema_version: 2, media_type: OCI_INDEX, manifests: manifests.collect() };
        let json = serde_json::to_vec(&index).map_err(ContentError::Index)?;
        // One writer at a time, as all use one temporary name.
        let _writing = self.0.index.lock().unwrap_or_else(PoisonError::into_inner);
        replace(&self.0.root.join(".index.json.tmp"), &self.0.root.join("index.json"), &json)
    }
}
