//! Pulling from real registries, and what is kept.

use serde_json::{Value, json};
use sheave_tests::registry::{Access, Registry, TokenServer};
use sheave_tests::{Engine, Sandbox, images};

fn id_of(engine: &Engine<'_>, name: &str) -> String {
    engine.docker(&["image", "inspect", "--format", "{{.Id}}", name]).ok()
}

#[test]
fn i1_pull_by_tag_digest_and_platform() {
    let sandbox = Sandbox::new("i1");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    let pulled = engine.docker(&["pull", images::BUSYBOX]).ok();
    for text in [
        "latest: Pulling from test/busybox",
        "Pull complete",
        "Digest: sha256:",
        "Status: Downloaded newer image for 127.0.0.1:5000/test/busybox:latest",
    ] {
        assert!(pulled.contains(text), "{text:?} in {pulled}");
    }
    let again = engine.docker(&["pull", images::BUSYBOX]).ok();
    assert!(again.contains("Status: Image is up to date for 127.0.0.1:5000/test/busybox:latest"), "{again}");

    let digest = engine.docker(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", images::BUSYBOX]).ok();
    let id = id_of(&engine, images::BUSYBOX);
    engine.docker(&["rmi", images::BUSYBOX]).ok();
    engine.docker(&["pull", "-q", &digest]).ok();
    assert_eq!(id_of(&engine, &digest), id);
    assert_eq!(engine.docker(&["image", "inspect", "--format", "{{.RepoTags}}", &digest]).ok(), "[]");

    engine.docker(&["pull", "-q", images::MULTI]).ok();
    let inspect = |template: &str| engine.docker(&["image", "inspect", "--format", template, images::MULTI]).ok();
    assert_eq!(inspect("{{.Architecture}}"), "amd64");
    engine.docker(&["pull", "-q", "--platform", "linux/arm64", images::MULTI]).ok();
    assert_eq!(inspect("{{.Architecture}}"), "arm64");
    engine
        .docker(&["pull", "--platform", "linux/s390x", images::MULTI])
        .fails(1, "no matching manifest for linux/s390x");

    // The same image as a schema 2 manifest is the same image: an image is named by its configuration.
    engine.docker(&["pull", "-q", images::SCHEMA2]).ok();
    engine.docker(&["pull", "-q", "127.0.0.1:5000/test/multi:amd64"]).ok();
    assert_eq!(id_of(&engine, "127.0.0.1:5000/test/multi:amd64"), id);

    let all = engine.docker(&["pull", "-a", "-q", "127.0.0.1:5000/test/multi"]);
    assert_eq!(all.code, 0, "{all}");
    let tags = engine.docker(&["images", "--format", "{{.Tag}}", "127.0.0.1:5000/test/multi"]).ok();
    for tag in ["amd64", "arm64", "latest"] {
        assert!(tags.contains(tag), "{tags}");
    }
}

#[test]
fn i1_progress_messages() {
    let sandbox = Sandbox::new("i1progress");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    let http = engine.http();
    let answer = http.call("POST", "/v1.41/images/create?fromImage=127.0.0.1:5000/test/busybox&tag=latest");
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{answer:?}");
    let messages = answer.messages();
    let status = |text: &str| messages.iter().find(|m| m["status"].as_str().is_some_and(|s| s.starts_with(text)));
    assert_eq!(messages[0]["status"], "Pulling from test/busybox");
    assert_eq!(messages[0]["id"], "latest");
    let layer = status("Pulling fs layer").unwrap_or_else(|| panic!("{messages:?}"))["id"]
        .as_str()
        .expect("a layer's id")
        .to_owned();
    assert_eq!(layer.len(), 12);
    for text in ["Download complete", "Pull complete"] {
        assert_eq!(status(text).unwrap_or_else(|| panic!("{text} in {messages:?}"))["id"], layer.as_str());
    }
    let downloading = messages.iter().filter(|m| m["status"] == "Downloading" || m["status"] == "Extracting");
    for message in downloading {
        assert!(
            message["progressDetail"]["current"].is_u64() && message["progressDetail"]["total"].is_u64(),
            "{message}"
        );
    }
    assert!(status("Digest: sha256:").is_some() && status("Status: Downloaded newer image").is_some());
    // Once the stream has begun an error is a message of it; before, it is a status code.
    let unknown = http.call("POST", "/v1.41/images/create?fromImage=127.0.0.1:5000/test/none&tag=x");
    if unknown.status == 200 {
        assert!(unknown.messages().iter().any(|m| m["errorDetail"]["message"].is_string()), "{}", unknown.text());
    } else {
        let message = unknown.error(404);
        assert!(message.contains("manifest") || message.contains("not found"), "{message}");
    }
    let invalid = http.call("POST", "/v1.41/images/create?fromImage=case/UPPER&tag=x").error(400);
    assert!(invalid.contains("invalid reference format"), "{invalid}");
}

#[test]
fn i1_layers_of_every_kind() {
    let sandbox = Sandbox::new("i1layers");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    let probe = r#"cd /srv/probe; echo *; cat kept late-link swap-dir; stat -c '%h %i' kept | cut -d' ' -f1
        [ kept -ef hard-link ] && [ kept -ef late-link ] && echo linked; stat -c '%F %t,%T' null; stat -c %F fifo
        stat -c '%u:%g %a %y' swap-dir; stat -c '%s' sparse; ls ../opaque; cat swap-file/now-a-dir; cat nnn*/nnn*
        getfattr --absolute-names -n user.sheave --only-values kept 2>/dev/null; md5sum ../bulk/* | md5sum"#;
    let run = |image: &str| engine.docker(&["run", "--rm", "--network", "none", image, "bash", "-c", probe]).ok();
    engine.docker(&["pull", "-q", images::DEBIAN]).ok();
    let gzip = run(images::DEBIAN);
    for text in [
        "linked",
        "character special file 1,3",
        "fifo",
        "1234:4321 4755 2001-02-03 04:05:06",
        "16777216\nnew\nnow\ndeep",
        "ünï-☃",
    ] {
        assert!(gzip.contains(text), "{text:?} in {gzip}");
    }
    for gone in [" removed ", " dir "] {
        assert!(!gzip.contains(gone), "{gone:?} in {gzip}");
    }
    let capability = engine.docker(&[
        "run",
        "--rm",
        "--network",
        "none",
        images::DEBIAN,
        "sh",
        "-c",
        "test -e /srv/probe/capable && cat /srv/opaque/old 2>&1",
    ]);
    assert!(capability.stdout.contains("No such file"), "{capability}");
    // Debian's dockerd has no zstd.
    if !engine.is_oracle() {
        engine.docker(&["pull", "-q", images::ZSTD]).ok();
        assert_eq!(run(images::ZSTD), gzip);
    }
    // Shared layers are there once.
    let df = engine.http().get("/v1.41/system/df").expect(200);
    assert!(
        df["LayersSize"].as_u64().is_some_and(|size| size > 100_000_000 && size < 400_000_000),
        "{}",
        df["LayersSize"]
    );
}

#[test]
fn i1_registries_that_ask_who_you_are() {
    let sandbox = Sandbox::new("i1auth");
    let _basic = Registry::start(&sandbox, 5001, Access::Basic);
    let tokens = TokenServer::start(&sandbox, 5003);
    let _token = Registry::start(&sandbox, 5002, Access::Token(5003));
    let engine = Engine::start(&sandbox);

    let refused = engine.d("pull 127.0.0.1:5001/test/busybox").fails(1, "");
    assert!(
        refused.contains("no basic auth credentials")
            || refused.contains("unauthorized")
            || refused.contains("access denied"),
        "{refused}"
    );
    let wrong = engine.d("login -u alice -p wrong 127.0.0.1:5001").fails(1, "");
    assert!(wrong.contains("401 Unauthorized") || wrong.contains("unauthorized"), "{wrong}");
    let login = engine.d("login -u alice -p wonderland 127.0.0.1:5001");
    assert!(login.ok().contains("Login Succeeded"), "{login}");
    engine.d("pull -q 127.0.0.1:5001/test/busybox").ok();
    engine.d("logout 127.0.0.1:5001").ok();

    // Anyone may read busybox with an anonymous token; schema2 is for alice.
    engine.d("pull -q 127.0.0.1:5002/test/busybox").ok();
    assert!(
        tokens
            .asked()
            .iter()
            .any(|path| path.contains("repository%3Atest%2Fbusybox%3Apull")
                || path.contains("repository:test/busybox:pull")),
        "{:?}",
        tokens.asked()
    );
    let denied = engine.d("pull 127.0.0.1:5002/test/schema2").fails(1, "");
    assert!(denied.contains("denied") || denied.contains("unauthorized"), "{denied}");
    engine.d("login -u alice -p wonderland 127.0.0.1:5002").ok();
    engine.d("pull -q 127.0.0.1:5002/test/schema2").ok();
    assert_eq!(id_of(&engine, "127.0.0.1:5002/test/schema2"), id_of(&engine, "127.0.0.1:5001/test/busybox"));

    let auth = json!({"username": "alice", "password": "wonderland", "serveraddress": "127.0.0.1:5001"});
    assert_eq!(engine.http().post("/v1.41/auth", &auth).expect(200)["Status"], "Login Succeeded");
    let auth = json!({"username": "alice", "password": "wrong", "serveraddress": "127.0.0.1:5001"});
    engine.http().post("/v1.41/auth", &auth).error(if engine.is_oracle() { 500 } else { 401 });
}

#[test]
fn i1_distribution_inspect() {
    let sandbox = Sandbox::new("i1dist");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    let found = engine.http().get("/v1.41/distribution/127.0.0.1:5000/test/multi:latest/json").expect(200);
    assert!(found["Descriptor"]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{found}");
    let platforms: Vec<&str> =
        found["Platforms"].as_array().expect("platforms").iter().filter_map(|p| p["architecture"].as_str()).collect();
    assert!(platforms.contains(&"amd64") && platforms.contains(&"arm64"), "{found}");
    engine.http().get("/v1.41/distribution/127.0.0.1:5000/test/none:latest/json").error(404);
}

#[test]
fn i3_list_inspect_history_tag_remove_prune() {
    let sandbox = Sandbox::new("i3");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    engine.pull_busybox();
    let id = id_of(&engine, "busybox");
    let list = |flags: &[&str]| {
        let mut line = vec!["images"];
        line.extend(flags);
        engine.docker(&line).ok()
    };
    let json_list = engine.http().get("/v1.41/images/json").expect(200);
    assert_eq!(json_list[0]["Id"], id.as_str());
    assert_eq!(json_list[0]["Labels"]["org.sheave.test"], "busybox");
    assert!(
        json_list[0]["Size"].as_u64().is_some_and(|size| size > 1_000_000) && json_list[0]["Created"].is_i64(),
        "{json_list}"
    );
    let mut tags: Vec<&str> =
        json_list[0]["RepoTags"].as_array().expect("tags").iter().filter_map(Value::as_str).collect();
    tags.sort_unstable();
    assert_eq!(tags, [images::BUSYBOX, "busybox:latest"]);
    assert!(list(&["--digests"]).contains("sha256:"));
    assert_eq!(list(&["-q", "--no-trunc"]), format!("{id}\n{id}"));
    assert_eq!(list(&["-q", "busybox"]).lines().count(), 1);
    for (filter, count) in [
        ("dangling=true", 0),
        ("dangling=false", 2),
        ("reference=busy*", 1),
        ("reference=127.0.0.1:5000/test/*", 1),
        ("label=org.sheave.test", 2),
        ("label=org.sheave.test=no", 0),
    ] {
        assert_eq!(list(&["-q", "--filter", filter]).lines().count(), count, "{filter}");
    }
    engine.docker(&["pull", "-q", "127.0.0.1:5000/test/multi:arm64", "--platform", "linux/arm64"]).ok();
    assert!(
        list(&["-q", "--filter", "since=busybox"]).lines().count()
            + list(&["-q", "--filter", "before=busybox"]).lines().count()
            <= 1
    );
    engine.docker(&["rmi", "127.0.0.1:5000/test/multi:arm64"]).ok();

    let image = engine.http().get("/v1.41/images/busybox/json").expect(200);
    assert_eq!(image["Config"]["Cmd"], json!(["sh"]));
    assert_eq!(image["RootFS"]["Type"], "layers");
    assert_eq!(image["Os"], "linux");
    for key in ["Id", "Created", "Architecture", "Parent", "Comment", "Author", "DockerVersion"] {
        assert!(image[key].is_string(), "{key} in {image}");
    }
    assert!(image["GraphDriver"]["Name"].is_string() && image["Metadata"].is_object(), "{image}");
    let history = engine.http().get("/v1.41/images/busybox/history").expect(200);
    assert_eq!(history[0]["Id"], id.as_str());
    assert!(
        history.as_array().is_some_and(
            |all| !all.is_empty() && all.iter().all(|one| one["CreatedBy"].is_string() && one["Size"].is_u64())
        ),
        "{history}"
    );

    // By id, by the start of an id.
    let short = &id["sha256:".len()..][..12];
    assert_eq!(id_of(&engine, short), id);
    engine.docker(&["tag", short, "mine/own:v1"]).ok();
    engine.d("tag busybox not:a:name").fails(1, "");
    engine.d("tag none busybox2").fails(1, "No such image: none:latest");

    let untagged = engine.d("rmi mine/own:v1").ok();
    assert_eq!(untagged, "Untagged: mine/own:v1");
    engine.docker(&["rmi", short]).fails(1, "must be forced");
    engine.d("create --name user busybox true").ok();
    engine.docker(&["rmi", images::BUSYBOX]).ok();
    let used =
        engine.d("rmi busybox").fails(1, "conflict: unable to remove repository reference \"busybox\" (must force)");
    assert!(used.contains("is using its referenced image"), "{used}");
    engine.d("image prune -a -f").ok();
    assert_eq!(id_of(&engine, "busybox"), id);
    engine.d("rm user").ok();
    let removed = engine.d("rmi busybox").ok();
    assert!(removed.contains("Untagged: busybox:latest") && removed.contains(&format!("Deleted: {id}")), "{removed}");
    engine.d("image inspect busybox").fails(1, "No such image: busybox");
    engine.http().get("/v1.41/images/busybox/json").error(404);

    engine.pull_busybox();
    let pruned = engine.d("image prune -a -f").ok();
    assert!(pruned.contains("Total reclaimed space:") && pruned.contains(&id), "{pruned}");
    assert_eq!(engine.http().get("/v1.41/images/json").expect(200), json!([]));
    assert_eq!(engine.http().get("/v1.41/system/df").expect(200)["LayersSize"], 0);
}
