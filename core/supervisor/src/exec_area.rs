//! The execs of an engine's containers, for the API.

use std::sync::Arc;

use sheave_api::containers::{
    ExecCreateRequest, ExecCreateResponse, ExecInspectResponse, ExecStartRequest, ResizeQuery,
};
use sheave_types::Result;

use crate::driver::Context;
use crate::operations::exec::{self, ExecSession};
use crate::parts::Parts;

/// Execs; a cheap handle.
#[derive(Debug, Clone)]
pub struct ExecArea {
    parts: Arc<Parts>,
    context: Context,
}

impl ExecArea {
    pub(crate) fn new(parts: Arc<Parts>, context: Context) -> Self {
        Self { parts, context }
    }

    /// Makes one in a container that runs.
    ///
    /// # Errors
    /// `Conflict` where the container does not run or is frozen, `Invalid` without a command.
    pub fn create(&self, container: &str, request: ExecCreateRequest) -> Result<ExecCreateResponse> {
        let exec = exec::create(&self.parts, &self.context, container, request)?;
        Ok(ExecCreateResponse { id: exec.id.clone() })
    }

    /// Starts it: at once where it is detached, else when its client is served.
    ///
    /// # Errors
    /// `Conflict` where it has run; of a detached one, why it could not be run.
    pub async fn start(&self, id: &str, request: &ExecStartRequest) -> Result<Option<ExecSession>> {
        Ok(exec::start(self.parts.clone(), &self.context, id, request).await?)
    }

    /// Everything about it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect(&self, id: &str) -> Result<ExecInspectResponse> {
        Ok(self.parts.execs.find(id)?.inspect())
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// `Invalid` where it does not run.
    pub async fn resize(&self, id: &str, query: ResizeQuery) -> Result<()> {
        Ok(exec::resize(&self.parts, id, crate::supervisor::size(query)?).await?)
    }
}
