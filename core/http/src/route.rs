//! A route: method, pattern, action, handler; and the one way from a request to its handler.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sheave_api::version::Params;
use sheave_hooks::{HookBus, Payload, Ruling};
use sheave_types::{Action, Error, ErrorKind, Result};

use crate::query;
use crate::reply::Reply;
use crate::request::{BodySlot, Ctx, Request, RequestBody, Source};

/// A request on its way to a handler.
pub(crate) struct Call {
    pub(crate) cx: Ctx,
    pub(crate) query: Params,
    pub(crate) body: BodySlot,
    pub(crate) hooks: Arc<HookBus>,
    pub(crate) rulings: Vec<Ruling>,
}

/// A handler whose types are forgotten.
#[async_trait]
pub(crate) trait Endpoint: Send + Sync {
    async fn call(&self, call: &mut Call) -> Result<Reply>;
}

type Bind<S> = Box<dyn FnOnce(Arc<S>) -> Arc<dyn Endpoint>>;

/// A route of an area whose handlers need an `S`, for example `dyn Containers`.
pub struct Route<S: ?Sized> {
    pub(crate) method: Method,
    pub(crate) pattern: &'static str,
    pub(crate) action: Action,
    pub(crate) bind: Bind<S>,
}

/// Makes the object's name from the decoded request, where the path does not have it.
type Named<Q, B> = fn(&Q, &B) -> String;

impl<S: ?Sized + Send + Sync + 'static> Route<S> {
    /// A route. Its operation's object is the first name in the pattern, if there is one.
    ///
    /// The pattern is a path in which `{name}` stands for one or more characters, slashes included.
    pub fn new<Q, B, F, Fut>(method: Method, pattern: &'static str, action: Action, handler: F) -> Self
    where
        Q: Serialize + DeserializeOwned + Send + 'static,
        B: RequestBody,
        F: Fn(Arc<S>, Request<Q, B>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self::make(method, pattern, action, None, handler)
    }

    /// A route whose object's name is made from the decoded request: creates, pulls.
    pub fn named<Q, B, F, Fut>(
        method: Method,
        pattern: &'static str,
        action: Action,
        name: Named<Q, B>,
        handler: F,
    ) -> Self
    where
        Q: Serialize + DeserializeOwned + Send + 'static,
        B: RequestBody,
        F: Fn(Arc<S>, Request<Q, B>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self::make(method, pattern, action, Some(name), handler)
    }

    /// [`Route::new`] for GET.
    pub fn get<Q, B, F, Fut>(pattern: &'static str, action: Action, handler: F) -> Self
    where
        Q: Serialize + DeserializeOwned + Send + 'static,
        B: RequestBody,
        F: Fn(Arc<S>, Request<Q, B>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self::new(Method::GET, pattern, action, handler)
    }

    /// [`Route::new`] for POST.
    pub fn post<Q, B, F, Fut>(pattern: &'static str, action: Action, handler: F) -> Self
    where
        Q: Serialize + DeserializeOwned + Send + 'static,
        B: RequestBody,
        F: Fn(Arc<S>, Request<Q, B>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self::new(Method::POST, pattern, action, handler)
    }

    /// [`Route::new`] for DELETE.
    pub fn delete<Q, B, F, Fut>(pattern: &'static str, action: Action, handler: F) -> Self
    where
        Q: Serialize + DeserializeOwned + Send + 'static,
        B: RequestBody,
        F: Fn(Arc<S>, Request<Q, B>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self::new(Method::DELETE, pattern, action, handler)
    }

    fn make<Q, B, F, Fut>(
        method: Method,
        pattern: &'static str,
        action: Action,
        name: Option<Named<Q, B>>,
        handler: F,
    ) -> Self
    where
        Q: Serialize + DeserializeOwned + Send + 'static,
        B: RequestBody,
        F: Fn(Arc<S>, Request<Q, B>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        let bind: Bind<S> = Box::new(move |area| Arc::new(Typed { area, name, handler, types: PhantomData }));
        Self { method, pattern, action, bind }
    }
}

struct Typed<S: ?Sized, Q, B, F> {
    area: Arc<S>,
    name: Option<Named<Q, B>>,
    handler: F,
    types: PhantomData<fn(Q, B)>,
}

#[async_trait]
impl<S, Q, B, F, Fut> Endpoint for Typed<S, Q, B, F>
where
    S: ?Sized + Send + Sync + 'static,
    Q: Serialize + DeserializeOwned + Send + 'static,
    B: RequestBody,
    F: Fn(Arc<S>, Request<Q, B>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply>> + Send + 'static,
{
    async fn call(&self, call: &mut Call) -> Result<Reply> {
        let source = Source {
            action: call.cx.operation.action,
            version: call.cx.version,
            headers: call.cx.headers.clone(),
            body: Arc::clone(&call.body),
        };
        let body = B::read(source, &mut call.query).await?;
        let mut decoded = Decoded { query: query::decode::<Q>(&call.query)?, body };
        if let Some(name) = self.name {
            call.cx.operation.object = name(&decoded.query, &decoded.body);
        }
        call.hooks.before(&call.cx.operation, &mut decoded, &mut call.rulings).await?;
        let request = Request { cx: call.cx.clone(), query: decoded.query, body: decoded.body };
        (self.handler)(Arc::clone(&self.area), request).await
    }
}

/// The decoded request: what hooks see, amend, and what runs.
struct Decoded<Q, B> {
    query: Q,
    body: B,
}

impl<Q: Serialize + DeserializeOwned + Send, B: RequestBody> Payload for Decoded<Q, B> {
    fn to_json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct View<'a, Q> {
            query: &'a Q,
            body: Value,
        }
        let view = View { query: &self.query, body: self.body.view()? };
        serde_json::to_string(&view).map_err(|e| Error::with_source(ErrorKind::Internal, e.to_string(), e))
    }

    fn replace(&mut self, json: &str) -> Result<()> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Amended<Q> {
            query: Q,
            body: Value,
        }
        let amended: Amended<Q> = serde_json::from_str(json).map_err(crate::HttpError::Json)?;
        self.body.amend(amended.body)?;
        self.query = amended.query;
        Ok(())
    }
}
