//! Images as the supervisor needs them, and its containers as images need them.

use async_trait::async_trait;
use sheave_api::containers::ContainerConfig;
use sheave_images::{ContainerUse, ImageUsers, Images};
use sheave_types::{Digest, Error, ErrorKind, Platform, Result};

use crate::neighbours::{FoundImage, ImageSource};
use crate::supervisor::Supervisor;

#[async_trait]
impl ImageSource for Images {
    fn find(&self, name: &str, platform: Option<&str>) -> Result<FoundImage> {
        let image = self.resolve(name)?;
        let own = image.platform();
        if let Some(wanted) = platform {
            let wanted: Platform = wanted.parse()?;
            if !matches(&wanted, &own) {
                let text = format!(
                    "image with reference {name} was found but its platform ({own}) does not match the specified \
                     platform ({wanted})"
                );
                return Err(Error::not_found(text));
            }
        }
        Ok(FoundImage {
            id: image.id.to_string(),
            manifest: to_json(&image.record.manifest)?,
            platform: own.os,
            config: ContainerConfig::from(&image.config),
        })
    }

    fn size(&self, id: &str) -> Option<u64> {
        self.resolve(id).ok().map(|image| image.size())
    }

    async fn unpack(&self, id: &str, driver: &str) -> Result<Option<String>> {
        self.ensure_unpacked(&self.resolve(id)?, driver).await
    }
}

fn matches(wanted: &Platform, own: &Platform) -> bool {
    wanted.os == own.os
        && wanted.architecture == own.architecture
        && (wanted.variant.is_empty() || wanted.variant == own.variant)
}

fn to_json(value: &impl serde::Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|e| Error::with_source(ErrorKind::Internal, e.to_string(), e))
}

impl ImageUsers for Supervisor {
    fn users(&self, image: &Digest) -> Vec<ContainerUse> {
        let id = image.to_string();
        let views = self.views().into_iter().filter(|view| view.record.image == id);
        views.map(|view| ContainerUse { id: view.id.to_string(), running: view.state.is_running() }).collect()
    }
}
