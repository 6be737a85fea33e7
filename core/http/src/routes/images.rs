//! Images and registries: `/images/…`, `/auth`, `/distribution/…`.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sheave_api::Filters;
use sheave_api::images::{
    AuthConfig, AuthResponse, DeletedItem, DistributionInspect, HistoryItem, ImageCreateQuery, ImageInspect,
    ImageInspectQuery, ImageListQuery, ImagePruneQuery, ImageRemoveQuery, ImageSummary, ImageTagQuery, ImagesPruned,
    OciPlatform,
};
use sheave_api::progress::ProgressMessage;
use sheave_api::version::Params;
use sheave_types::{Action, Error, ErrorKind, Platform, Reference, Result};
use tokio::sync::mpsc;

use crate::reply::Reply;
use crate::request::{Json, NoBody, NoQuery, Request, RequestBody, Source};
use crate::route::Route;

/// Messages that may wait for a slow client.
const WAITING: usize = 64;

/// What the routes of images need.
#[async_trait]
pub trait Images: Send + Sync {
    /// The images that pass the filters.
    async fn list(&self, query: ImageListQuery) -> Result<Vec<ImageSummary>>;
    /// All about one, for a platform if one is asked for.
    async fn inspect(&self, name: &str, platform: Option<Platform>) -> Result<ImageInspect>;
    /// How it was made.
    async fn history(&self, name: &str, platform: Option<Platform>) -> Result<Vec<HistoryItem>>;
    /// Gives it a name.
    async fn tag(&self, name: &str, query: ImageTagQuery) -> Result<()>;
    /// Removes a name, and the image with its last one.
    async fn remove(&self, name: &str, force: bool) -> Result<Vec<DeletedItem>>;
    /// Removes images that nothing uses.
    async fn prune(&self, filters: Filters) -> Result<ImagesPruned>;
    /// Pulls an image, or all tags of a repository if the reference has neither tag nor digest.
    async fn pull(
        &self,
        reference: Reference,
        platform: Option<Platform>,
        auth: AuthConfig,
        progress: mpsc::Sender<ProgressMessage>,
    ) -> Result<()>;
    /// Checks credentials.
    async fn login(&self, auth: AuthConfig) -> Result<AuthResponse>;
    /// What a registry has under a name.
    async fn distribution(&self, name: &str, auth: AuthConfig) -> Result<DistributionInspect>;
}

type Area = Arc<dyn Images>;

/// The routes.
pub fn routes() -> Vec<Route<dyn Images>> {
    vec![
        Route::get("/images/json", Action::ImageList, list),
        Route::named(
            Method::POST,
            "/images/create",
            Action::ImagePull,
            |query: &ImageCreateQuery, _: &NoBody| {
                pulled(query).map_or_else(|_| query.from_image.clone(), |r| r.familiar())
            },
            create,
        ),
        Route::post("/images/prune", Action::ImagePrune, prune),
        Route::get("/images/{name}/json", Action::ImageInspect, inspect),
        Route::get("/images/{name}/history", Action::ImageHistory, history),
        Route::post("/images/{name}/tag", Action::ImageTag, tag),
        Route::delete("/images/{name}", Action::ImageRemove, remove),
        Route::named(
            Method::POST,
            "/auth",
            Action::SystemAuth,
            |_: &NoQuery, body: &Login| body.0.serveraddress.clone(),
            login,
        ),
        Route::get("/distribution/{name}/json", Action::ImageDistribution, distribution),
    ]
}

/// Credentials in a body. Hooks see whose they are and for which registry, not the secrets.
struct Login(AuthConfig);

#[async_trait]
impl RequestBody for Login {
    async fn read(source: Source, query: &mut Params) -> Result<Self> {
        Ok(Self(Json::<AuthConfig>::read(source, query).await?.0))
    }

    fn view(&self) -> Result<Value> {
        Ok(json!({ "username": self.0.username, "serveraddress": self.0.serveraddress }))
    }

    fn amend(&mut self, value: Value) -> Result<()> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.0.username = text("username");
        self.0.serveraddress = text("serveraddress");
        Ok(())
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is not implemented"))
}

/// The reference of a pull; without tag and digest it means all tags.
fn pulled(query: &ImageCreateQuery) -> Result<Reference> {
    let reference: Reference = query.from_image.parse()?;
    Ok(match query.tag.as_str() {
        "" => reference,
        digest if digest.contains(':') => reference.with_digest(digest.parse()?),
        tag => reference.with_tag(tag)?,
    })
}

/// `platform` of questions about an image: an OCI platform as JSON.
fn platform(text: Option<&str>) -> Result<Option<Platform>> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(None) };
    let parsed = serde_json::from_str::<OciPlatform>(text).ok().filter(|p| !p.os.is_empty());
    let platform = parsed
        .ok_or_else(|| Error::invalid(format!("invalid platform {text:?}: expected {{\"os\", \"architecture\"}}")))?;
    Ok(Some(Platform::new(&platform.os, &platform.architecture, &platform.variant)))
}

fn auth(request: &crate::request::Ctx) -> AuthConfig {
    request.header("x-registry-auth").map(AuthConfig::from_header).unwrap_or_default()
}

async fn list(images: Area, request: Request<ImageListQuery>) -> Result<Reply> {
    if request.query.manifests {
        return Err(unsupported("image.list with manifests"));
    }
    Reply::json(StatusCode::OK, &images.list(request.query).await?)
}

async fn create(images: Area, request: Request<ImageCreateQuery>) -> Result<Reply> {
    let query = &request.query;
    if !query.from_src.is_empty() {
        return Err(unsupported(Action::ImageImport.as_str()));
    }
    let reference = pulled(query)?;
    let platform = Some(query.platform.as_str()).filter(|p| !p.is_empty()).map(str::parse).transpose()?;
    let auth = auth(&request.cx);
    let (sender, receiver) = mpsc::channel(WAITING);
    let pull = async move { images.pull(reference, platform, auth, sender).await };
    Reply::progress(receiver, pull).await
}

async fn prune(images: Area, request: Request<ImagePruneQuery>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &images.prune(request.query.filters).await?)
}

async fn inspect(images: Area, request: Request<ImageInspectQuery>) -> Result<Reply> {
    if request.query.manifests {
        return Err(unsupported("image.inspect with manifests"));
    }
    let platform = platform(request.query.platform.as_deref())?;
    Reply::json(StatusCode::OK, &images.inspect(request.cx.param("name"), platform).await?)
}

async fn history(images: Area, request: Request<ImageInspectQuery>) -> Result<Reply> {
    let platform = platform(request.query.platform.as_deref())?;
    Reply::json(StatusCode::OK, &images.history(request.cx.param("name"), platform).await?)
}

async fn tag(images: Area, request: Request<ImageTagQuery>) -> Result<Reply> {
    images.tag(request.cx.param("name"), request.query).await?;
    Ok(Reply::empty(StatusCode::CREATED))
}

async fn remove(images: Area, request: Request<ImageRemoveQuery>) -> Result<Reply> {
    if !request.query.platforms.is_empty() {
        return Err(unsupported("image.remove of single platforms"));
    }
    Reply::json(StatusCode::OK, &images.remove(request.cx.param("name"), request.query.force).await?)
}

async fn login(images: Area, request: Request<NoQuery, Login>) -> Result<Reply> {
    Reply::json(StatusCode::OK, &images.login(request.body.0).await?)
}

async fn distribution(images: Area, request: Request) -> Result<Reply> {
    let auth = auth(&request.cx);
    Reply::json(StatusCode::OK, &images.distribution(request.cx.param("name"), auth).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_pulls() {
        let digest = sheave_types::Digest::of(b"");
        for (image, tag, reference) in [
            ("alpine", "3", Some("docker.io/library/alpine:3".to_owned())),
            ("alpine:1", "3", Some("docker.io/library/alpine:3".to_owned())),
            ("alpine:1", "", Some("docker.io/library/alpine:1".to_owned())),
            ("alpine", "", Some("docker.io/library/alpine".to_owned())),
            ("alpine", &digest.to_string(), Some(format!("docker.io/library/alpine@{digest}"))),
            ("alpine", "a b", None),
            ("", "", None),
        ] {
            let query = ImageCreateQuery { from_image: image.into(), tag: tag.into(), ..ImageCreateQuery::default() };
            assert_eq!(pulled(&query).ok().map(|r| r.to_string()), reference, "{image} {tag}");
        }
    }

    #[test]
    fn platforms_of_questions() {
        let arm = platform(Some(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#)).expect("platform");
        assert_eq!(arm.map(|p| p.to_string()).as_deref(), Some("linux/arm64"));
        assert_eq!(platform(None).expect("none"), None);
        assert!(platform(Some("linux/arm64")).is_err());
    }

    #[test]
    fn hooks_see_no_secrets() {
        let login = Login(AuthConfig {
            username: "u".into(),
            password: "secret".into(),
            serveraddress: "r".into(),
            ..AuthConfig::default()
        });
        assert!(!login.view().expect("view").to_string().contains("secret"));
    }
}
