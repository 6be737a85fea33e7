//! HTTP to one endpoint: authorization, redirects, the requests of the distribution specification that a pull makes.
//!
//! Specification: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull>

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RANGE};
use reqwest::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use sheave_host::RegistryPlugin;
use sheave_plugin::{Label, registry as plugin};
use sheave_types::{Digest, Reference};

use super::{Body, Fetched, Places, RegistryError, Tuning};
use crate::media;

const REDIRECTS: usize = 10;
/// Bytes read of an error's body.
const ERROR_BODY: usize = 64 << 10;
/// Tags of one repository.
const TAGS: usize = 100_000;

/// One endpoint of one repository.
pub(crate) struct Transport {
    plugin: Arc<RegistryPlugin>,
    endpoint: plugin::HttpEndpoint,
    base: Url,
    scopes: Vec<plugin::Scope>,
    credentials: Option<plugin::Credentials>,
    client: reqwest::Client,
    auth: Mutex<Option<Granted>>,
    tuning: Tuning,
}

/// What the plugin gave, as headers.
#[derive(Clone)]
struct Granted {
    headers: HeaderMap,
    /// Milliseconds since 1970.
    expires: Option<u64>,
    identity_token: Option<String>,
}

/// The innermost cause says what happened; the outer ones repeat the URL.
pub(super) fn unreachable(method: &str, url: &Url, error: &reqwest::Error) -> RegistryError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    RegistryError::Unreachable { method: method.to_owned(), url: url.to_string(), reason: cause.to_string() }
}

fn headers_of(labels: &[Label]) -> HeaderMap {
    labels
        .iter()
        .filter_map(|l| {
            let name = HeaderName::from_bytes(l.key.as_bytes()).ok()?;
            let mut value = HeaderValue::from_str(&l.value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        })
        .collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Transport {
    pub(super) fn new(
        places: &Places,
        endpoint: plugin::HttpEndpoint,
        scopes: Vec<plugin::Scope>,
        client: reqwest::Client,
        tuning: &Tuning,
    ) -> Result<Self, RegistryError> {
        let base = Url::parse(&endpoint.base).map_err(|_| RegistryError::Endpoint(endpoint.base.clone()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(RegistryError::Endpoint(endpoint.base));
        }
        Ok(Self {
            plugin: Arc::clone(&places.plugin),
            endpoint,
            base,
            scopes,
            credentials: places.credentials.clone(),
            client,
            auth: Mutex::default(),
            tuning: tuning.clone(),
        })
    }

    pub(super) fn endpoint(&self) -> &plugin::HttpEndpoint {
        &self.endpoint
    }

    /// Below `/v2/<repository>/`; digests, tags and repository names need no escaping.
    fn url(&self, rest: &str) -> Result<Url, RegistryError> {
        let repository = self.scopes.first().map_or("", |s| s.repository.as_str());
        let text = format!("{}/v2/{repository}/{rest}", self.endpoint.base);
        Url::parse(&text).map_err(|_| RegistryError::Endpoint(text))
    }

    async fn ask_plugin(&self, challenges: Vec<String>) -> Result<Granted, RegistryError> {
        let endpoint = plugin::Endpoint::Http(self.endpoint.clone());
        let given = self.plugin.authorize(endpoint, challenges, self.scopes.clone(), self.credentials.clone()).await;
        let given = given.map_err(RegistryError::Plugin)?;
        let granted = Granted {
            headers: headers_of(&given.headers),
            expires: given.expires,
            identity_token: given.identity_token,
        };
        *self.auth.lock().unwrap_or_else(PoisonError::into_inner) = Some(granted.clone());
        Ok(granted)
    }

    async fn authorization(&self) -> Result<HeaderMap, RegistryError> {
        let known = self.auth.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(granted) if granted.expires.is_none_or(|e| e > now_ms()) => Ok(granted.headers),
            _ => Ok(self.ask_plugin(Vec::new()).await?.headers),
        }
    }

    /// Sends a request without a body; follows redirects, and answers one challenge.
    async fn send(&self, method: Method, url: Url, headers: HeaderMap) -> Result<Response, RegistryError> {
        let mut url = url;
        let mut challenged = false;
        let mut hops = 0;
        loop {
            // What is meant for the registry does not go to whom it redirects to.
            let home = url.origin() == self.base.origin();
            let mut all = headers.clone();
            if home {
                all.extend(headers_of(&self.endpoint.headers));
                all.extend(self.authorization().await?);
            }
            let sending = self.client.request(method.clone(), url.clone()).headers(all).send();
            let limit = self.tuning.connect + self.tuning.stall;
            let sent = tokio::time::timeout(limit, sending).await;
            let name = method.as_str();
            let stalled = |_| RegistryError::Stalled { method: name.to_owned(), url: url.to_string(), after: limit };
            let response = sent.map_err(stalled)?.map_err(|e| unreachable(name, &url, &e))?;
            match response.status() {
                StatusCode::UNAUTHORIZED if home && !challenged => {
                    challenged = true;
                    let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
                    let challenges: Vec<_> =
                        challenges.map(|c| String::from_utf8_lossy(c.as_bytes()).into_owned()).collect();
                    if challenges.is_empty() {
                        return Ok(response);
                    }
                    self.ask_plugin(challenges).await?;
                }
                status if status.is_redirection() && response.headers().contains_key(LOCATION) => {
                    hops += 1;
                    if hops > REDIRECTS {
                        return Err(RegistryError::Redirects(url.to_string()));
                    }
                    url = redirect(&response)?;
                }
                _ => return Ok(response),
            }
        }
    }

    async fn get(&self, url: Url, headers: HeaderMap) -> Result<Response, RegistryError> {
        let response = self.send(Method::GET, url, headers).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    async fn refused(&self, response: Response) -> RegistryError {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<Item>,
        }
        #[derive(Deserialize, Default)]
        struct Item {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let (status, url) = (response.status().as_u16(), response.url().to_string());
        let retry_after = retry_after(response.headers());
        // A token that the registry itself issued but that does not cover this: there is no access, whatever it says.
        let insufficient = response.headers().get_all(WWW_AUTHENTICATE).iter().any(|c| {
            String::from_utf8_lossy(c.as_bytes()).to_ascii_lowercase().contains("error=\"insufficient_scope\"")
        });
        let body = read_body(response, ERROR_BODY, self.tuning.stall).await.unwrap_or_default();
        let first = serde_json::from_slice::<Errors>(&body).ok().and_then(|e| e.errors.into_iter().next());
        let Item { mut code, mut message } = first.unwrap_or_default();
        if status == 401 && insufficient {
            code = "DENIED".to_owned();
            message = "requested access to the resource is denied".to_owned();
        } else if status == 401 && code.is_empty() {
            code = "UNAUTHORIZED".to_owned();
            message = "authentication required".to_owned();
        } else if code.is_empty() {
            message = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
        }
        RegistryError::Refused { status, code, message, url, retry_after }
    }

    /// `GET /v2/<name>/manifests/<reference>`, tried again as long as the failure may pass.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        let what = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let url = self.url(&format!("manifests/{what}"))?;
        let mut wait = self.tuning.backoff;
        for _ in 1..self.tuning.attempts {
            match self.manifest_once(url.clone()).await {
                // No connection at all is rather told at once: another endpoint may do.
                Err(e @ (RegistryError::Refused { .. } | RegistryError::Plugin(_))) if e.is_passing() => {
                    tokio::time::sleep(e.retry_after().unwrap_or(wait).min(self.tuning.longest_wait)).await;
                    wait *= 2;
                }
                other => return other,
            }
        }
        self.manifest_once(url).await
    }

    async fn manifest_once(&self, url: Url) -> Result<Fetched, RegistryError> {
        let mut headers = HeaderMap::new();
        for media_type in media::ACCEPT {
            headers.append(ACCEPT, HeaderValue::from_static(media_type));
        }
        let response = self.get(url.clone(), headers).await?;
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let media_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let said = header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
        let limit = usize::try_from(media::MANIFEST_LIMIT).unwrap_or(usize::MAX);
        let bytes = read_body(response, limit + 1, self.tuning.stall).await?;
        if bytes.len() > limit {
            return Err(RegistryError::TooLarge { what: "the manifest".into(), limit: media::MANIFEST_LIMIT });
        }
        let found = Digest::of(&bytes);
        match said {
            Some(expected) if expected != found => Err(RegistryError::ManifestDigest { expected, found }),
            _ => Ok(Fetched { bytes, media_type, digest: found }),
        }
    }

    /// `GET /v2/<name>/blobs/<digest>` from `offset` on.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Body, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let mut headers = HeaderMap::new();
        // Compression on the way would change the bytes that the digest is of.
        headers.insert(reqwest::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if offset > 0 {
            let range = format!("bytes={offset}-");
            headers.insert(RANGE, HeaderValue::from_str(&range).unwrap_or(HeaderValue::from_static("bytes=0-")));
        }
        let response = self.get(url, headers).await?;
        let skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(CONTENT_RANGE).and_then(|r| r.to_str().ok()).unwrap_or("");
                let begins =
                    range.strip_prefix("bytes ").and_then(|r| r.split('-').next()).and_then(|b| b.parse().ok());
                if begins != Some(offset) {
                    let url = response.url().to_string();
                    return Err(RegistryError::Protocol { url, reason: "another range was sent than was asked for" });
                }
                0
            }
            _ => offset,
        };
        Ok(Body::Http { response, skip, stall: self.tuning.stall })
    }

    /// `GET /v2/<name>/tags/list`, all pages.
    pub(super) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut url = self.url("tags/list")?;
        let mut tags = Vec::new();
        loop {
            let response = self.get(url.clone(), HeaderMap::new()).await?;
            let next = next_page(&response);
            let limit = usize::try_from(media::MANIFEST_LIMIT).unwrap_or(usize::MAX);
            let body = read_body(response, limit, self.tuning.stall).await?;
            let protocol = |reason| RegistryError::Protocol { url: url.to_string(), reason };
            let page: Page = serde_json::from_slice(&body).map_err(|_| protocol("it is no list of tags"))?;
            let page = page.tags.unwrap_or_default();
            tags.extend(page);
            if tags.len() > TAGS {
                return Err(protocol("there are too many tags"));
            }
            match next.filter(|n| n.origin() == self.base.origin() && *n != url) {
                Some(next) => url = next,
                None => return Ok(tags),
            }
        }
    }

    /// `GET /v2/`: whether the credentials are accepted. The identity token for the client to keep, if there is one.
    pub(crate) async fn check_credentials(&self) -> Result<Option<String>, RegistryError> {
        let text = format!("{}/v2/", self.endpoint.base);
        let url = Url::parse(&text).map_err(|_| RegistryError::Endpoint(text))?;
        self.get(url, HeaderMap::new()).await?;
        let granted = self.auth.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(granted.and_then(|g| g.identity_token))
    }
}

fn redirect(response: &Response) -> Result<Url, RegistryError> {
    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    let target = location.and_then(|l| response.url().join(l).ok()).filter(|u| matches!(u.scheme(), "http" | "https"));
    target.ok_or_else(|| RegistryError::Protocol { url: response.url().to_string(), reason: "it redirects to no URL" })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    // Seconds; the form with a date is not used by registries.
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn next_page(response: &Response) -> Option<Url> {
    let link = response.headers().get(LINK)?.to_str().ok()?;
    let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| response.url().join(target).ok()).flatten()
}

/// At most `limit` bytes of a body.
async fn read_body(mut response: Response, limit: usize, stall: Duration) -> Result<Vec<u8>, RegistryError> {
    let url = response.url().clone();
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let next = tokio::time::timeout(stall, response.chunk()).await;
        let stalled = |_| RegistryError::Stalled { method: "GET".into(), url: url.to_string(), after: stall };
        let Some(chunk) = next.map_err(stalled)?.map_err(|e| unreachable("GET", &url, &e))? else { break };
        let room = (limit - bytes.len()).min(chunk.len());
        bytes.extend_from_slice(&chunk[..room]);
    }
    Ok(bytes)
}
