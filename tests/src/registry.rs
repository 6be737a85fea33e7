//! Real registries, and a token server that the token registry trusts.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use crate::server::{Reply, Request, Server};
use crate::{Sandbox, eventually, images};

/// How a registry wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone may read.
    Open,
    /// `alice` with `wonderland`, as HTTP basic authentication.
    Basic,
    /// A token of the [`TokenServer`] at this port; anyone may read, `alice` may also write.
    Token(u16),
}

/// Debian's docker-registry over the prepared images, on a port of the sandbox's loopback.
pub struct Registry {
    child: Child,
}

impl Registry {
    /// The open one, at [`images::REGISTRY`].
    #[track_caller]
    pub fn open(sandbox: &Sandbox) -> Self {
        Self::start(sandbox, 5000, Access::Open)
    }

    /// Starts one and waits until it answers. Nothing can be pushed to it: all tests read the same files.
    ///
    /// # Panics
    /// If it does not answer within ten seconds.
    #[track_caller]
    pub fn start(sandbox: &Sandbox, port: u16, access: Access) -> Self {
        let dir = images::dir();
        let auth = match access {
            Access::Open => String::new(),
            Access::Basic => {
                format!("auth: {{htpasswd: {{realm: sheave, path: {}}}}}\n", dir.join("auth/htpasswd").display())
            }
            Access::Token(server) => format!(
                "auth: {{token: {{realm: \"http://127.0.0.1:{server}/token\", service: sheave-registry, issuer: sheave-tests, rootcertbundle: {}}}}}\n",
                dir.join("auth/token.crt").display()
            ),
        };
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  maintenance: {{readonly: {{enabled: true}}}}\n{auth}http: {{addr: \"127.0.0.1:{port}\", secret: s}}\n",
            dir.join("registry").display()
        );
        let path = sandbox.path().join(format!("registry-{port}.yml"));
        std::fs::write(&path, config).expect("a file of the sandbox");
        let log =
            std::fs::File::create(sandbox.path().join(format!("registry-{port}.log"))).expect("a file of the sandbox");
        let mut command = sandbox.command("docker-registry");
        command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("nsenter");
        let address = ([127, 0, 0, 1], port).into();
        eventually("the registry", Duration::from_secs(10), || sandbox.connect(address).ok());
        Self { child }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let pid = crate::sandbox::only_child(self.child.id());
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// A server of the registry token protocol: signs with the key whose certificate the registry knows.
pub struct TokenServer {
    server: Server,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    /// On a port of the sandbox's loopback.
    pub fn start(sandbox: &Sandbox, port: u16) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let server = Server::start(sandbox, port, move |request| {
            log.lock().expect("no holder panics").push(request.path.clone());
            token_reply(request)
        });
        Self { server, asked }
    }

    /// The paths asked for so far, with their queries.
    ///
    /// # Panics
    /// If a request panicked.
    pub fn asked(&self) -> Vec<String> {
        let _ = &self.server;
        self.asked.lock().expect("no holder panics").clone()
    }
}

fn token_reply(request: &Request) -> Reply {
    let user = request.header("authorization").map(|value| {
        let encoded = value.strip_prefix("Basic ").unwrap_or_default();
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap_or_default()).unwrap_or_default()
    });
    let name = match user.as_deref() {
        None => "",
        Some("alice:wonderland") => "alice",
        Some(_) => return Reply::json(401, &json!({"details": "incorrect username or password"})),
    };
    let access: Vec<_> = request
        .query("scope")
        .iter()
        .flat_map(|scopes| scopes.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|scope| {
            let mut parts = scope.splitn(3, ':').map(str::to_owned);
            let (kind, repository, actions) = (parts.next()?, parts.next()?, parts.next()?);
            let private = repository.starts_with("test/schema2");
            let granted: Vec<&str> =
                actions.split(',').filter(|a| name == "alice" || (*a == "pull" && !private)).collect();
            Some(json!({"type": kind, "name": repository, "actions": granted}))
        })
        .collect();
    let token = sign(name, &access);
    Reply::json(200, &json!({"token": token, "access_token": token, "expires_in": 300}))
}

/// A JSON web token, RS256, with the certificate in its header. OpenSSL signs it: nothing of ours.
fn sign(subject: &str, access: &[serde_json::Value]) -> String {
    let auth = images::dir().join("auth");
    let pem = std::fs::read_to_string(auth.join("token.crt")).expect("the certificate of the images");
    let certificate: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
    let claims = json!({"iss": "sheave-tests", "sub": subject, "aud": "sheave-registry", "iat": now, "nbf": now - 60, "exp": now + 300,
        "jti": format!("{now}"), "access": access});
    let part = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(auth.join("token.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl");
    openssl.stdin.take().expect("a pipe was asked for").write_all(signed.as_bytes()).expect("openssl reads");
    let signature = openssl.wait_with_output().expect("openssl ends").stdout;
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
