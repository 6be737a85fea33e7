//! Pulls from a registry that does right and wrong.

mod support;

use std::sync::Arc;

use sheave_api::images::AuthConfig;
use sheave_images::Tuning;
use sheave_types::{Digest, ErrorKind};
use support::server::{Act, Server, answer};
use support::{Engine, OCI_INDEX, TestImage, manifest, noise, statuses, tar_of, tuning};

fn three_layers() -> TestImage {
    let base = tar_of(&[("bin/", ""), ("bin/sh", "shell"), ("etc/", ""), ("etc/old", "1"), ("etc/kept", "1")]);
    let second = tar_of(&[("etc/.wh.old", ""), ("data/", ""), ("data/big", &noise(300_000))]);
    let third = tar_of(&[("bin/sh2>bin/sh", ""), ("data/more", "x")]);
    TestImage::new(&[base, second, third])
}

fn tree(engine: &Engine, image: &TestImage) -> Vec<String> {
    let image = engine.images.resolve(&image.id().to_string()).expect("image");
    let top = image.chain_ids().last().expect("layers").hex();
    let root = engine.layers.root.join(top);
    let mut names = Vec::new();
    let mut todo = vec![root.clone()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).expect("list").flatten() {
            names.push(entry.path().strip_prefix(&root).expect("below").display().to_string());
            if entry.file_type().expect("type").is_dir() {
                todo.push(entry.path());
            }
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn pulls_verifies_unpacks_and_records() {
    let image = three_layers();
    for independent in [false, true] {
        let server = Server::with(&image).await;
        let engine = Engine::with(&[&server.base], independent, tuning()).await;
        let (outcome, messages) = engine.pull("app:1").await;
        outcome.expect("pull");
        let said = statuses(&messages);
        assert_eq!(said[0], "Pulling from library/app");
        assert_eq!(messages[0].id.as_deref(), Some("1"));
        for (status, times) in [("Pulling fs layer", 3), ("Download complete", 3), ("Pull complete", 3)] {
            assert_eq!(said.iter().filter(|s| *s == status).count(), times, "{status}: {said:?}");
        }
        let digest = image.digest();
        assert_eq!(
            said[said.len() - 2..],
            [format!("Digest: {digest}"), "Status: Downloaded newer image for app:1".into()]
        );
        engine.assert_clean();
        assert_eq!(server.count("/manifests/"), 1);
        let found = engine.images.resolve("app:1").expect("found");
        assert_eq!(found.id, image.id());
        assert_eq!(found.references, ["docker.io/library/app:1".to_owned(), format!("docker.io/library/app@{digest}")]);
        // The third layer links to a file of the first, so it holds all of the parent's.
        let names = tree(&engine, &image);
        assert_eq!(names, ["bin", "bin/sh", "bin/sh2", "data", "data/big", "data/more", "etc", "etc/kept"]);
        let parents = engine.layers.parents(&found.chain_ids()[2].hex());
        let chains: Vec<_> = found.chain_ids().iter().rev().skip(1).map(Digest::hex).collect();
        assert_eq!(parents, chains);
        let (again, messages) = engine.pull("app:1").await;
        again.expect("again");
        assert_eq!(statuses(&messages).last().map(String::as_str), Some("Status: Image is up to date for app:1"));
        assert_eq!(server.count("/blobs/"), 4);
        let (events, _) = engine.events.subscribe(Some(0));
        let pulls: Vec<_> = events.iter().filter(|e| e.action == "pull").collect();
        assert_eq!((pulls[0].id.as_str(), pulls[0].attributes["name"].as_str()), ("app:1", "app"));
        assert_eq!(pulls[0].attributes["team"], "a");
    }
}

#[tokio::test]
async fn is_an_image_layout_for_others() {
    let image = three_layers();
    let server = Server::with(&image).await;
    let engine = Engine::new(&[&server.base]).await;
    engine.pull("app:1").await.0.expect("pull");
    let content = engine.dir.path().join("content");
    let inspect = std::process::Command::new("skopeo")
        .args(["inspect", "--format", "{{.Digest}}"])
        .arg(format!("oci:{}:docker.io/library/app:1", content.display()))
        .output()
        .expect("skopeo");
    assert!(inspect.status.success(), "{}", String::from_utf8_lossy(&inspect.stderr));
    assert_eq!(String::from_utf8_lossy(&inspect.stdout).trim(), image.digest().to_string());
    // And it is a registry for another engine.
    let other = Engine::new(&[content.to_str().expect("utf-8")]).await;
    other.pull("app:1").await.0.expect("from the layout");
    assert_eq!(tree(&other, &image), tree(&engine, &image));
    let missing = other.pull("app:2").await.0.expect_err("no such tag");
    assert_eq!(missing.to_string(), "manifest for app:2 not found: manifest unknown: manifest unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_pulls_at_once_are_one_download() {
    let image = three_layers();
    let server = Server::with(&image).await;
    let engine = Arc::new(Engine::new(&[&server.base]).await);
    let pulls = (0..10).map(|_| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { engine.pull("app:1").await })
    });
    for pull in futures_util::future::join_all(pulls).await {
        let (outcome, messages) = pull.expect("task");
        outcome.expect("pull");
        assert!(statuses(&messages).last().is_some_and(|s| s.starts_with("Status: ")));
    }
    for blob in image.blobs.iter().chain([&image.config]) {
        assert_eq!(server.count(&Digest::of(blob).to_string()), 1);
    }
    engine.assert_clean();
    let other = Engine::new(&[&server.base]).await;
    let twice = tokio::join!(other.pull("app:1"), other.pull("app"));
    twice.0.0.expect("the same layers under another name");
    assert_eq!(twice.1.0.expect_err("no latest").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn lies_are_found_and_nothing_stays() {
    let image = three_layers();
    let (good, other) = (&image.blobs[1], noise(1000).into_bytes());
    let digest = Digest::of(good);
    let mut flipped = good.clone();
    flipped[1000] ^= 1;
    let longer = [good.as_slice(), b"more"].concat();
    let verification = format!("filesystem layer verification failed for digest {digest}");
    for (served, text) in [
        (flipped, verification.clone()),
        (longer, verification.clone()),
        (other, "the blob ended after 1000".to_owned()),
    ] {
        let server = Server::with(&image).await;
        server.put_blob_as(&digest, &served);
        let engine = Engine::new(&[&server.base]).await;
        let error = engine.pull("app:1").await.0.expect_err("a lie").to_string();
        assert!(error.contains(&text), "{error}");
        assert!(engine.images.resolve("app:1").is_err());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        engine.assert_clean_but(true);
        assert_eq!(engine.blobs(), 0, "{error}");
        let part = engine.dir.path().join("content/ingest").join(digest.hex());
        assert_eq!(part.exists(), !error.contains("verification"), "nothing of a lie stays");
    }
    let server = Server::with(&image).await;
    let config = String::from_utf8(image.config.clone()).expect("utf-8");
    let lying = config.replace(&image.diff_ids[2].to_string(), &Digest::of(b"x").to_string()).into_bytes();
    server.put_blob(&lying);
    server.put_manifest("app", "diff", support::OCI_MANIFEST, &manifest(&lying, &image.blobs));
    let engine = Engine::new(&[&server.base]).await;
    let error = engine.pull("app:diff").await.0.expect_err("another layer").to_string();
    assert!(error.starts_with("failed to register layer: the uncompressed layer is"), "{error}");
    // Here the configuration lies: the other blobs are honest, and a download that was given up waits to be resumed.
    engine.assert_clean_but(true);
    server.rule(|asked, _| {
        let lie = ("Docker-Content-Digest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        asked.path.ends_with("/manifests/1").then(|| answer(200, &[lie], "{}"))
    });
    let error = engine.pull("app:1").await.0.expect_err("another manifest").to_string();
    assert!(error.starts_with("manifest verification failed"), "{error}");
}

#[tokio::test]
async fn resumes_after_a_cut() {
    let image = three_layers();
    let digest = Digest::of(&image.blobs[1]).to_string();
    let server = Server::with(&image).await;
    let wanted = digest.clone();
    server.rule(move |asked, before| {
        let cut = asked.path.contains(&wanted) && before < 3;
        cut.then_some(if before == 2 { Act::Stall(70_000) } else { Act::Cut(60_000) })
    });
    let engine = Engine::new(&[&server.base]).await;
    let (outcome, _) = engine.pull("app:1").await;
    outcome.expect("resumed");
    let ranges: Vec<_> = server
        .asked()
        .iter()
        .filter(|a| a.path.contains(&digest))
        .map(|a| a.header("range").map(str::to_owned))
        .collect();
    let at = |n: u32| Some(format!("bytes={n}-"));
    assert_eq!(ranges, [None, at(60_000), at(120_000), at(190_000)]);
    engine.assert_clean();
}

#[tokio::test]
async fn resumes_in_a_later_pull() {
    let image = three_layers();
    let digest = Digest::of(&image.blobs[1]).to_string();
    let server = Server::with(&image).await;
    let wanted = digest.clone();
    server.rule(move |asked, before| (asked.path.contains(&wanted) && before == 0).then_some(Act::Cut(100_000)));
    let engine = Engine::with(&[&server.base], true, Tuning { attempts: 1, ..tuning() }).await;
    engine.pull("app:1").await.0.expect_err("cut");
    assert!(engine.images.resolve("app:1").is_err());
    // What else was being unpacked ends by itself.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let engine = engine.restart(&[&server.base]).await;
    engine.pull("app:1").await.0.expect("resumed");
    let last = server.asked().into_iter().rfind(|a| a.path.contains(&digest)).expect("asked");
    assert_eq!(last.header("range"), Some("bytes=100000-"));
    engine.assert_clean();
}

#[tokio::test]
async fn registries_that_refuse() {
    let image = three_layers();
    let body = |code: &str, message: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    let basic = ("WWW-Authenticate", "Basic realm=\"x\"");
    let scope = ("WWW-Authenticate", "Bearer realm=\"x\",error=\"insufficient_scope\"");
    for (status, header, body, kind, text) in [
        (
            404,
            None,
            body("MANIFEST_UNKNOWN", "manifest unknown"),
            ErrorKind::NotFound,
            "manifest for app:1 not found: manifest unknown: manifest unknown",
        ),
        (
            404,
            None,
            body("NAME_UNKNOWN", "repository name not known to registry"),
            ErrorKind::NotFound,
            "repository app not found: name unknown: repository name not known to registry",
        ),
        (
            403,
            None,
            body("DENIED", "requested access to the resource is denied"),
            ErrorKind::NotFound,
            "pull access denied for app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        ),
        (
            401,
            Some(scope),
            String::new(),
            ErrorKind::NotFound,
            "pull access denied for app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        ),
        (
            401,
            Some(basic),
            body("UNAUTHORIZED", "authentication required"),
            // Not a 401 of the engine's own: the docker command would ask for a password of Docker Hub.
            ErrorKind::Internal,
            "no basic auth credentials",
        ),
        (429, None, body("TOOMANYREQUESTS", "slow down"), ErrorKind::Unavailable, "toomanyrequests: slow down"),
        (500, None, "oops".to_owned(), ErrorKind::Internal, "the registry answered 500: oops"),
    ] {
        let server = Server::with(&image).await;
        server
            .rule(move |asked, _| asked.path.contains("/manifests/").then(|| answer(status, header.as_slice(), &body)));
        let engine = Engine::new(&[&server.base]).await;
        let (outcome, messages) = engine.pull("app:1").await;
        let error = outcome.expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!((error.kind(), messages.len()), (kind, 0), "{text}");
        let tries = if matches!(status, 429 | 500) {
            5
        } else if status == 401 && text.contains("pull access") {
            2
        } else {
            1
        };
        assert_eq!(server.count("/manifests/"), tries, "{text}");
        engine.assert_clean();
        assert_eq!(engine.blobs(), 0);
    }
}

#[tokio::test]
async fn tokens_expire_in_the_middle() {
    let image = three_layers();
    let server = Server::with(&image).await;
    server.rule(|asked, before| {
        let challenge = ("WWW-Authenticate", "Bearer realm=\"x\"");
        let first = asked.header("authorization") == Some("Bearer t0");
        let refused =
            asked.header("authorization").is_none() || (asked.path.contains("/blobs/") && first && before == 0);
        refused.then(|| answer(401, &[challenge], ""))
    });
    let engine = Engine::new(&[&server.base]).await;
    engine.pull("app:1").await.0.expect("asked for new tokens");
}

#[tokio::test]
async fn credentials_go_only_to_their_registry() {
    let image = three_layers();
    let (registry, storage) = (Server::with(&image).await, Server::with(&image).await);
    let elsewhere = storage.base.replace("127.0.0.1", "localhost");
    registry.rule(move |asked, _| {
        if asked.header("authorization") != Some("Basic u:p") {
            return Some(answer(401, &[("WWW-Authenticate", "Basic realm=x")], ""));
        }
        let target = format!("{elsewhere}{}", asked.path);
        asked.path.contains("/blobs/").then(|| answer(307, &[("Location", &target)], ""))
    });
    let engine = Engine::new(&[&registry.base]).await;
    let auth = AuthConfig { username: "u".into(), password: "p".into(), ..AuthConfig::default() };
    engine.pull_for("app:1", None, auth.clone()).await.0.expect("pull");
    assert_eq!(storage.count("/blobs/"), 4);
    for asked in storage.asked() {
        assert_eq!((asked.header("authorization"), asked.header("x-test")), (None, None));
    }
    let wrong = AuthConfig { password: "wrong".into(), ..auth.clone() };
    let error = engine.pull_for("app:1", None, wrong.clone()).await.0.expect_err("wrong password");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("pull access denied for app"), "{error}");
    assert!(error.to_string().ends_with("unauthorized: authentication required"), "{error}");
    let login = engine.images.login(auth).await.expect("login");
    assert_eq!((login.status.as_str(), login.identity_token.as_str()), ("Login Succeeded", "identity"));
    assert_eq!(engine.images.login(wrong).await.expect_err("wrong").kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn passing_failures_pass() {
    let image = three_layers();
    let server = Server::with(&image).await;
    server.rule(|asked, before| match before {
        0 if asked.path.contains("/manifests/") => Some(answer(429, &[("Retry-After", "0")], "")),
        0..=2 if asked.path.contains("/blobs/") => Some(answer(503, &[], "")),
        _ => None,
    });
    let engine = Engine::new(&[&server.base]).await;
    let (outcome, _) = engine.pull("app:1").await;
    let error = outcome.map_err(|e| e.to_string());
    assert_eq!(error, Ok(()));
}

#[tokio::test]
async fn platforms_are_chosen() {
    let (amd, arm) = (
        TestImage::for_platform(&[tar_of(&[("amd", "")])], "amd64"),
        TestImage::for_platform(&[tar_of(&[("arm", "")])], "arm64"),
    );
    let server = Server::start().await;
    let entry = |image: &TestImage, arch: &str| {
        serde_json::json!({ "mediaType": support::OCI_MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
            "platform": { "os": "linux", "architecture": arch } })
    };
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [entry(&arm, "arm64"), entry(&amd, "amd64")] });
    let index = serde_json::to_vec(&index).expect("json");
    server.add("app", "amd", &amd);
    server.add("app", "arm", &arm);
    server.put_manifest("app", "1", OCI_INDEX, &index);
    let engine = Engine::new(&[&server.base]).await;
    let pull = async |reference: &str, platform: Option<&str>| {
        let (outcome, messages) = engine.pull_for(reference, platform, AuthConfig::default()).await;
        outcome.map(|()| statuses(&messages)).map_err(|e| (e.kind(), e.to_string()))
    };
    let said = pull("app:1", Some("linux/amd64")).await.expect("amd64");
    assert!(said.contains(&format!("Digest: {}", Digest::of(&index))));
    assert_eq!(engine.images.resolve("app:1").expect("image").id, amd.id());
    pull("app:1", Some("linux/arm64/v8")).await.expect("arm64");
    assert_eq!(engine.images.resolve("app:1").expect("image").id, arm.id());
    assert_eq!(engine.images.resolve(&amd.id().short()).expect("by prefix").references, Vec::<String>::new());
    let missing = "no matching manifest for linux/s390x in the manifest list entries".to_owned();
    assert_eq!(pull("app:1", Some("linux/s390x")).await, Err((ErrorKind::NotFound, missing)));
    let wrong = "image with reference app:arm was found but does not match the specified platform: wanted linux/amd64, actual: linux/arm64";
    assert_eq!(pull("app:arm", Some("linux/amd64")).await, Err((ErrorKind::NotFound, wrong.to_owned())));
    pull(&format!("app@{}", amd.digest()), None).await.expect("by digest");
    let remote = engine.images.distribution("app:1", AuthConfig::default()).await.expect("distribution");
    assert_eq!((remote.descriptor.digest, remote.platforms.len()), (Digest::of(&index).to_string(), 2));
}

#[tokio::test]
async fn refuses_what_is_no_image() {
    let image = three_layers();
    let server = Server::with(&image).await;
    let huge = format!(r#"{{"schemaVersion":2,"x":"{}"}}"#, "x".repeat(5 << 20));
    for (name, body, text) in [
        ("schema1", r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1 is no longer supported"),
        ("html", "<html>", "the manifest cannot be read"),
        ("none", "{}", "mediaType in manifest"),
        ("huge", &huge, "larger than"),
    ] {
        server.put_manifest("app", name, support::OCI_MANIFEST, body.as_bytes());
        let engine = Engine::new(&[&server.base]).await;
        let error = engine.pull(&format!("app:{name}")).await.0.expect_err(name).to_string();
        assert!(error.contains(text), "{name}: {error}");
        assert_eq!(engine.blobs(), 0);
    }
    let fewer = manifest(&image.config, &image.blobs[..2]);
    server.put_manifest("app", "fewer", support::OCI_MANIFEST, &fewer);
    let engine = Engine::new(&[&server.base]).await;
    let error = engine.pull("app:fewer").await.0.expect_err("fewer").to_string();
    assert_eq!(error, "the image's configuration names 3 layers, its manifest 2");
}

#[tokio::test]
async fn falls_back_to_the_next_endpoint() {
    let image = three_layers();
    let (mirror, registry) = (Server::start().await, Server::with(&image).await);
    let engine = Engine::new(&["http://127.0.0.1:1", &mirror.base, &registry.base]).await;
    engine.pull("app:1").await.0.expect("from the third");
    mirror.put_manifest("app", "2", support::OCI_MANIFEST, &image.manifest);
    engine.images.remove("app:1", false).await.expect("remove");
    engine.pull("app:2").await.0.expect("the mirror lacks the blobs");
    let gone = Engine::new(&["http://127.0.0.1:1"]).await.pull("app:1").await.0.expect_err("nobody").to_string();
    assert!(gone.contains("onnection refused"), "{gone}");
}

#[tokio::test]
async fn who_gives_up_ends_the_pull() {
    let image = three_layers();
    let server = Server::with(&image).await;
    server.rule(|asked, _| asked.path.contains("/blobs/").then_some(Act::Stall(100)));
    let engine =
        Engine::with(&[&server.base], true, Tuning { stall: std::time::Duration::from_secs(60), ..tuning() }).await;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let request = sheave_images::PullRequest {
        reference: "app:1".parse().expect("reference"),
        platform: None,
        auth: AuthConfig::default(),
    };
    let images = Arc::clone(&engine.images);
    let pulling = tokio::spawn(async move { images.pull(request, sender).await });
    receiver.recv().await.expect("begun");
    drop(receiver);
    tokio::time::timeout(std::time::Duration::from_secs(5), pulling)
        .await
        .expect("ends")
        .expect("task")
        .expect("no error");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let unpacking = std::fs::read_dir(&engine.layers.root).expect("list").count();
    assert_eq!(unpacking, 0, "half-unpacked layers are gone");
}

#[tokio::test]
async fn all_tags() {
    let image = three_layers();
    let server = Server::with(&image).await;
    server.add("app", "2", &image);
    let engine = Engine::new(&[&server.base]).await;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1000);
    let request = sheave_images::PullRequest {
        reference: "app".parse().expect("reference"),
        platform: None,
        auth: AuthConfig::default(),
    };
    engine.images.pull_all(request, sender).await.expect("all");
    receiver.close();
    assert_eq!(engine.images.resolve("app:1").expect("1").id, engine.images.resolve("app:2").expect("2").id);
}
