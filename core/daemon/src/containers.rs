//! Containers and execs for their routes.

use std::sync::Arc;

use async_trait::async_trait;
use sheave_api::containers::{
    ContainerAttachQuery, ContainerCreateQuery, ContainerCreateRequest, ContainerCreateResponse, ContainerInspectQuery,
    ContainerInspectResponse, ContainerKillQuery, ContainerListQuery, ContainerLogsQuery, ContainerPruneQuery,
    ContainerPruneResponse, ContainerRemoveQuery, ContainerRenameQuery, ContainerStopQuery, ContainerTopQuery,
    ContainerTopResponse, ContainerWaitQuery, ExecCreateRequest, ExecCreateResponse, ExecInspectResponse,
    ExecStartRequest, ResizeQuery,
};
use sheave_http::Duplex;
use sheave_http::routes::containers::{Containers, Logs, Session, Waiting};
use sheave_http::routes::exec::Execs;
use sheave_supervisor::{Attachment, Client, ExecArea, ExecSession, Supervisor};
use sheave_types::Result;

/// The supervisor for the routes of containers.
pub struct ContainerRoutes(pub Supervisor);

/// The same for those of execs.
pub struct ExecRoutes(pub ExecArea);

struct Attached(Attachment);
struct Started(ExecSession);

fn client(connection: Duplex) -> Client {
    Client { reader: connection.reader, writer: connection.writer }
}

#[async_trait]
impl Session for Attached {
    fn multiplexed(&self) -> bool {
        self.0.multiplexed()
    }

    async fn serve(self: Box<Self>, connection: Duplex) {
        self.0.serve(client(connection)).await;
    }
}

#[async_trait]
impl Session for Started {
    fn multiplexed(&self) -> bool {
        self.0.multiplexed()
    }

    async fn serve(self: Box<Self>, connection: Duplex) {
        self.0.serve(client(connection)).await;
    }
}

#[async_trait]
impl Containers for ContainerRoutes {
    async fn create(
        &self,
        query: ContainerCreateQuery,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse> {
        self.0.create(query, request).await
    }

    async fn list(&self, query: ContainerListQuery) -> Result<Vec<u8>> {
        self.0.list(query).await
    }

    async fn inspect(&self, id: &str, query: ContainerInspectQuery) -> Result<ContainerInspectResponse> {
        self.0.inspect(id, query).await
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.0.start(id).await
    }

    async fn stop(&self, id: &str, query: ContainerStopQuery) -> Result<()> {
        self.0.stop(id, query).await
    }

    async fn restart(&self, id: &str, query: ContainerStopQuery) -> Result<()> {
        self.0.restart(id, query).await
    }

    async fn kill(&self, id: &str, query: ContainerKillQuery) -> Result<()> {
        self.0.kill(id, query).await
    }

    async fn pause(&self, id: &str) -> Result<()> {
        self.0.pause(id).await
    }

    async fn unpause(&self, id: &str) -> Result<()> {
        self.0.unpause(id).await
    }

    async fn rename(&self, id: &str, query: ContainerRenameQuery) -> Result<()> {
        self.0.rename(id, query).await
    }

    async fn resize(&self, id: &str, query: ResizeQuery) -> Result<()> {
        self.0.resize(id, query).await
    }

    async fn wait(&self, id: &str, query: ContainerWaitQuery) -> Result<Waiting> {
        let outcome = self.0.wait(id, &query)?;
        Ok(Box::pin(async move { Ok(outcome.await) }))
    }

    async fn logs(&self, id: &str, query: ContainerLogsQuery) -> Result<Logs> {
        let log = self.0.logs(id, &query)?;
        Ok(Logs { multiplexed: log.multiplexed, pieces: log.pieces })
    }

    async fn attach(&self, id: &str, query: ContainerAttachQuery) -> Result<Box<dyn Session>> {
        Ok(Box::new(Attached(self.0.attach(id, query).await?)))
    }

    async fn top(&self, id: &str, query: ContainerTopQuery) -> Result<ContainerTopResponse> {
        self.0.top(id, query).await
    }

    async fn remove(&self, id: &str, query: ContainerRemoveQuery) -> Result<()> {
        self.0.remove(id, query).await
    }

    async fn prune(&self, query: ContainerPruneQuery) -> Result<ContainerPruneResponse> {
        self.0.prune(query).await
    }
}

#[async_trait]
impl Execs for ExecRoutes {
    async fn create(&self, container: &str, request: ExecCreateRequest) -> Result<ExecCreateResponse> {
        self.0.create(container, request)
    }

    async fn start(&self, id: &str, request: ExecStartRequest) -> Result<Option<Box<dyn Session>>> {
        let session = self.0.start(id, &request).await?;
        Ok(session.map(|session| Box::new(Started(session)) as Box<dyn Session>))
    }

    async fn inspect(&self, id: &str) -> Result<ExecInspectResponse> {
        self.0.inspect(id)
    }

    async fn resize(&self, id: &str, query: ResizeQuery) -> Result<()> {
        self.0.resize(id, query).await
    }
}

/// The routes' areas.
pub fn areas(supervisor: &Supervisor) -> (Arc<dyn Containers>, Arc<dyn Execs>) {
    (Arc::new(ContainerRoutes(supervisor.clone())), Arc::new(ExecRoutes(supervisor.execs())))
}
