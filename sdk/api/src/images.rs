//! Images and registries: the bodies of `/images/…`, `/auth` and `/distribution/…` at version 1.51.

pub(crate) mod downgrade;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::Filters;

/// A key that stands for itself, as in `{"80/tcp": {}}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// What an image says about the containers made of it: the OCI fields and Docker's own.
///
/// Specification: <https://github.com/opencontainers/image-spec/blob/main/config.md>, with `Healthcheck`, `OnBuild` and
/// `Shell` of <https://github.com/moby/docker-image-spec>. The fields without `skip` are in every answer, as Docker has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`, names or numbers.
    #[serde(deserialize_with = "null_default")]
    pub user: String,
    /// Ports it listens on: `80/tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Option<Empty>>>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// What runs before the command.
    pub entrypoint: Option<Vec<String>>,
    /// The command, or the entrypoint's arguments.
    pub cmd: Option<Vec<String>>,
    /// Paths that are volumes.
    pub volumes: Option<BTreeMap<String, Option<Empty>>>,
    /// Where the command starts.
    #[serde(deserialize_with = "null_default")]
    pub working_dir: String,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that stops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Windows only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    /// How its health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Instructions for a build on top of it.
    pub on_build: Option<Vec<String>>,
    /// The shell of instructions in shell form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// How a container's health is checked. Times are nanoseconds; 0 means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", "…"]`, or empty for the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Between two checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<i64>,
    /// Of one check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// After the start, failures do not count for this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<i64>,
    /// Between two checks in the start period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<i64>,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
}

/// A content descriptor of the OCI image specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// The media type of the content.
    pub media_type: String,
    /// `sha256:…`
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// Where else the content is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<OciPlatform>,
}

/// A platform as the OCI image index has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OciPlatform {
    /// `amd64`
    pub architecture: String,
    /// `linux`
    pub os: String,
    /// Of Windows.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Of Windows.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// `v7`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// One image of `GET /images/json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Containers that use it; -1 where they were not counted.
    pub containers: i64,
    /// Seconds since 1970.
    pub created: i64,
    /// `sha256:…`
    pub id: String,
    /// Labels of its configuration.
    pub labels: Option<BTreeMap<String, String>>,
    /// The image that it was built on, here.
    pub parent_id: String,
    /// The descriptor of its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// `name@sha256:…`
    pub repo_digests: Vec<String>,
    /// `name:tag`
    pub repo_tags: Vec<String>,
    /// Bytes shared with other images; -1 where they were not counted.
    pub shared_size: i64,
    /// Bytes of its layers, unpacked.
    pub size: i64,
}

/// The answer of `GET /images/{name}/json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInspect {
    /// `sha256:…`
    pub id: String,
    /// `name:tag`
    pub repo_tags: Vec<String>,
    /// `name@sha256:…`
    pub repo_digests: Vec<String>,
    /// The image that it was built on, here.
    pub parent: String,
    /// Of the commit that made it.
    pub comment: String,
    /// RFC 3339; absent if its configuration does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The engine that built it.
    pub docker_version: String,
    /// Who made it.
    pub author: String,
    /// What it says about its containers.
    pub config: ImageConfig,
    /// `amd64`
    pub architecture: String,
    /// `v7`
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `linux`
    pub os: String,
    /// Of Windows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Bytes of its layers, unpacked.
    pub size: i64,
    /// The storage driver that holds it.
    pub graph_driver: GraphDriver,
    /// Its layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// What this engine knows about it.
    pub metadata: ImageMetadata,
    /// The descriptor of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
}

/// A storage driver and what it tells about one image or container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// For people.
    pub data: Option<BTreeMap<String, String>>,
    /// The driver.
    pub name: String,
}

/// The layers of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    /// `layers`
    #[serde(rename = "Type")]
    pub kind: String,
    /// The digests of the uncompressed layers, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// What the engine knows about an image beside its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageMetadata {
    /// RFC 3339; year 1 if it was never tagged here.
    pub last_tag_time: String,
}

/// One step of `GET /images/{name}/history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryItem {
    /// Of the commit.
    pub comment: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The instruction.
    pub created_by: String,
    /// The image's id at its last step, `<missing>` at others.
    pub id: String,
    /// Bytes it added.
    pub size: i64,
    /// Tags of the image at its last step.
    pub tags: Option<Vec<String>>,
}

/// One thing that `DELETE /images/{name}` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletedItem {
    /// A reference was removed.
    Untagged(String),
    /// An image or a layer was removed.
    Deleted(String),
}

/// The answer of `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImagesPruned {
    /// What was done; null if nothing.
    pub images_deleted: Option<Vec<DeletedItem>>,
    /// In bytes.
    pub space_reclaimed: u64,
}

/// Credentials for a registry, of `POST /auth` and of the header `X-Registry-Auth`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// A user name.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Its password.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// Base64 of `user:password`, in place of both.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub auth: String,
    /// The registry.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    /// An OAuth2 refresh token.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    /// A bearer token to be sent as it is.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

impl std::fmt::Debug for AuthConfig {
    /// Never shows a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

fn base64_of(alphabet: &alphabet::Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    base64_of(&alphabet::URL_SAFE).decode(text).or_else(|_| base64_of(&alphabet::STANDARD).decode(text)).ok()
}

impl AuthConfig {
    /// Reads the header `X-Registry-Auth`: base64 of either alphabet, with or without padding. Docker ignores one that cannot
    /// be read, and clients send `{}` for none, so both mean no credentials.
    pub fn from_header(header: &str) -> Self {
        decode_base64(header)
            .and_then(|json| serde_json::from_slice(&json).ok())
            .map(Self::normalized)
            .unwrap_or_default()
    }

    /// The same with `auth` taken apart into user name and password.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        if self.username.is_empty() && !self.auth.is_empty() {
            let pair = decode_base64(&self.auth).and_then(|b| String::from_utf8(b).ok());
            if let Some((user, password)) = pair.as_deref().and_then(|p| p.split_once(':')) {
                self.username = user.to_owned();
                self.password = password.trim_end_matches('\0').to_owned();
            }
        }
        self.auth.clear();
        self
    }

    /// Whether there are no credentials in it.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty()
            && self.password.is_empty()
            && self.identitytoken.is_empty()
            && self.registrytoken.is_empty()
    }
}

/// Parameters of `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ImageListQuery {
    /// Docker lists intermediate images with it; there are none here.
    pub all: bool,
    /// Which images.
    pub filters: Filters,
    /// Count what images share.
    pub shared_size: bool,
    /// Digests are always listed.
    pub digests: bool,
    /// The manifests of each image.
    pub manifests: bool,
}

/// Parameters of `POST /images/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageCreateQuery {
    /// What to pull.
    pub from_image: String,
    /// What to import.
    pub from_src: String,
    /// The name of what is imported.
    pub repo: String,
    /// A tag or a digest.
    pub tag: String,
    /// The comment of what is imported.
    pub message: String,
    /// Instructions for what is imported.
    pub changes: Vec<String>,
    /// `os/arch[/variant]`; none for the engine's.
    pub platform: String,
}

/// Parameters of `GET /images/{name}/json` and `…/history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageInspectQuery {
    /// The manifests of the image.
    pub manifests: bool,
    /// An [`OciPlatform`] as JSON.
    pub platform: Option<String>,
}

/// Parameters of `POST /images/{name}/tag`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageTagQuery {
    /// The new name.
    pub repo: String,
    /// Its tag; `latest` if empty.
    pub tag: String,
}

/// Parameters of `DELETE /images/{name}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageRemoveQuery {
    /// Also if stopped containers or several names stand against it.
    pub force: bool,
    /// Keep parents; images have none here.
    pub noprune: bool,
    /// Remove single platforms.
    pub platforms: Vec<String>,
}

/// Parameters of `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagePruneQuery {
    /// Which images.
    pub filters: Filters,
}

/// The answer of `POST /auth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuthResponse {
    /// `Login Succeeded`
    pub status: String,
    /// A token for the client to keep in place of the password.
    #[serde(default)]
    pub identity_token: String,
}

/// The answer of `GET /distribution/{name}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DistributionInspect {
    /// What the registry has under this name.
    pub descriptor: Descriptor,
    /// The platforms it is for.
    pub platforms: Vec<OciPlatform>,
}

fn null_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_auth_headers() {
        let full = r#"{"username":"u","password":"p?>~","serveraddress":"r"}"#;
        let url = base64::engine::general_purpose::URL_SAFE.encode(full);
        let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode(full);
        let pair = base64::engine::general_purpose::STANDARD.encode("u:p?>~");
        let paired = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"auth":"{pair}"}}"#));
        for (header, user, password) in [
            (url.as_str(), "u", "p?>~"),
            (standard.as_str(), "u", "p?>~"),
            (paired.as_str(), "u", "p?>~"),
            ("e30=", "", ""),
            ("", "", ""),
            ("!!", "", ""),
            ("bnVsbA", "", ""),
        ] {
            let auth = AuthConfig::from_header(header);
            assert_eq!((auth.username.as_str(), auth.password.as_str()), (user, password), "{header}");
            assert!(!format!("{auth:?}").contains("p?>~"));
        }
    }

    #[test]
    fn writes_what_docker_always_writes() {
        let json = serde_json::to_value(ImageConfig::default()).expect("json");
        let keys: Vec<_> = json.as_object().expect("object").keys().cloned().collect();
        assert_eq!(keys, ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"]);
        assert_eq!(serde_json::to_string(&DeletedItem::Untagged("a:1".into())).expect("json"), r#"{"Untagged":"a:1"}"#);
        let nulls =
            r#"{"User":null,"Env":null,"ExposedPorts":{"80/tcp":{},"81/tcp":null},"WorkingDir":null,"Extra":1}"#;
        let config: ImageConfig = serde_json::from_str(nulls).expect("nulls");
        assert_eq!(config.exposed_ports.expect("ports").len(), 2);
    }
}
