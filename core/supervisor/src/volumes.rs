//! Volumes as the supervisor needs them.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sheave_api::containers::VolumeOptions;
use sheave_api::volumes::VolumeCreateRequest;
use sheave_storage::Volumes;
use sheave_types::{ErrorKind, Id, Result};

use crate::neighbours::{Claimed, VolumeSource};

#[async_trait]
impl VolumeSource for Volumes {
    async fn claim(&self, name: &str, options: &VolumeOptions, container: &Id) -> Result<Claimed> {
        let driver = options.driver_config.clone().unwrap_or_default();
        let request = VolumeCreateRequest {
            name: name.to_owned(),
            driver: driver.name,
            driver_opts: (!driver.options.is_empty()).then_some(driver.options),
            labels: (!options.labels.is_empty()).then(|| options.labels.clone()),
            cluster_volume_spec: None,
        };
        let volume = Volumes::claim(self, request, container).await?;
        Ok(Claimed { name: volume.name, driver: volume.driver, mountpoint: volume.mountpoint })
    }

    async fn release(&self, name: &str, container: &Id, remove: bool) -> Result<()> {
        Volumes::release(self, name, container).await?;
        if !remove {
            return Ok(());
        }
        match self.remove(name, false).await {
            // Another container has it too, or somebody was faster.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(()),
            other => other,
        }
    }

    async fn mount(&self, name: &str, container: &Id) -> Result<PathBuf> {
        Volumes::mount(self, name, container).await
    }

    async fn unmount(&self, name: &str, container: &Id) -> Result<()> {
        Volumes::unmount(self, name, container).await
    }

    async fn copy_up(&self, volume: &Path, root: &Path, path: &Path) -> Result<()> {
        Volumes::copy_up(self, volume, root, path).await
    }
}
