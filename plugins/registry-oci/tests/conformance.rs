//! The conformance suite and the plugin's own flows.

use std::sync::Arc;

use sheave_conformance::registry::RegistrySuite;
use sheave_conformance::scripted::{ScriptedHost, response};
use sheave_plugin::host::{self, HttpRequest, HttpResponse};
use sheave_plugin::registry::{Access, Authorization, Credentials, Driver, Endpoint, HttpEndpoint, Scope};
use sheave_plugin::{Error, ErrorKind};
use sheave_registry_oci::OciRegistry;

#[test]
fn conforms() {
    for serves in ["docker.io", "registry.example:5000", "localhost:5000"] {
        let config = r#"{"mirrors":{"*.example":["https://mirror.test"]}}"#;
        RegistrySuite { plugin: sheave_registry_oci::linked(), config, serves }.run();
    }
}

fn endpoint(base: &str) -> Endpoint {
    let base = base.to_owned();
    Endpoint::Http(HttpEndpoint { base, insecure: false, ca: Vec::new(), headers: Vec::new(), repository: None })
}

fn credentials(username: &str, password: &str, identity: &str, registry: &str) -> Credentials {
    Credentials {
        username: username.into(),
        password: password.into(),
        identity_token: identity.into(),
        registry_token: registry.into(),
    }
}

fn scopes() -> Vec<Scope> {
    vec![Scope { repository: "a/b".into(), access: Access::Pull }]
}

/// Answers one challenge of `https://r.example` with a token server that answers by `answer`.
fn answer(
    challenge: &str,
    credentials: Option<Credentials>,
    answer: impl Fn(&HttpRequest) -> HttpResponse + Send + Sync + 'static,
) -> (Result<Authorization, Error>, Vec<HttpRequest>) {
    let host = Arc::new(ScriptedHost::new(move |r| Ok(answer(r))));
    let driver = OciRegistry::new(String::new()).expect("driver");
    let challenges = vec![challenge.to_owned()];
    let given = host::scope(host.clone(), || {
        driver.authorize(endpoint("https://r.example"), challenges, scopes(), credentials)
    });
    (given, host.requests())
}

fn header(given: Result<Authorization, Error>) -> String {
    given.expect("authorized").headers.remove(0).value
}

#[test]
fn basic_needs_credentials() {
    let (given, asked) = answer("Basic realm=x", Some(credentials("u", "p", "", "")), |_| response(500, &[], ""));
    assert_eq!(header(given), "Basic dTpw");
    assert_eq!(asked.len(), 0);
    let (refused, _) = answer("Basic realm=x", None, |_| response(500, &[], ""));
    let error = refused.expect_err("no credentials");
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unauthorized, "no basic auth credentials"));
}

#[test]
fn an_identity_token_is_posted_and_falls_back() {
    let challenge = r#"Bearer realm="https://t.example/token?x=1",service="s""#;
    let identity = || Some(credentials("u", "p", "refresh&me", ""));
    let (given, asked) = answer(challenge, identity(), |_| response(200, &[], r#"{"access_token":"A"}"#));
    assert_eq!(header(given), "Bearer A");
    assert_eq!(asked[0].method, "POST");
    assert!(asked[0].body.contains("grant_type=refresh_token") && asked[0].body.contains("refresh%26me"));
    let (given, asked) = answer(challenge, identity(), |r| match r.method.as_str() {
        "POST" => response(404, &[], ""),
        _ => response(200, &[], r#"{"token":"B"}"#),
    });
    assert_eq!(header(given), "Bearer B");
    assert_eq!(asked[1].url, "https://t.example/token?x=1&service=s&scope=repository%3Aa%2Fb%3Apull&account=u");
}

#[test]
fn a_registry_token_is_sent_as_it_is() {
    let host = Arc::new(ScriptedHost::offline());
    let driver = OciRegistry::new(String::new()).expect("driver");
    let given = credentials("", "", "", "tok");
    let ask = |challenges: Vec<String>| {
        host::scope(host.clone(), || driver.authorize(endpoint("https://r"), challenges, scopes(), Some(given.clone())))
    };
    assert_eq!(header(ask(Vec::new())), "Bearer tok");
    assert_eq!(ask(vec!["Bearer realm=x".into()]).expect_err("refused").kind, ErrorKind::Unauthorized);
}

#[test]
fn refusals_of_the_token_server_are_told() {
    for (status, body, kind, message) in [
        (401, "", ErrorKind::Unauthorized, "unauthorized: incorrect username or password"),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"account suspended"}]}"#,
            ErrorKind::Unauthorized,
            "unauthorized: account suspended",
        ),
        (503, "", ErrorKind::Unavailable, "the token server answered 503"),
        (200, "{}", ErrorKind::Unavailable, "the token server's answer is unusable: it holds no token"),
        (
            200,
            "{\"token\":\"a\\r\\nX: y\"}",
            ErrorKind::Unavailable,
            "the token server's answer is unusable: it holds no token",
        ),
    ] {
        let (given, _) = answer(r#"Bearer realm="https://t/""#, None, move |_| response(status, &[], body));
        let error = given.expect_err(body);
        assert_eq!((error.kind, error.message.as_str()), (kind, message));
    }
}

#[test]
fn credentials_stay_away_from_mirrors() {
    let host = Arc::new(ScriptedHost::offline());
    let driver = OciRegistry::new(r#"{"registry-mirrors":["https://mirror.test/"]}"#.into()).expect("driver");
    let given = Some(credentials("u", "p", "", ""));
    let answer = host::scope(host, || {
        driver.authorize(endpoint("https://mirror.test"), vec!["Basic realm=x".into()], scopes(), given)
    });
    assert_eq!(answer.expect_err("a mirror").message, "no basic auth credentials");
}
