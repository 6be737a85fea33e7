//! Clients that are not the CLI.

use std::time::Duration;

use futures_util::StreamExt;
use sheave_tests::registry::Registry;
use sheave_tests::{Engine, Sandbox, command, images};

const PYTHON: &str = r#"
import docker, sys
client = docker.from_env(version=sys.argv[2])
assert client.ping()
assert client.version()["Os"] == "linux"
image = client.images.pull(sys.argv[1])
assert sys.argv[1] in image.tags, image.tags
assert client.containers.run(sys.argv[1], ["echo", "hi"], remove=True) == b"hi\n"
c = client.containers.run(sys.argv[1], ["sh", "-c", "echo out; echo err >&2; sleep 1000"], detach=True, name="py", labels={"a": "b"}, environment={"X": "y"})
assert [x.name for x in client.containers.list(filters={"label": "a=b"})] == ["py"]
assert client.containers.list(all=True, filters={"status": ["exited"]}) == []
result = c.exec_run(["sh", "-c", "echo $X; echo e >&2; exit 3"], demux=True)
assert result.exit_code == 3 and result.output == (b"y\n", b"e\n"), result
c.reload()
assert c.status == "running" and c.attrs["Config"]["Labels"]["a"] == "b"
assert "IPAddress" in c.attrs["NetworkSettings"]
assert c.logs(stdout=True, stderr=False) == b"out\n" and c.logs(stdout=False, stderr=True) == b"err\n"
c.pause(); c.reload(); assert c.status == "paused"; c.unpause()
c.rename("py2"); c.reload(); assert c.name == "py2"
c.stop(timeout=0)
assert c.wait()["StatusCode"] == 137
c.remove(v=True)
try:
    client.containers.get("py2"); raise SystemExit("found a removed container")
except docker.errors.NotFound:
    pass
v = client.volumes.create("pyvol", labels={"v": "1"}); assert [x.name for x in client.volumes.list()] == ["pyvol"]; v.remove()
n = client.networks.create("pynet", driver="bridge"); assert client.networks.list(names=["pynet"]); n.remove()
assert client.df()["Images"] and client.info()["Containers"] == 0
try:
    client.containers.run("no/such:image", "true"); raise SystemExit("ran an image that is not there")
except (docker.errors.ImageNotFound, docker.errors.NotFound, docker.errors.APIError):
    pass
print("fine")
"#;

#[test]
fn docker_py() {
    let sandbox = Sandbox::new("py");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    for version in ["auto", "1.30"] {
        let mut python = engine.client("/usr/bin/python3");
        python.args(["-c", PYTHON, images::BUSYBOX, version]);
        assert_eq!(command::run(&mut python, b"", Duration::from_secs(90)).ok(), "fine", "version {version}");
    }
}

#[test]
fn bollard_client() {
    let sandbox = Sandbox::new("bollard");
    let _registry = Registry::open(&sandbox);
    let engine = Engine::start(&sandbox);
    let socket = sandbox.inside(&engine.dir().join("sock")).display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let docker = bollard::Docker::connect_with_unix(&socket, 60, bollard::API_DEFAULT_VERSION).expect("a client");
        let docker = docker.negotiate_version().await.expect("a version");
        let options =
            bollard::query_parameters::CreateImageOptionsBuilder::default().from_image(images::BUSYBOX).build();
        let mut pull = docker.create_image(Some(options), None, None);
        while let Some(message) = pull.next().await {
            message.expect("a progress message");
        }
        let body = bollard::models::ContainerCreateBody {
            image: Some(images::BUSYBOX.to_owned()),
            cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), "echo hi; exit 3".to_owned()]),
            ..Default::default()
        };
        let name = bollard::query_parameters::CreateContainerOptionsBuilder::default().name("rust").build();
        let made = docker.create_container(Some(name), body).await.expect("a container");
        docker
            .start_container("rust", None::<bollard::query_parameters::StartContainerOptions>)
            .await
            .expect("started");
        let mut wait = docker.wait_container("rust", None::<bollard::query_parameters::WaitContainerOptions>);
        let ended = wait.next().await.expect("an answer");
        // bollard makes an error of a code that is not 0.
        let code = match ended {
            Ok(answer) => answer.status_code,
            Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => code,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(code, 3);
        let logs = bollard::query_parameters::LogsOptionsBuilder::default().stdout(true).build();
        let mut logs = docker.logs("rust", Some(logs));
        let mut text = String::new();
        while let Some(line) = logs.next().await {
            text.push_str(&line.expect("a line").to_string());
        }
        assert_eq!(text, "hi\n");
        let seen = docker
            .inspect_container("rust", None::<bollard::query_parameters::InspectContainerOptions>)
            .await
            .expect("there");
        assert_eq!(seen.id.as_deref(), Some(made.id.as_str()));
        docker
            .remove_container("rust", None::<bollard::query_parameters::RemoveContainerOptions>)
            .await
            .expect("removed");
    });
}
