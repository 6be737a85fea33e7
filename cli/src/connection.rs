//! The way to the engine: a Docker client for streams, and plain requests whose JSON is shown as it came.

use bollard::Docker;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use crate::error::CliError;

/// Seconds that the client library waits for an answer to begin; `wait` and `logs` need as long as a container runs.
const PATIENCE: u64 = 365 * 24 * 3600;
const DEFAULT: &str = "unix:///run/sheave/sheave.sock";

/// An engine.
pub(crate) struct Connection {
    address: String,
}

impl Connection {
    /// The engine that the flag or the environment names.
    pub(crate) fn new(flag: Option<&str>) -> Result<Self, CliError> {
        let from_env =
            || ["SHEAVE_HOST", "DOCKER_HOST"].iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
        let address = flag.map(str::to_owned).or_else(from_env).unwrap_or_else(|| DEFAULT.to_owned());
        if !address.starts_with("unix://") && !address.starts_with("tcp://") {
            let reason = format!("{address}: use unix:///path or tcp://host:port");
            return Err(CliError::Flag { flag: "--host", reason });
        }
        Ok(Self { address })
    }

    fn unreachable(&self, reason: impl std::fmt::Display) -> CliError {
        CliError::Unreachable { address: self.address.clone(), reason: reason.to_string() }
    }

    /// A client with the newest API version that both sides know.
    pub(crate) async fn docker(&self) -> Result<Docker, CliError> {
        let docker = match self.address.strip_prefix("unix://") {
            Some(path) => Docker::connect_with_unix(path, PATIENCE, bollard::API_DEFAULT_VERSION),
            None => Docker::connect_with_http(&self.address, PATIENCE, bollard::API_DEFAULT_VERSION),
        };
        let docker = docker.map_err(|e| self.unreachable(e))?;
        docker.negotiate_version().await.map_err(|e| match e {
            bollard::errors::Error::DockerResponseServerError { .. } => e.into(),
            other => self.unreachable(other),
        })
    }

    /// Sends a request without a body; its answer's JSON.
    pub(crate) async fn request(&self, method: &str, path: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let request = hyper::Request::builder()
            .method(method)
            .uri(uri)
            .header("Host", "sheave")
            .body(Empty::<Bytes>::new())
            .map_err(|e| CliError::Answer(e.to_string()))?;
        let (status, body) = match self.address.strip_prefix("unix://") {
            Some(path) => {
                self.exchange(UnixStream::connect(path).await.map_err(|e| self.unreachable(e))?, request).await?
            }
            None => {
                let host = self.address.trim_start_matches("tcp://");
                self.exchange(TcpStream::connect(host).await.map_err(|e| self.unreachable(e))?, request).await?
            }
        };
        if status >= 400 {
            let message = serde_json::from_slice::<Value>(&body).ok();
            let message = message.and_then(|v| v["message"].as_str().map(str::to_owned));
            let message = message.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
            return Err(CliError::Engine { status, message });
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|e| CliError::Answer(e.to_string()))
    }

    /// `GET`; see [`Connection::request`].
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
        self.request("GET", path, query).await
    }

    async fn exchange<S>(&self, stream: S, request: hyper::Request<Empty<Bytes>>) -> Result<(u16, Bytes), CliError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.unreachable(e))?;
        // The connection ends with the sender; its error reaches the caller through the request.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| self.unreachable(e))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|e| self.unreachable(e))?;
        Ok((status, body.to_bytes()))
    }
}

/// Escapes one part of a path.
pub(crate) fn segment(name: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:@".contains(&b);
    name.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
