//! What the areas hold, for the system routes.

use std::sync::Arc;

use async_trait::async_trait;
use sheave_api::containers::ContainerListQuery;
use sheave_api::system::{DiskUsage, DiskUsageQuery};
use sheave_images::{Images, ListOptions};
use sheave_metadata::Database;
use sheave_storage::Volumes;
use sheave_supervisor::Supervisor;
use sheave_types::{Error, ErrorKind, Result};

use crate::system::{Census, ContainerCount};

/// The areas that hold something.
pub struct Holdings {
    /// The database.
    pub database: Database,
    /// Images.
    pub images: Arc<Images>,
    /// Volumes.
    pub volumes: Volumes,
    /// Containers.
    pub supervisor: Supervisor,
    /// The default storage driver.
    pub driver: String,
}

impl Holdings {
    async fn containers(&self) -> Result<Box<serde_json::value::RawValue>> {
        let query = ContainerListQuery { all: true, size: true, ..ContainerListQuery::default() };
        let fault = |e: serde_json::Error| Error::with_source(ErrorKind::Internal, e.to_string(), e);
        serde_json::from_slice(&self.supervisor.list(query).await?).map_err(fault)
    }
}

#[async_trait]
impl Census for Holdings {
    fn containers(&self) -> Result<ContainerCount> {
        let mut count = ContainerCount::default();
        for view in self.supervisor.views() {
            match view.state.status() {
                "running" | "restarting" => count.running += 1,
                "paused" => count.paused += 1,
                _ => count.stopped += 1,
            }
        }
        Ok(count)
    }

    fn images(&self) -> Result<usize> {
        Ok(self.database.images().all::<serde::de::IgnoredAny>()?.len())
    }

    fn storage_driver(&self) -> String {
        self.driver.clone()
    }

    async fn disk_usage(&self, query: DiskUsageQuery) -> Result<DiskUsage> {
        let wanted = |kind: &str| query.kinds.is_empty() || query.kinds.iter().any(|k| k == kind);
        let mut usage = DiskUsage::default();
        if wanted("image") {
            usage.layers_size = self.images.layers_size()?;
            usage.images = Some(self.images.list(&ListOptions { shared_size: true, ..ListOptions::default() })?);
        }
        if wanted("container") {
            usage.containers = Some(self.containers().await?);
        }
        if wanted("volume") {
            usage.volumes = Some(self.volumes.with_usage().await?);
        }
        if wanted("build-cache") {
            usage.build_cache = Some(Vec::new());
        }
        Ok(usage)
    }
}
