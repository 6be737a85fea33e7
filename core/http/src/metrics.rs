//! The listener for Prometheus.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sheave_telemetry::metrics::Metrics;
use tokio::net::TcpStream;
use tracing::debug;

use crate::listen::{Accepted, Listener};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Serves `GET /metrics` at loopback listeners until it is dropped.
pub async fn serve_metrics(listeners: Vec<Listener>, metrics: Arc<Metrics>) {
    let each = listeners.into_iter().map(|listener| listen(listener, Arc::clone(&metrics)));
    futures_util::future::join_all(each).await;
}

async fn listen(listener: Listener, metrics: Arc<Metrics>) {
    loop {
        match listener.accept().await {
            Ok((Accepted::Tcp(stream), _)) => {
                tokio::spawn(connection(stream, Arc::clone(&metrics)));
            }
            Ok((Accepted::Unix(_), _)) => {}
            Err(error) => {
                debug!(%error, "metrics listener");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, metrics: Arc<Metrics>) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let found = request.method() == Method::GET && request.uri().path() == "/metrics";
        let text = if found { metrics.encode() } else { String::new() };
        let mut response = hyper::Response::new(Full::new(Bytes::from(text)));
        if found {
            response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let conn = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(std::time::Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = conn.await {
        debug!(%error, "metrics connection");
    }
}
