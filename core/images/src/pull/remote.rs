//! Questions to registries that pull nothing.

use sheave_api::images::{AuthConfig, AuthResponse, DistributionInspect, OciPlatform};
use sheave_types::{Error, ErrorKind, Reference, Result};

use super::{PullRequest, Puller, credentials};
use crate::config::ConfigFile;
use crate::media::{CONFIG_LIMIT, Target};
use crate::registry::RegistryError;

/// Docker Hub in the configuration of clients.
const HUB: &str = "docker.io";

/// The registry's host in what clients call the server's address: a host, or a URL whose path does not count.
fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "" | "index.docker.io" | "registry-1.docker.io" => HUB,
        host => host,
    }
}

impl Puller {
    /// All tags of a repository.
    pub(crate) async fn tags(&self, request: &PullRequest) -> Result<Vec<String>> {
        let of_pull = |e: RegistryError| e.of_pull(&request.reference);
        let auth = request.auth.clone().normalized();
        let places = self.connections.places(&request.reference, credentials(&auth)).await.map_err(of_pull)?;
        let mut failure = None;
        for source in self.connections.all(&places).map_err(of_pull)? {
            match source.tags().await {
                Ok(tags) => return Ok(tags),
                Err(error) if error.is_answer() => return Err(of_pull(error)),
                Err(error) => failure = Some(error),
            }
        }
        let error = failure.unwrap_or_else(|| RegistryError::NoEndpoint(request.reference.host().to_owned()));
        Err(of_pull(error))
    }

    /// Checks credentials.
    pub(crate) async fn login(&self, auth: AuthConfig) -> Result<AuthResponse> {
        let auth = auth.normalized();
        // Any repository of the host will do: the plugin is asked for the host's endpoints.
        let reference: Reference = format!("{}/login", host_of(&auth.serveraddress)).parse()?;
        let places = self.connections.places(&reference, credentials(&auth)).await?;
        let mut failure = None;
        for transport in self.connections.logins(&places)? {
            match transport.check_credentials().await {
                Ok(identity) => {
                    let identity_token = identity.unwrap_or_default();
                    return Ok(AuthResponse { status: "Login Succeeded".to_owned(), identity_token });
                }
                Err(error) if error.is_answer() => return Err(refused(error, &reference)),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| RegistryError::NoEndpoint(reference.host().to_owned())).into())
    }

    /// What a registry has under a reference.
    pub(crate) async fn distribution(&self, reference: Reference, auth: AuthConfig) -> Result<DistributionInspect> {
        let of_pull = |e: RegistryError| e.of_pull(&reference);
        let auth = auth.normalized();
        let places = self.connections.places(&reference, credentials(&auth)).await.map_err(of_pull)?;
        let (fetched, sources) = self.connections.manifest(&places).await.map_err(of_pull)?;
        let descriptor = super::resolve::describe(&fetched, crate::media::OCI_MANIFEST);
        let platforms = match Target::parse(&fetched.bytes, &fetched.media_type)? {
            Target::Index(entries) => entries.into_iter().filter_map(|e| e.platform).collect(),
            Target::Manifest(manifest) => {
                let source = sources.first().ok_or_else(|| Error::internal("no endpoint answered"))?;
                let config = source
                    .small_blob(&self.connections.tuning, &manifest.config, CONFIG_LIMIT)
                    .await
                    .map_err(of_pull)?;
                let config = ConfigFile::parse(&config)?;
                vec![OciPlatform {
                    architecture: config.architecture.unwrap_or_default(),
                    os: config.os.unwrap_or_default(),
                    variant: config.variant.unwrap_or_default(),
                    ..OciPlatform::default()
                }]
            }
        };
        Ok(DistributionInspect { descriptor, platforms })
    }
}

fn refused(error: RegistryError, reference: &Reference) -> Error {
    let error = Error::from(error);
    if error.kind() == ErrorKind::Unauthorized {
        return error.context(format!("Get \"https://{}/v2/\"", reference.host()));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses() {
        for (address, host) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("http://localhost:5000/v2/", "localhost:5000"),
            ("quay.io", "quay.io"),
        ] {
            assert_eq!(host_of(address), host, "{address}");
        }
    }
}
