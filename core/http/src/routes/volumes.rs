//! Volumes: `/volumes`, `/volumes/{name}`.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use sheave_api::volumes::{
    Volume, VolumeCreateRequest, VolumeFilterQuery, VolumeListResponse, VolumePruneResponse, VolumeRemoveQuery,
};
use sheave_api::{Filters, Version};
use sheave_types::{Action, Result};

use crate::reply::Reply;
use crate::request::{Json, NoBody, NoQuery, Request};
use crate::route::Route;

/// What the routes of volumes need.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Makes one, or finds the one that has the name.
    async fn create(&self, request: VolumeCreateRequest) -> Result<Volume>;
    /// Those that pass the filters.
    async fn list(&self, filters: &Filters) -> Result<Vec<Volume>>;
    /// One.
    async fn inspect(&self, name: &str) -> Result<Volume>;
    /// Removes one; with `force` a missing one is no error.
    async fn remove(&self, name: &str, force: bool) -> Result<()>;
    /// Removes those that no container needs: anonymous ones, or all with the filter `all`.
    async fn prune(&self, filters: &Filters) -> Result<VolumePruneResponse>;
}

type Area = Arc<dyn Volumes>;

/// The routes.
pub fn routes() -> Vec<Route<dyn Volumes>> {
    vec![
        Route::get("/volumes", Action::VolumeList, list),
        Route::named(
            Method::POST,
            "/volumes/create",
            Action::VolumeCreate,
            |_: &NoQuery, body: &Json<VolumeCreateRequest>| body.0.name.clone(),
            create,
        ),
        Route::post("/volumes/prune", Action::VolumePrune, prune),
        Route::get("/volumes/{name}", Action::VolumeInspect, inspect),
        Route::delete("/volumes/{name}", Action::VolumeRemove, remove),
    ]
}

async fn list(area: Area, request: Request<VolumeFilterQuery>) -> Result<Reply> {
    let volumes = area.list(&request.query.filters).await?;
    Reply::json(StatusCode::OK, &VolumeListResponse { volumes, warnings: None })
}

async fn create(area: Area, request: Request<NoQuery, Json<VolumeCreateRequest>>) -> Result<Reply> {
    Reply::json(StatusCode::CREATED, &area.create(request.body.0).await?)
}

async fn inspect(area: Area, request: Request<NoQuery>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &area.inspect(request.cx.param("name")).await?)
}

async fn remove(area: Area, request: Request<VolumeRemoveQuery>) -> Result<Reply> {
    area.remove(request.cx.param("name"), request.query.force).await?;
    Ok(Reply::no_content())
}

async fn prune(area: Area, request: Request<VolumeFilterQuery, NoBody>) -> Result<Reply> {
    let mut filters = request.query.filters;
    // Before 1.42 a prune took named volumes, too.
    if request.cx.version < Version(1, 42) {
        filters.0.entry("all".to_owned()).or_insert_with(|| vec!["true".to_owned()]);
    }
    Reply::json(StatusCode::OK, &area.prune(&filters).await?)
}
