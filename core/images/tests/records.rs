//! What happens to images that are here: names, lists, removal, prune, recovery.

mod support;

use std::sync::Arc;

use sheave_api::Filters;
use sheave_api::images::DeletedItem;
use sheave_images::{ContainerUse, ImageUsers, ListOptions};
use sheave_types::{Digest, ErrorKind};
use support::server::Server;
use support::{Engine, TestImage, tar_of};

struct Users(Digest, bool);

impl ImageUsers for Users {
    fn users(&self, image: &Digest) -> Vec<ContainerUse> {
        let user = ContainerUse { id: "c0ffee".repeat(10), running: self.1 };
        if *image == self.0 { vec![user] } else { Vec::new() }
    }
}

fn two() -> (TestImage, TestImage) {
    let base = tar_of(&[("base", "0")]);
    (TestImage::new(&[base.clone(), tar_of(&[("a", "12345")])]), TestImage::new(&[base, tar_of(&[("b", "1")])]))
}

async fn engine() -> (Engine, TestImage, TestImage) {
    let (a, b) = two();
    let server = Server::start().await;
    server.add("a", "1", &a);
    server.add("b", "1", &b);
    let engine = Engine::new(&[&server.base]).await;
    engine.pull("a:1").await.0.expect("a");
    engine.pull("b:1").await.0.expect("b");
    (engine, a, b)
}

fn list(engine: &Engine, filters: &str) -> Vec<Vec<String>> {
    let options = ListOptions { filters: Filters::parse(filters).expect("filters"), shared_size: false };
    let mut tags: Vec<_> = engine.images.list(&options).expect("list").into_iter().map(|i| i.repo_tags).collect();
    tags.sort();
    tags
}

#[tokio::test]
async fn lists_and_inspects() {
    let (engine, a, _) = engine().await;
    let tags = |names: &[&str]| names.iter().map(|n| vec![(*n).to_owned()]).collect::<Vec<_>>();
    for (filters, found) in [
        ("", tags(&["a:1", "b:1"])),
        (r#"{"reference":["a*"]}"#, tags(&["a:1"])),
        (r#"{"label":["team=a"]}"#, tags(&["a:1", "b:1"])),
        (r#"{"label!":{"team":true}}"#, tags(&[])),
        (r#"{"dangling":["true"]}"#, tags(&[])),
        (r#"{"until":["2020-01-01"]}"#, tags(&[])),
        (r#"{"until":["2030-01-01"]}"#, tags(&["a:1", "b:1"])),
    ] {
        assert_eq!(list(&engine, filters), found, "{filters}");
    }
    let options = ListOptions { filters: Filters::parse(r#"{"x":["1"]}"#).expect("filters"), shared_size: false };
    assert_eq!(engine.images.list(&options).expect_err("unknown").kind(), ErrorKind::Invalid);
    let options =
        ListOptions { filters: Filters::parse(r#"{"reference":["a"]}"#).expect("filters"), shared_size: true };
    let one = &engine.images.list(&options).expect("list")[0];
    assert_eq!((one.size, one.shared_size, one.created), (6, 1, 1_714_979_289));
    assert_eq!(one.repo_digests, [format!("a@{}", a.digest())]);
    let inspect = engine.images.inspect(&a.id().short()).expect("inspect");
    assert_eq!((inspect.id, inspect.root_fs.layers.len()), (a.id().to_string(), 2));
    assert_eq!(inspect.created.as_deref(), Some("2024-05-06T07:08:09.123456789Z"));
    let history = engine.images.history("a:1").expect("history");
    let steps: Vec<_> = history.iter().map(|h| (h.created_by.as_str(), h.size, h.id.as_str())).collect();
    assert_eq!(steps, [("CMD", 0, a.id().to_string().as_str()), ("COPY", 1, "<missing>")]);
    for (name, text) in [
        ("none", "No such image: none:latest"),
        ("sha256:12", "No such image: sha256:12"),
        ("Upper", "invalid reference format: repository name (Upper) must be lowercase"),
    ] {
        assert_eq!(engine.images.resolve(name).expect_err(name).to_string(), text);
    }
}

#[tokio::test]
async fn names_come_and_go() {
    let (engine, a, _) = engine().await;
    engine.images.tag("a:1", "localhost:5000/x", "").expect("tag");
    engine.images.tag("a:1", "b", "1").expect("takes the name from b");
    assert_eq!(engine.images.resolve("b:1").expect("b").id, a.id());
    assert_eq!(list(&engine, r#"{"dangling":["true"]}"#), [Vec::<String>::new()]);
    assert!(engine.images.tag("a:1", "B", "").is_err());
    let done = engine.images.remove("localhost:5000/x", false).await.expect("untag");
    assert_eq!(done, [DeletedItem::Untagged("localhost:5000/x:latest".into())]);
    let error = engine.images.remove(&a.id().short(), false).await.expect_err("two repositories").to_string();
    assert!(error.ends_with("(must be forced) - image is referenced in multiple repositories"), "{error}");
    let index = std::fs::read_to_string(engine.dir.path().join("content/index.json")).expect("index");
    assert!(index.contains("docker.io/library/b:1") && !index.contains("localhost:5000"), "{index}");
}

#[tokio::test]
async fn removal_frees_what_nothing_needs() {
    let (engine, a, b) = engine().await;
    assert_eq!(engine.blobs(), 2 + 2 + 3);
    engine.images.set_users(Arc::new(Users(a.id(), true)));
    let error = engine.images.remove("a:1", false).await.expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("container c0ffeec0ffee is using its referenced image"), "{error}");
    let done = engine.images.remove("b:1", false).await.expect("b");
    let image = engine.images.resolve("a:1").expect("a");
    let b_top = format!("sha256:{}", {
        let chains = sheave_chain(&b);
        chains.hex()
    });
    assert_eq!(
        done,
        [
            DeletedItem::Untagged("b:1".into()),
            DeletedItem::Untagged(format!("b@{}", b.digest())),
            DeletedItem::Deleted(b.id().to_string()),
            DeletedItem::Deleted(b_top),
        ]
    );
    assert_eq!(engine.blobs(), 4, "the shared layer stays");
    assert!(engine.layers.root.join(image.chain_ids()[1].hex()).exists());
    let (events, _) = engine.events.subscribe(Some(0));
    let actions: Vec<_> = events.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(actions[actions.len() - 3..], ["untag", "untag", "delete"]);
    let forced = engine.images.remove("a:1", true).await.expect("the name goes");
    assert_eq!(forced.len(), 2, "a running container keeps the image: {forced:?}");
    assert_eq!(engine.images.resolve(&a.id().to_string()).expect("kept").references.len(), 0);
}

/// The topmost chain id.
fn sheave_chain(image: &TestImage) -> Digest {
    Digest::of(format!("{} {}", image.diff_ids[0], image.diff_ids[1]).as_bytes())
}

#[tokio::test]
async fn prune_takes_the_unused() {
    let (engine, a, b) = engine().await;
    let prune =
        async |filters: &str| engine.images.prune(&Filters::parse(filters).expect("filters")).await.expect("prune");
    assert_eq!(prune("").await.images_deleted, None, "none is dangling");
    engine.images.tag("a:1", "b", "1").expect("b dangles");
    let pruned = prune("").await;
    assert!(pruned.images_deleted.expect("some").contains(&DeletedItem::Deleted(b.id().to_string())));
    assert_eq!(pruned.space_reclaimed, 1);
    engine.images.set_users(Arc::new(Users(a.id(), false)));
    assert_eq!(prune(r#"{"dangling":["false"]}"#).await.images_deleted, None, "a container uses it");
}

#[tokio::test]
async fn a_start_removes_what_a_crash_left() {
    let (engine, a, _) = engine().await;
    let top = engine.images.resolve("a:1").expect("a").chain_ids()[1].hex();
    for leftover in ["unpack-x-1".to_owned(), Digest::of(b"unrecorded").hex()] {
        std::fs::create_dir(engine.layers.root.join(leftover)).expect("leftover");
    }
    let content = engine.dir.path().join("content");
    let loose = Digest::of(b"loose").hex();
    std::fs::write(content.join("blobs/sha256").join(loose), "loose").expect("a blob of no image");
    std::fs::create_dir(engine.layers.root.join("container")).expect("not ours");
    std::fs::remove_dir_all(engine.layers.root.join(&top)).expect("lost");
    let engine = engine.restart(&[]).await;
    let names = std::fs::read_dir(&engine.layers.root).expect("list").count();
    assert_eq!(names, 1 + 2 + 2, "a container's, two chains, their parents' names");
    assert_eq!(engine.blobs(), 2 + 2 + 3);
    let image = engine.images.resolve("a:1").expect("a");
    assert_eq!(image.id, a.id());
    let snapshot = engine.images.ensure_unpacked(&image, "test").await.expect("unpacked again");
    assert_eq!(snapshot, Some(top.clone()));
    assert!(engine.layers.root.join(top).join("a").exists());
}
