//! From a reference to the servers to ask.

use sheave_plugin::registry::{Endpoint, HttpEndpoint, Reference};
use sheave_plugin::{Error, host};

use crate::config::{Config, is_loopback, most_specific};

/// Docker Hub is named `docker.io` and served from here.
const HUB: &str = "registry-1.docker.io";

fn http(base: String, insecure: bool, ca: Vec<String>) -> Endpoint {
    Endpoint::Http(HttpEndpoint { base, insecure, ca, headers: Vec::new(), repository: None })
}

fn authorities(config: &Config, host: &str) -> Result<Vec<String>, Error> {
    let files = most_specific(&config.ca, host).map_or(&[][..], Vec::as_slice);
    files.iter().map(|path| host::read_text(path)).collect()
}

/// The registry's own endpoints, without mirrors.
pub(crate) fn own(config: &Config, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
    let host = if reference.host == "docker.io" { HUB } else { reference.host.as_str() };
    let (tls, plain) = (format!("https://{host}"), format!("http://{host}"));
    let ca = authorities(config, &reference.host)?;
    Ok(if is_loopback(host) {
        vec![http(plain, false, Vec::new()), http(tls, true, ca)]
    } else if config.is_insecure(&reference.host) {
        vec![http(tls, true, ca), http(plain, false, Vec::new())]
    } else {
        vec![http(tls, false, ca)]
    })
}

/// All endpoints in the order to try: mirrors, then the registry itself.
pub(crate) fn all(config: &Config, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
    let mut endpoints = Vec::new();
    for base in config.mirrors_of(&reference.host) {
        let host = base.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
        let insecure = base.starts_with("https://") && config.is_insecure(host);
        let ca = authorities(config, host)?;
        endpoints.push(http(base, insecure, ca));
    }
    endpoints.extend(own(config, reference)?);
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_endpoints() {
        let config: Config = sheave_plugin::config(
            r#"{"registry-mirrors":["https://m1/","http://m2:80/p"],"insecure-registries":["in.example:5000","*.lan"],
                "mirrors":{"*.example.com":["https://near.lan"]}}"#,
        )
        .expect("config");
        for (host, expected) in [
            ("docker.io", &["https://m1", "http://m2:80/p", "https://registry-1.docker.io"][..]),
            ("quay.io", &["https://quay.io"]),
            ("localhost:5000", &["http://localhost:5000", "!https://localhost:5000"]),
            ("in.example:5000", &["!https://in.example:5000", "http://in.example:5000"]),
            ("r.example.com", &["!https://near.lan", "https://r.example.com"]),
        ] {
            let reference = Reference { host: host.into(), path: "a/b".into(), tag: None, digest: None };
            let endpoints = all(&config, &reference).expect(host);
            let found: Vec<_> = endpoints
                .iter()
                .map(|e| match e {
                    Endpoint::Http(h) => format!("{}{}", if h.insecure { "!" } else { "" }, h.base),
                    Endpoint::Layout(path) => path.clone(),
                })
                .collect();
            assert_eq!(found, expected, "{host}");
        }
    }
}
