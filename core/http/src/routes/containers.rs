//! Containers: `/containers/…`.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use sheave_api::containers::{
    ContainerAttachQuery, ContainerCreateQuery, ContainerCreateRequest, ContainerCreateResponse, ContainerInspectQuery,
    ContainerInspectResponse, ContainerKillQuery, ContainerListQuery, ContainerLogsQuery, ContainerPruneQuery,
    ContainerPruneResponse, ContainerRemoveQuery, ContainerRenameQuery, ContainerStopQuery, ContainerTopQuery,
    ContainerTopResponse, ContainerWaitQuery, ContainerWaitResponse, ResizeQuery,
};
use sheave_types::{Action, Error, ErrorKind, Result};
use tokio::sync::mpsc;

use crate::hijack::Duplex;
use crate::reply::Reply;
use crate::request::{Json, NoQuery, Request};
use crate::route::Route;

/// A client that is to be served on its raw connection.
#[async_trait]
pub trait Session: Send {
    /// Whether it gets frames (no terminal).
    fn multiplexed(&self) -> bool;
    /// Serves it to the end.
    async fn serve(self: Box<Self>, connection: Duplex);
}

/// A log that is being read.
pub struct Logs {
    /// Whether it comes in frames (no terminal).
    pub multiplexed: bool,
    /// Its pieces; dropping this ends the reader.
    pub pieces: mpsc::Receiver<std::io::Result<Bytes>>,
}

/// Ready when what was waited for has happened.
pub type Waiting = Pin<Box<dyn Future<Output = Result<ContainerWaitResponse>> + Send>>;

/// What the routes of containers need.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Makes one.
    async fn create(
        &self,
        query: ContainerCreateQuery,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse>;
    /// The list, as JSON text.
    async fn list(&self, query: ContainerListQuery) -> Result<Vec<u8>>;
    /// Everything about one.
    async fn inspect(&self, id: &str, query: ContainerInspectQuery) -> Result<ContainerInspectResponse>;
    /// Starts it.
    async fn start(&self, id: &str) -> Result<()>;
    /// Stops it.
    async fn stop(&self, id: &str, query: ContainerStopQuery) -> Result<()>;
    /// Stops it if it runs, and starts it.
    async fn restart(&self, id: &str, query: ContainerStopQuery) -> Result<()>;
    /// Sends it a signal.
    async fn kill(&self, id: &str, query: ContainerKillQuery) -> Result<()>;
    /// Freezes it.
    async fn pause(&self, id: &str) -> Result<()>;
    /// Lets it go on.
    async fn unpause(&self, id: &str) -> Result<()>;
    /// Gives it another name.
    async fn rename(&self, id: &str, query: ContainerRenameQuery) -> Result<()>;
    /// Sets the size of its terminal.
    async fn resize(&self, id: &str, query: ResizeQuery) -> Result<()>;
    /// Waits; whoever waits is registered when this returns.
    async fn wait(&self, id: &str, query: ContainerWaitQuery) -> Result<Waiting>;
    /// Reads its log.
    async fn logs(&self, id: &str, query: ContainerLogsQuery) -> Result<Logs>;
    /// Attaches a client; it is registered when this returns.
    async fn attach(&self, id: &str, query: ContainerAttachQuery) -> Result<Box<dyn Session>>;
    /// Its processes.
    async fn top(&self, id: &str, query: ContainerTopQuery) -> Result<ContainerTopResponse>;
    /// Removes it.
    async fn remove(&self, id: &str, query: ContainerRemoveQuery) -> Result<()>;
    /// Removes those that do not run.
    async fn prune(&self, query: ContainerPruneQuery) -> Result<ContainerPruneResponse>;
}

type Area = Arc<dyn Containers>;

/// The routes.
pub fn routes() -> Vec<Route<dyn Containers>> {
    vec![
        Route::get("/containers/json", Action::ContainerList, list),
        Route::named(
            http::Method::POST,
            "/containers/create",
            Action::ContainerCreate,
            |query: &ContainerCreateQuery, _: &Json<ContainerCreateRequest>| query.name.clone().unwrap_or_default(),
            create,
        ),
        Route::post("/containers/prune", Action::ContainerPrune, prune),
        Route::get("/containers/{id}/json", Action::ContainerInspect, inspect),
        Route::get("/containers/{id}/top", Action::ContainerTop, top),
        Route::get("/containers/{id}/logs", Action::ContainerLogs, logs),
        Route::post("/containers/{id}/resize", Action::ContainerResize, resize),
        Route::post("/containers/{id}/start", Action::ContainerStart, start),
        Route::post("/containers/{id}/stop", Action::ContainerStop, stop),
        Route::post("/containers/{id}/restart", Action::ContainerRestart, restart),
        Route::post("/containers/{id}/kill", Action::ContainerKill, kill),
        Route::post("/containers/{id}/rename", Action::ContainerRename, rename),
        Route::post("/containers/{id}/pause", Action::ContainerPause, pause),
        Route::post("/containers/{id}/unpause", Action::ContainerUnpause, unpause),
        Route::post("/containers/{id}/attach", Action::ContainerAttach, attach),
        Route::post("/containers/{id}/wait", Action::ContainerWait, wait),
        Route::delete("/containers/{id}", Action::ContainerRemove, remove),
    ]
}

async fn list(area: Area, request: Request<ContainerListQuery>) -> Result<Reply> {
    Ok(Reply::raw_json(StatusCode::OK, area.list(request.query).await?.into()))
}

async fn create(area: Area, request: Request<ContainerCreateQuery, Json<ContainerCreateRequest>>) -> Result<Reply> {
    Reply::json(StatusCode::CREATED, &area.create(request.query, request.body.0).await?)
}

async fn prune(area: Area, request: Request<ContainerPruneQuery>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &area.prune(request.query).await?)
}

async fn inspect(area: Area, request: Request<ContainerInspectQuery>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &area.inspect(request.cx.param("id"), request.query).await?)
}

async fn top(area: Area, request: Request<ContainerTopQuery>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &area.top(request.cx.param("id"), request.query).await?)
}

async fn logs(area: Area, request: Request<ContainerLogsQuery>) -> Result<Reply> {
    let Logs { multiplexed, pieces } = area.logs(request.cx.param("id"), request.query).await?;
    let failed = |e: std::io::Error| Error::with_source(ErrorKind::Internal, format!("reading the log: {e}"), e);
    let pieces = stream::unfold(pieces, move |mut pieces| async move {
        pieces.recv().await.map(|piece| (piece.map_err(failed), pieces))
    });
    Ok(Reply::stream(request.cx.stream_type(!multiplexed), pieces))
}

async fn resize(area: Area, request: Request<ResizeQuery>) -> Result<Reply> {
    area.resize(request.cx.param("id"), request.query).await?;
    Ok(Reply::empty(StatusCode::OK))
}

async fn start(area: Area, request: Request<NoQuery>) -> Result<Reply> {
    area.start(request.cx.param("id")).await?;
    Ok(Reply::no_content())
}

async fn stop(area: Area, request: Request<ContainerStopQuery>) -> Result<Reply> {
    area.stop(request.cx.param("id"), request.query).await?;
    Ok(Reply::no_content())
}

async fn restart(area: Area, request: Request<ContainerStopQuery>) -> Result<Reply> {
    area.restart(request.cx.param("id"), request.query).await?;
    Ok(Reply::no_content())
}

async fn kill(area: Area, request: Request<ContainerKillQuery>) -> Result<Reply> {
    area.kill(request.cx.param("id"), request.query).await?;
    Ok(Reply::no_content())
}

async fn rename(area: Area, request: Request<ContainerRenameQuery>) -> Result<Reply> {
    area.rename(request.cx.param("id"), request.query).await?;
    Ok(Reply::no_content())
}

async fn pause(area: Area, request: Request<NoQuery>) -> Result<Reply> {
    area.pause(request.cx.param("id")).await?;
    Ok(Reply::no_content())
}

async fn unpause(area: Area, request: Request<NoQuery>) -> Result<Reply> {
    area.unpause(request.cx.param("id")).await?;
    Ok(Reply::no_content())
}

async fn attach(area: Area, request: Request<ContainerAttachQuery>) -> Result<Reply> {
    let session = area.attach(request.cx.param("id"), request.query).await?;
    Ok(Reply::hijack(session.multiplexed(), |connection| session.serve(connection)))
}

async fn wait(area: Area, request: Request<ContainerWaitQuery>) -> Result<Reply> {
    Ok(Reply::later(area.wait(request.cx.param("id"), request.query).await?))
}

async fn remove(area: Area, request: Request<ContainerRemoveQuery>) -> Result<Reply> {
    area.remove(request.cx.param("id"), request.query).await?;
    Ok(Reply::no_content())
}
