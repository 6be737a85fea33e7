//! Bearer tokens: <https://distribution.github.io/distribution/spec/auth/token/>.

use serde::Deserialize;
use sheave_plugin::host::{HttpRequest, HttpResponse};
use sheave_plugin::registry::{Access, Credentials, Scope};
use sheave_plugin::{Error, ErrorKind, Label, host};
use url::{Url, form_urlencoded};

use crate::challenge::Challenge;
use crate::config::is_loopback;

/// What a token server gave.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) value: String,
    /// Milliseconds since 1970.
    pub(crate) expires: u64,
    pub(crate) refresh: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<String>,
}

/// The client id that token servers know of Docker's clients.
const CLIENT: &str = "docker";
/// The specification's default and the least that is believed, in seconds.
const LIFETIME: u64 = 60;
/// A token is asked for anew this long before it expires, in milliseconds.
const MARGIN: u64 = 10_000;

/// `repository:name:pull` as token servers take it.
pub(crate) fn scope_text(scope: &Scope) -> String {
    let access = match scope.access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
    };
    format!("repository:{}:{access}", scope.repository)
}

/// Fetches a token for what the challenge and the caller name.
pub(crate) fn fetch(
    base: &str,
    challenge: &Challenge,
    scopes: &[Scope],
    credentials: Option<&Credentials>,
) -> Result<Token, Error> {
    let realm = realm(base, challenge)?;
    let mut wanted: Vec<String> = scopes.iter().map(scope_text).collect();
    for scope in challenge.get("scope").unwrap_or("").split(' ').filter(|s| !s.is_empty()) {
        if !wanted.iter().any(|w| covers(w, scope)) {
            wanted.push(scope.to_owned());
        }
    }
    let service = challenge.get("service").unwrap_or("");
    if let Some(refresh) = credentials.map(|c| c.identity_token.as_str()).filter(|t| !t.is_empty()) {
        let response = post(&realm, service, &wanted, refresh)?;
        // A server without the OAuth2 form: the specification says to ask the other way.
        if !matches!(response.status, 404 | 405) {
            return read(&response);
        }
    }
    read(&get(realm, service, &wanted, credentials)?)
}

/// Whether a wanted scope already asks for all of another.
fn covers(wanted: &str, other: &str) -> bool {
    let split = |s: &str| s.rsplit_once(':').map(|(name, access)| (name.to_owned(), access.to_owned()));
    match (split(wanted), split(other)) {
        (Some((name, access)), Some((other_name, others))) => {
            name == other_name && others.split(',').all(|o| access.split(',').any(|a| a == o))
        }
        _ => wanted == other,
    }
}

fn realm(base: &str, challenge: &Challenge) -> Result<Url, Error> {
    let text = challenge.get("realm").unwrap_or("");
    let unusable = |why: &str| {
        Error::of(ErrorKind::Unavailable, format!("{base} names the unusable token server {text:?}: {why}"))
    };
    let url = Url::parse(text).map_err(|e| unusable(&e.to_string()))?;
    let host = url.host_str().unwrap_or("");
    match url.scheme() {
        "https" => Ok(url),
        // Credentials go there: in the clear only where the registry itself is reached so, or on this machine.
        "http" if base.starts_with("http://") || is_loopback(host) => Ok(url),
        "http" => Err(unusable("credentials are not sent over plain HTTP")),
        _ => Err(unusable("its scheme must be http or https")),
    }
}

fn get(
    mut realm: Url,
    service: &str,
    scopes: &[String],
    credentials: Option<&Credentials>,
) -> Result<HttpResponse, Error> {
    let mut headers = Vec::new();
    {
        let mut query = realm.query_pairs_mut();
        if !service.is_empty() {
            query.append_pair("service", service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
        if let Some(c) = credentials.filter(|c| !c.username.is_empty()) {
            query.append_pair("account", &c.username);
            headers.push(basic(c));
        }
        if scopes.is_empty() {
            // A login: the client keeps a refresh token instead of the password where the server gives one.
            query.append_pair("offline_token", "true").append_pair("client_id", CLIENT);
        }
    }
    let request =
        HttpRequest { method: "GET".into(), url: realm.into(), headers, body: String::new(), body_base64: false };
    host::http(&request)
}

fn post(realm: &Url, service: &str, scopes: &[String], refresh: &str) -> Result<HttpResponse, Error> {
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", service)
        .append_pair("client_id", CLIENT)
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", refresh)
        .finish();
    let headers = vec![Label { key: "Content-Type".into(), value: "application/x-www-form-urlencoded".into() }];
    host::http(&HttpRequest { method: "POST".into(), url: realm.to_string(), headers, body, body_base64: false })
}

/// The header of basic authentication.
pub(crate) fn basic(credentials: &Credentials) -> Label {
    use base64::Engine as _;
    let pair = format!("{}:{}", credentials.username, credentials.password);
    let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    Label { key: "Authorization".into(), value }
}

fn read(response: &HttpResponse) -> Result<Token, Error> {
    if response.status != 200 {
        return Err(refusal(response));
    }
    let broken =
        |why: String| Error::of(ErrorKind::Unavailable, format!("the token server's answer is unusable: {why}"));
    let answer: Answer = serde_json::from_str(&response.body).map_err(|e| broken(e.to_string()))?;
    let value = answer.token.filter(|t| !t.is_empty()).or(answer.access_token).unwrap_or_default();
    // It becomes a header, so nothing that could end one may be in it.
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(broken("it holds no token".into()));
    }
    let lifetime = answer.expires_in.unwrap_or(LIFETIME).clamp(LIFETIME, 30 * 24 * 3600);
    let expires = host::now() + lifetime * 1000 - MARGIN;
    Ok(Token { value, expires, refresh: answer.refresh_token.filter(|t| !t.is_empty()) })
}

fn refusal(response: &HttpResponse) -> Error {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        message: String,
    }
    #[derive(Deserialize)]
    struct Details {
        details: String,
    }
    let message = serde_json::from_str::<Errors>(&response.body)
        .ok()
        .and_then(|e| e.errors.into_iter().next())
        .map(|item| item.message)
        .or_else(|| serde_json::from_str::<Details>(&response.body).ok().map(|d| d.details))
        .filter(|m| !m.is_empty());
    match response.status {
        400 | 401 | 403 => Error::of(
            ErrorKind::Unauthorized,
            format!("unauthorized: {}", message.as_deref().unwrap_or("incorrect username or password")),
        ),
        status => Error::of(ErrorKind::Unavailable, format!("the token server answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_need_tls() {
        for (base, realm, good) in [
            ("https://r", "https://t/token", true),
            ("https://r", "http://t/token", false),
            ("http://r", "http://t/token", true),
            ("https://r", "http://localhost:1/token", true),
            ("https://r", "file:///etc/passwd", false),
            ("https://r", "", false),
        ] {
            let challenge =
                Challenge { scheme: "bearer".into(), parameters: [("realm".to_owned(), realm.to_owned())].into() };
            assert_eq!(super::realm(base, &challenge).is_ok(), good, "{base} {realm}");
        }
    }

    #[test]
    fn scopes_that_cover_others() {
        assert!(covers("repository:a:pull,push", "repository:a:pull"));
        assert!(!covers("repository:a:pull", "repository:a:pull,push"));
        assert!(!covers("repository:a:pull", "repository:b:pull"));
        assert!(!covers("registry:catalog:*", "x"));
    }
}
