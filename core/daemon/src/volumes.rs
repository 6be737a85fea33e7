//! Volumes for their routes.

use async_trait::async_trait;
use sheave_api::Filters;
use sheave_api::volumes::{Volume, VolumeCreateRequest, VolumePruneResponse};
use sheave_http::routes::volumes;
use sheave_storage::Volumes;
use sheave_types::Result;

/// The volumes for their routes.
pub struct VolumeRoutes(pub Volumes);

#[async_trait]
impl volumes::Volumes for VolumeRoutes {
    async fn create(&self, request: VolumeCreateRequest) -> Result<Volume> {
        self.0.create(request).await
    }

    async fn list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        self.0.list(filters)
    }

    async fn inspect(&self, name: &str) -> Result<Volume> {
        self.0.get(name).await
    }

    async fn remove(&self, name: &str, force: bool) -> Result<()> {
        self.0.remove(name, force).await
    }

    async fn prune(&self, filters: &Filters) -> Result<VolumePruneResponse> {
        self.0.prune(filters).await
    }
}
