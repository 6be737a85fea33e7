//! Images for their routes.

use std::sync::Arc;

use async_trait::async_trait;
use sheave_api::Filters;
use sheave_api::images::{
    AuthConfig, AuthResponse, DeletedItem, DistributionInspect, HistoryItem, ImageInspect, ImageListQuery,
    ImageSummary, ImageTagQuery, ImagesPruned,
};
use sheave_api::progress::ProgressMessage;
use sheave_http::routes::images;
use sheave_images::{Images, ListOptions, PullRequest};
use sheave_types::{Error, Platform, Reference, Result};
use tokio::sync::mpsc;

/// The images for their routes.
pub struct ImageRoutes(pub Arc<Images>);

impl ImageRoutes {
    /// Refuses a platform that the image is not for: one platform of an image is kept.
    fn check(&self, name: &str, platform: Option<&Platform>) -> Result<()> {
        let Some(wanted) = platform else { return Ok(()) };
        let own = self.0.resolve(name)?.platform();
        let fits = wanted.os == own.os
            && wanted.architecture == own.architecture
            && (wanted.variant.is_empty() || wanted.variant == own.variant);
        if fits { Ok(()) } else { Err(Error::not_found(format!("image {name} is not here for platform {wanted}"))) }
    }
}

#[async_trait]
impl images::Images for ImageRoutes {
    async fn list(&self, query: ImageListQuery) -> Result<Vec<ImageSummary>> {
        self.0.list(&ListOptions { filters: query.filters, shared_size: query.shared_size })
    }

    async fn inspect(&self, name: &str, platform: Option<Platform>) -> Result<ImageInspect> {
        self.check(name, platform.as_ref())?;
        self.0.inspect(name)
    }

    async fn history(&self, name: &str, platform: Option<Platform>) -> Result<Vec<HistoryItem>> {
        self.check(name, platform.as_ref())?;
        self.0.history(name)
    }

    async fn tag(&self, name: &str, query: ImageTagQuery) -> Result<()> {
        self.0.tag(name, &query.repo, &query.tag)
    }

    async fn remove(&self, name: &str, force: bool) -> Result<Vec<DeletedItem>> {
        self.0.remove(name, force).await
    }

    async fn prune(&self, filters: Filters) -> Result<ImagesPruned> {
        self.0.prune(&filters).await
    }

    async fn pull(
        &self,
        reference: Reference,
        platform: Option<Platform>,
        auth: AuthConfig,
        progress: mpsc::Sender<ProgressMessage>,
    ) -> Result<()> {
        let every_tag = reference.tag().is_none() && reference.digest().is_none();
        let request = PullRequest { reference, platform, auth };
        if every_tag { self.0.pull_all(request, progress).await } else { self.0.pull(request, progress).await }
    }

    async fn login(&self, auth: AuthConfig) -> Result<AuthResponse> {
        self.0.login(auth).await
    }

    async fn distribution(&self, name: &str, auth: AuthConfig) -> Result<DistributionInspect> {
        self.0.distribution(name, auth).await
    }
}
