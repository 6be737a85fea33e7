//! Programs run in running containers: `/containers/{id}/exec`, `/exec/…`.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use sheave_api::containers::{
    ExecCreateRequest, ExecCreateResponse, ExecInspectResponse, ExecStartRequest, ResizeQuery,
};
use sheave_types::{Action, Result};

use super::containers::Session;
use crate::reply::Reply;
use crate::request::{Json, NoQuery, Request};
use crate::route::Route;

/// What the routes of execs need.
#[async_trait]
pub trait Execs: Send + Sync {
    /// Makes one in a container that runs.
    async fn create(&self, container: &str, request: ExecCreateRequest) -> Result<ExecCreateResponse>;
    /// Starts it: at once where it is detached, else when its client is served.
    async fn start(&self, id: &str, request: ExecStartRequest) -> Result<Option<Box<dyn Session>>>;
    /// Everything about it.
    async fn inspect(&self, id: &str) -> Result<ExecInspectResponse>;
    /// Sets the size of its terminal.
    async fn resize(&self, id: &str, query: ResizeQuery) -> Result<()>;
}

type Area = Arc<dyn Execs>;

/// The routes.
pub fn routes() -> Vec<Route<dyn Execs>> {
    vec![
        Route::post("/containers/{id}/exec", Action::ExecCreate, create),
        Route::post("/exec/{id}/start", Action::ExecStart, start),
        Route::post("/exec/{id}/resize", Action::ExecResize, resize),
        Route::get("/exec/{id}/json", Action::ExecInspect, inspect),
    ]
}

async fn create(area: Area, request: Request<NoQuery, Json<ExecCreateRequest>>) -> Result<Reply> {
    Reply::json(StatusCode::CREATED, &area.create(request.cx.param("id"), request.body.0).await?)
}

async fn start(area: Area, request: Request<NoQuery, Json<ExecStartRequest>>) -> Result<Reply> {
    match area.start(request.cx.param("id"), request.body.0).await? {
        Some(session) => Ok(Reply::hijack(session.multiplexed(), |connection| session.serve(connection))),
        None => Ok(Reply::empty(StatusCode::OK)),
    }
}

async fn resize(area: Area, request: Request<ResizeQuery>) -> Result<Reply> {
    area.resize(request.cx.param("id"), request.query).await?;
    Ok(Reply::empty(StatusCode::OK))
}

async fn inspect(area: Area, request: Request<NoQuery>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &area.inspect(request.cx.param("id")).await?)
}
