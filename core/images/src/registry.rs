//! Reading from registries: what the registry plugin decides, carried out.

mod body;
mod failure;
mod layout;
mod transport;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sheave_host::{Host, RegistryPlugin};
use sheave_plugin::registry as plugin;
use sheave_types::{Digest, Reference};

pub(crate) use body::Body;
pub use failure::RegistryError;
use layout::Layout;
pub(crate) use transport::Transport;

use crate::media::{Checked as _, Descriptor};

/// Times and counts of transfers.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// To connect.
    pub connect: Duration,
    /// Without a byte, after which a connection counts as stalled.
    pub stall: Duration,
    /// Tries of one blob or manifest.
    pub attempts: u32,
    /// Before the second try; doubled for each further one.
    pub backoff: Duration,
    /// The longest that a registry's `Retry-After` is obeyed.
    pub longest_wait: Duration,
    /// Layers of one pull fetched at once.
    pub parallel: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            attempts: 5,
            backoff: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            parallel: 3,
        }
    }
}

/// Connections to registries, shared by all pulls.
pub(crate) struct Connections {
    host: Host,
    pub(crate) tuning: Tuning,
    clients: Mutex<HashMap<ClientKey, reqwest::Client>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    plain: bool,
    insecure: bool,
    ca: Vec<String>,
}

/// A manifest or index with what it was said to be.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
}

/// One place to read a repository from.
pub(crate) enum Source {
    Http(Box<Transport>),
    Layout(Layout),
}

/// The places of one repository, in the order to try.
pub(crate) struct Places {
    pub(crate) plugin: Arc<RegistryPlugin>,
    pub(crate) reference: Reference,
    pub(crate) credentials: Option<plugin::Credentials>,
    endpoints: Vec<plugin::Endpoint>,
}

impl Connections {
    pub(crate) fn new(host: Host, tuning: Tuning) -> Self {
        Self { host, tuning, clients: Mutex::default() }
    }

    /// Asks the plugin of the reference's host where it is.
    pub(crate) async fn places(
        &self,
        reference: &Reference,
        credentials: Option<plugin::Credentials>,
    ) -> Result<Places, RegistryError> {
        let plugin = self.host.registry_for(reference.host()).map_err(|e| RegistryError::Plugin(e.into()))?;
        let endpoints = plugin.resolve(plugin_reference(reference)).await.map_err(RegistryError::Plugin)?;
        if endpoints.is_empty() {
            return Err(RegistryError::NoEndpoint(reference.host().to_owned()));
        }
        Ok(Places { plugin, reference: reference.clone(), credentials, endpoints })
    }

    /// Opens one endpoint of a repository.
    pub(crate) fn source(&self, places: &Places, endpoint: &plugin::Endpoint) -> Result<Source, RegistryError> {
        match endpoint {
            plugin::Endpoint::Layout(path) => Ok(Source::Layout(Layout::new(path))),
            plugin::Endpoint::Http(http) => {
                let client = self.client(http)?;
                let repository = http.repository.as_deref().unwrap_or(places.reference.path());
                let scopes = vec![plugin::Scope { repository: repository.to_owned(), access: plugin::Access::Pull }];
                let transport = Transport::new(places, http.clone(), scopes, client, &self.tuning)?;
                Ok(Source::Http(Box::new(transport)))
            }
        }
    }

    /// The registry itself, without a repository: to check credentials. Not its mirrors, which are other parties.
    pub(crate) fn logins(&self, places: &Places) -> Result<Vec<Transport>, RegistryError> {
        let own = places.endpoints.iter().filter_map(|endpoint| match endpoint {
            plugin::Endpoint::Http(http) => Some(http),
            plugin::Endpoint::Layout(_) => None,
        });
        let own: Vec<_> = own.collect();
        let last = own.last().map(|http| authority_of(&http.base).to_owned());
        own.into_iter()
            .filter(|http| Some(authority_of(&http.base)) == last.as_deref())
            .map(|http| Transport::new(places, http.clone(), Vec::new(), self.client(http)?, &self.tuning))
            .collect()
    }

    /// All places of a repository.
    pub(crate) fn all(&self, places: &Places) -> Result<Vec<Source>, RegistryError> {
        places.endpoints.iter().map(|endpoint| self.source(places, endpoint)).collect()
    }

    fn client(&self, endpoint: &plugin::HttpEndpoint) -> Result<reqwest::Client, RegistryError> {
        let plain = endpoint.base.starts_with("http://");
        let key = ClientKey { plain, insecure: endpoint.insecure, ca: endpoint.ca.clone() };
        let known = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(client) = known {
            return Ok(client);
        }
        let failed = |source| RegistryError::Client { base: endpoint.base.clone(), source };
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.tuning.connect)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("sheave/", env!("CARGO_PKG_VERSION")));
        if endpoint.insecure {
            builder = builder.danger_accept_invalid_certs(true);
        }
        for pem in &endpoint.ca {
            for certificate in reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(failed)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder.build().map_err(failed)?;
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(key, client.clone());
        Ok(client)
    }

    /// Fetches what the reference points at from the first place that has it; the places from that one on serve its blobs.
    pub(crate) async fn manifest(&self, places: &Places) -> Result<(Fetched, Vec<Source>), RegistryError> {
        let mut worst: Option<RegistryError> = None;
        let mut answered: Vec<String> = Vec::new();
        for (at, endpoint) in places.endpoints.iter().enumerate() {
            let authority = authority(endpoint);
            if answered.contains(&authority) {
                // The same server over another protocol has no other images.
                continue;
            }
            let source = self.source(places, endpoint)?;
            match source.manifest(&places.reference).await {
                Ok(fetched) => {
                    let mut sources = vec![source];
                    for other in &places.endpoints[at + 1..] {
                        sources.push(self.source(places, other)?);
                    }
                    return Ok((fetched, sources));
                }
                Err(error) => {
                    tracing::debug!(%authority, %error, "an endpoint does not have the image");
                    if error.is_answer() {
                        answered.push(authority);
                    }
                    // A registry that answered explains more than one that could not be reached.
                    if worst.as_ref().is_none_or(|w| error.is_answer() || !w.is_answer()) {
                        worst = Some(error);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| RegistryError::NoEndpoint(places.reference.host().to_owned())))
    }
}

fn authority(endpoint: &plugin::Endpoint) -> String {
    match endpoint {
        plugin::Endpoint::Layout(path) => path.clone(),
        plugin::Endpoint::Http(http) => authority_of(&http.base).to_owned(),
    }
}

fn authority_of(base: &str) -> &str {
    base.split_once("://").map_or(base, |(_, rest)| rest)
}

fn plugin_reference(reference: &Reference) -> plugin::Reference {
    plugin::Reference {
        host: reference.host().to_owned(),
        path: reference.path().to_owned(),
        tag: reference.tag().map(str::to_owned),
        digest: reference.digest().map(|d| d.to_string()),
    }
}

impl Places {
    /// Other places that the plugin knows for one blob.
    pub(crate) async fn located(&self, connections: &Connections, source: &Source, blob: &Descriptor) -> Vec<Source> {
        let endpoint = match source {
            Source::Http(transport) => plugin::Endpoint::Http(transport.endpoint().clone()),
            Source::Layout(layout) => plugin::Endpoint::Layout(layout.path()),
        };
        let descriptor = sheave_plugin::Descriptor {
            media_type: blob.media_type.clone(),
            digest: blob.digest.clone(),
            size: blob.size,
            urls: blob.urls.clone(),
        };
        match self.plugin.locate(endpoint, plugin_reference(&self.reference), descriptor).await {
            Ok(places) => places.iter().filter_map(|e| connections.source(self, e).ok()).collect(),
            Err(error) => {
                tracing::warn!(plugin = self.plugin.name(), %error, "locate failed; the blob is fetched at the endpoint");
                Vec::new()
            }
        }
    }
}

impl Source {
    /// What a reference points at here: verified against the reference's digest.
    pub(crate) async fn manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        let fetched = match self {
            Self::Http(transport) => transport.manifest(reference).await?,
            Self::Layout(layout) => layout.manifest(reference).await?,
        };
        match reference.digest() {
            Some(expected) if expected != fetched.digest => {
                Err(RegistryError::ManifestDigest { expected, found: fetched.digest })
            }
            _ => Ok(fetched),
        }
    }

    /// A small blob, whole and verified; asked for again as long as the failure may pass.
    pub(crate) async fn small_blob(
        &self,
        tuning: &Tuning,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut wait = tuning.backoff;
        for _ in 1..tuning.attempts {
            match self.small_blob_once(blob, limit).await {
                Err(error) if error.is_passing() => {
                    tokio::time::sleep(error.retry_after().unwrap_or(wait).min(tuning.longest_wait)).await;
                    wait *= 2;
                }
                other => return other,
            }
        }
        self.small_blob_once(blob, limit).await
    }

    async fn small_blob_once(&self, blob: &Descriptor, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let digest = blob.digest().map_err(RegistryError::Manifest)?;
        let mut body = self.blob(&digest, 0).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                return Err(RegistryError::TooLarge { what: blob.digest.clone(), limit });
            }
        }
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(RegistryError::ManifestDigest { expected: digest, found });
        }
        Ok(bytes)
    }

    /// Begins to read a blob at `offset`.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Body, RegistryError> {
        match self {
            Self::Http(transport) => transport.blob(digest, offset).await,
            Self::Layout(layout) => layout.blob(digest, offset).await,
        }
    }

    /// All tags of the repository.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        match self {
            Self::Http(transport) => transport.tags().await,
            Self::Layout(layout) => layout.tags().await,
        }
    }
}
