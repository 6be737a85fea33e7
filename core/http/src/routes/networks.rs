//! Networks: `/networks`, `/networks/{id}`.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use sheave_api::Filters;
use sheave_api::networks::{
    Network, NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
    NetworkFilterQuery, NetworkInspectQuery, NetworkPruneResponse,
};
use sheave_types::{Action, Error, Result};

use crate::reply::Reply;
use crate::request::{Json, NoQuery, Request};
use crate::route::Route;

/// What the routes of networks need.
#[async_trait]
pub trait Networks: Send + Sync {
    /// Makes one.
    async fn create(&self, request: NetworkCreateRequest) -> Result<NetworkCreateResponse>;
    /// Those that pass the filters.
    async fn list(&self, filters: &Filters) -> Result<Vec<Network>>;
    /// One, with its containers.
    async fn inspect(&self, name: &str) -> Result<Network>;
    /// Removes one that is not in use.
    async fn remove(&self, name: &str) -> Result<()>;
    /// Removes those that are not in use.
    async fn prune(&self, filters: &Filters) -> Result<NetworkPruneResponse>;
    /// Joins a container to one, at once if it runs.
    async fn connect(&self, network: &str, request: NetworkConnectRequest) -> Result<()>;
    /// Takes a container out of one.
    async fn disconnect(&self, network: &str, request: NetworkDisconnectRequest) -> Result<()>;
}

type Area = Arc<dyn Networks>;

/// The routes.
pub fn routes() -> Vec<Route<dyn Networks>> {
    vec![
        Route::get("/networks", Action::NetworkList, list),
        Route::named(
            Method::POST,
            "/networks/create",
            Action::NetworkCreate,
            |_: &NoQuery, body: &Json<NetworkCreateRequest>| body.0.name.clone(),
            create,
        ),
        Route::post("/networks/prune", Action::NetworkPrune, prune),
        Route::post("/networks/{id}/connect", Action::NetworkConnect, connect),
        Route::post("/networks/{id}/disconnect", Action::NetworkDisconnect, disconnect),
        Route::get("/networks/{id}", Action::NetworkInspect, inspect),
        Route::delete("/networks/{id}", Action::NetworkRemove, remove),
    ]
}

async fn list(area: Area, request: Request<NetworkFilterQuery>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &area.list(&request.query.filters).await?)
}

async fn create(area: Area, request: Request<NoQuery, Json<NetworkCreateRequest>>) -> Result<Reply> {
    Reply::json(StatusCode::CREATED, &area.create(request.body.0).await?)
}

async fn inspect(area: Area, request: Request<NetworkInspectQuery>) -> Result<Reply> {
    let name = request.cx.param("id");
    let network = area.inspect(name).await?;
    if !request.query.scope.is_empty() && request.query.scope != network.scope {
        return Err(Error::not_found(format!("network {name} not found")));
    }
    Reply::json(StatusCode::OK, &network)
}

async fn remove(area: Area, request: Request<NoQuery>) -> Result<Reply> {
    area.remove(request.cx.param("id")).await?;
    Ok(Reply::no_content())
}

async fn prune(area: Area, request: Request<NetworkFilterQuery>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &area.prune(&request.query.filters).await?)
}

async fn connect(area: Area, request: Request<NoQuery, Json<NetworkConnectRequest>>) -> Result<Reply> {
    area.connect(request.cx.param("id"), request.body.0).await?;
    Ok(Reply::empty(StatusCode::OK))
}

async fn disconnect(area: Area, request: Request<NoQuery, Json<NetworkDisconnectRequest>>) -> Result<Reply> {
    area.disconnect(request.cx.param("id"), request.body.0).await?;
    Ok(Reply::empty(StatusCode::OK))
}
