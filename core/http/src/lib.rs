//! The API server: listeners, versions, operations, streams, and the routes of each area.
//!
//! A request is matched in a table (method, and a pattern whose names may contain slashes), its version checked, its query
//! and body decoded into types (rewritten to the newest version first), shown to the hooks, and given to its handler. The
//! answer is rewritten for the client's version and sent; metrics, audit log and hooks are told.
//!
//! # Adding an area
//!
//! A file `routes/<area>.rs` has the trait that its handlers need (at most 25 methods), its routes, and its handlers (at
//! most 30 lines each). `core/daemon/src/wire.rs` implements the trait and adds the routes to the [`Router`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use http::StatusCode;
//! use serde::{Deserialize, Serialize};
//! use sheave_api::Filters;
//! use sheave_http::{Duplex, Json, Reply, Request, Route, Router};
//! use sheave_types::{Action, Result};
//!
//! /// What the routes of volumes need.
//! #[async_trait]
//! pub trait Volumes: Send + Sync {
//!     /// Makes one.
//!     async fn create(&self, request: VolumeCreate) -> Result<Volume>;
//!     /// Removes one.
//!     async fn remove(&self, name: &str, force: bool) -> Result<()>;
//! }
//!
//! // Bodies are read from JSON and written as JSON for hooks: derive both, and `Default` for "no body".
//! #[derive(Default, Serialize, Deserialize)]
//! #[serde(default, rename_all = "PascalCase")]
//! pub struct VolumeCreate { name: String }
//! #[derive(Serialize)]
//! #[serde(rename_all = "PascalCase")]
//! pub struct Volume { name: String }
//!
//! // So are queries. A bool follows Docker's rules, `Option` is none for an empty value, `Vec` has every value, `Filters`
//! // reads both encodings. A bool that is true when absent: `#[serde(default = "yes")]`.
//! #[derive(Default, Serialize, Deserialize)]
//! #[serde(default)]
//! struct RemoveQuery { force: bool, filters: Filters }
//!
//! /// The routes.
//! pub fn routes() -> Vec<Route<dyn Volumes>> {
//!     vec![
//!         // `named` where the object's name is not in the path but in the query or the body.
//!         Route::named(
//!             http::Method::POST,
//!             "/volumes/create",
//!             Action::VolumeCreate,
//!             |_: &sheave_http::NoQuery, body: &Json<VolumeCreate>| body.0.name.clone(),
//!             create,
//!         ),
//!         Route::delete("/volumes/{name}", Action::VolumeRemove, remove),
//!     ]
//! }
//!
//! async fn create(
//!     volumes: Arc<dyn Volumes>,
//!     request: Request<sheave_http::NoQuery, Json<VolumeCreate>>,
//! ) -> Result<Reply> {
//!     Reply::json(StatusCode::CREATED, &volumes.create(request.body.0).await?)
//! }
//!
//! async fn remove(volumes: Arc<dyn Volumes>, request: Request<RemoveQuery>) -> Result<Reply> {
//!     request.query.filters.check(&["label"])?;
//!     volumes.remove(request.cx.param("name"), request.query.force).await?;
//!     Ok(Reply::no_content())
//! }
//!
//! // wire.rs: let router = Router::new().area(volumes::routes(), &adapter);
//! ```
//!
//! - An error (`sheave_types::Error`, any `Kinded` error by `?`) becomes the status of its kind and `{"message":…}`.
//! - [`Upload`] is a body that is read as it comes; [`NoBody`] (the default) leaves it unread.
//! - [`Reply::later`] sends its headers at once and its body when it is ready (`wait`); [`Reply::stream`] sends chunks;
//!   [`Reply::progress`] sends messages with errors in-band (pull); [`Reply::hijack`] gives the raw connection (attach).
//!   Their futures and streams are dropped when the client goes away.
//! - The handler of GET and HEAD is dropped when its client goes away; those of other methods run to their end.
//! - `request.cx` has the caller's identity, names of the path, headers, and `stream_type(terminal)` for log streams.
//! - Endpoints that no area serves answer 501 with the operation's name (`routes/missing.rs`), without any doing.

mod body;
mod dispatch;
mod error;
mod finish;
mod hijack;
mod io;
mod listen;
mod metrics;
mod query;
mod reply;
mod request;
mod route;
mod router;
pub mod routes;
mod server;

pub use error::{HttpError, ListenError, status};
pub use finish::Observers;
pub use hijack::Duplex;
pub use listen::{Address, Listener};
pub use metrics::serve_metrics;
pub use reply::{JSON, MULTIPLEXED, RAW, Reply, StreamKind, frame_header};
pub use request::{BODY_LIMIT, Ctx, Json, NoBody, NoQuery, Request, RequestBody, Source, Upload};
pub use route::Route;
pub use router::Router;
pub use server::Server;
