//! What runs, against what Docker runs.

use serde_json::{Value, json};

use super::*;
use crate::spec::host::Programs;
use crate::spec::{HostFacts, MergedConfig, apply_defaults, capabilities::CapabilitySet, etc, merge, user};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwww:x:33:\nextra:x:50:www,root\n";

/// Everything a specification is made of, owned.
struct Given {
    id: Id,
    config: MergedConfig,
    host_config: HostConfig,
    user: ResolvedUser,
    mounts: Vec<ContainerMount>,
    devices: DeviceInput,
    shared: SharedNamespaces,
    host: HostFacts,
    table: String,
}

impl Given {
    fn new(request: Value, host: HostFacts) -> Self {
        let request = serde_json::from_value(request).unwrap();
        let mut config = merge(&request, &sheave_api::containers::ContainerConfig::default()).unwrap();
        let id: Id = "060bfa73b8a159e4c974f7fdae980b98457b4a50532639dc3451f0abc27a8ce5".parse().unwrap();
        let mut host_config = request.host_config;
        apply_defaults(&id, &mut config.config, &mut host_config, &host, "host");
        let add = host_config.group_add.clone().unwrap_or_default();
        let user = user::resolve_in(PASSWD, GROUP, &config.config.user, &add).unwrap();
        let devices = resolve_devices(&host_config).unwrap();
        let (mounts, shared, table) = (Vec::new(), SharedNamespaces::default(), String::new());
        Self { id, config, host_config, user, mounts, devices, shared, host, table }
    }

    fn build(&self) -> Result<(Value, Vec<String>), String> {
        let input = SpecInput {
            id: &self.id,
            rootfs: Path::new("/rootfs"),
            config: &self.config,
            host_config: &self.host_config,
            user: &self.user,
            mounts: &self.mounts,
            devices: &self.devices,
            shared: &self.shared,
            host: &self.host,
            mount_table: &self.table,
        };
        let (spec, warnings) = build(&input).map_err(|e| e.to_string())?;
        Ok((serde_json::to_value(spec).unwrap(), warnings))
    }
}

fn built(request: Value) -> (Value, Vec<String>) {
    Given::new(request, HostFacts::example()).build().unwrap()
}

/// The options of the mount at `destination`, if there is one.
fn options(spec: &Value, destination: &str) -> Option<String> {
    let mounts = spec["mounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["destination"] == destination)?;
    let options = mount["options"].as_array().unwrap();
    Some(options.iter().map(|o| o.as_str().unwrap()).collect::<Vec<_>>().join(","))
}

fn namespaces(spec: &Value) -> Vec<String> {
    let list = spec["linux"]["namespaces"].as_array().unwrap();
    list.iter()
        .map(|n| {
            format!("{}{}", n["type"].as_str().unwrap(), n["path"].as_str().map_or(String::new(), |p| format!("={p}")))
        })
        .collect()
}

/// Differences between two values: the path, and the values of both sides.
fn differences(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(l), Value::Object(r)) => {
            let keys: std::collections::BTreeSet<_> = l.keys().chain(r.keys()).collect();
            for key in keys {
                let null = Value::Null;
                differences(&format!("{path}/{key}"), l.get(key).unwrap_or(&null), r.get(key).unwrap_or(&null), found);
            }
        }
        _ if left == right => {}
        _ => found.push(path.to_owned()),
    }
}

/// Where our specification of a default container differs from the one dockerd 20.10 gave to runc, and why.
const DIFFERENCES: [(&str, &str); 14] = [
    ("/hooks", "Docker makes the network by a hook of the runtime; here the shim is handed the namespace"),
    ("/linux/cgroupsPath", "a cgroup of our own, so that both engines can run on one host"),
    ("/linux/maskedPaths", "sorted, and later Docker masks /proc/interrupts and powercap too"),
    ("/linux/resources/blockIO/weight", "0 means none, and is left out"),
    ("/linux/resources/cpu/shares", "0 means the default, and is left out"),
    (
        "/linux/resources/devices",
        "runc adds mknod, /dev/tty's 5:2 and 1:7 and terminals by itself; here they are in it",
    ),
    ("/ociVersion", "a later one"),
    ("/process/capabilities/ambient", "given as empty instead of left out"),
    ("/process/capabilities/inheritable", "given as empty instead of left out (CVE-2022-24769)"),
    ("/process/env", "runc adds HOME by the user's entry; here it is in it"),
    ("/process/noNewPrivileges", "given as false instead of left out"),
    ("/process/terminal", "given as false instead of left out"),
    ("/root/path", "of another storage driver"),
    ("/root/readonly", "given as false instead of left out"),
];

#[test]
fn a_default_container_is_dockers() {
    let docker: Value = serde_json::from_str(include_str!("testdata/dockerd-20.10-default.json")).unwrap();
    let mut given = Given::new(json!({"Cmd": ["sleep", "10000"], "Env": ["A=1"]}), HostFacts::example());
    let volume = "/var/lib/docker/volumes/6e4c76ca542e2ac04a373bfd3ac2b18d65dac45698c340d416273abc1debcb3b/_data";
    given.mounts.push(ContainerMount { propagation: None, ..ContainerMount::bind(volume, "/data") });
    let own = PathBuf::from(format!("/var/lib/docker/containers/{}", given.id));
    given.mounts.append(&mut etc::mounts(&own, &[], false));
    let (mut ours, warnings) = given.build().unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    // Both sort capabilities in their own way, and mounts of one depth.
    for set in ["bounding", "effective", "permitted"] {
        let sorted = |spec: &Value| {
            let mut names = spec["process"]["capabilities"][set].as_array().unwrap().clone();
            names.sort_by_key(|name| name.as_str().unwrap().to_owned());
            names
        };
        assert_eq!(sorted(&ours), sorted(&docker), "{set}");
        ours["process"]["capabilities"][set] = docker["process"]["capabilities"][set].clone();
    }
    let by_destination = |spec: &Value| {
        let mut mounts = spec["mounts"].as_array().unwrap().clone();
        mounts.sort_by_key(|mount| mount["destination"].as_str().unwrap().to_owned());
        mounts
    };
    assert_eq!(by_destination(&ours), by_destination(&docker));
    ours["mounts"] = docker["mounts"].clone();
    let mut found = Vec::new();
    differences("", &docker, &ours, &mut found);
    assert_eq!(found, DIFFERENCES.map(|(path, _)| path), "{}", serde_json::to_string_pretty(&ours).unwrap());
    assert_eq!(
        ours["process"]["env"],
        json!([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME=060bfa73b8a1",
            "A=1",
            "HOME=/root"
        ])
    );
    let allowed = |spec: &Value| -> Vec<String> {
        let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
        rules.iter().map(|r| format!("{} {}:{} {}", r["allow"], r["major"], r["minor"], r["access"])).collect()
    };
    let ours = allowed(&ours);
    let fuse = "false 10:229 \"rwm\"";
    assert!(allowed(&docker).iter().all(|rule| ours.contains(rule) || rule == fuse), "{ours:?}");
}

#[test]
fn what_is_mounted_where() {
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {"ShmSize": 1024, "Tmpfs": {"/run/x": "size=3m,exec"}}}));
    assert_eq!(options(&spec, "/dev/shm").unwrap(), "nosuid,noexec,nodev,mode=1777,size=1024");
    assert_eq!(options(&spec, "/run/x").unwrap(), "nosuid,nodev,size=3m,exec");
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {"ReadonlyRootfs": true, "IpcMode": "none"}}));
    assert_eq!(spec["root"]["readonly"], true);
    assert_eq!(options(&spec, "/dev/shm"), None);
    assert_eq!(options(&spec, "/proc").unwrap(), "nosuid,noexec,nodev");
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {"IpcMode": "host"}}));
    assert_eq!(options(&spec, "/dev/shm").unwrap(), "rbind,rprivate");
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {"SecurityOpt": ["writable-cgroups"]}}));
    assert_eq!(options(&spec, "/sys/fs/cgroup").unwrap(), "nosuid,noexec,nodev");
    let mut given = Given::new(json!({"Cmd": ["a"]}), HostFacts::example());
    given.mounts = vec![ContainerMount::bind("/x/y", "/b/c/d"), ContainerMount::bind("/x", "/b")];
    given.mounts.push(ContainerMount::bind("/dev", "/dev"));
    let (spec, _) = given.build().unwrap();
    let places: Vec<_> = spec["mounts"].as_array().unwrap().iter().map(|m| m["destination"].clone()).collect();
    // The user's /dev hides ours with all below it, and outer mounts come before inner ones.
    assert_eq!(places, ["/proc", "/sys", "/sys/fs/cgroup", "/b", "/dev", "/b/c/d"]);
}

#[test]
fn a_shared_bind_opens_the_root() {
    let mut given = Given::new(json!({"Cmd": ["a"]}), HostFacts::example());
    given.mounts = vec![ContainerMount {
        propagation: Some(crate::spec::parse::Propagation::RSlave),
        ..ContainerMount::bind("/m", "/m")
    }];
    given.table = "30 22 0:3 / /m rw shared:7 - tmpfs t rw\n".to_owned();
    let (spec, _) = given.build().unwrap();
    assert_eq!(
        (options(&spec, "/m").unwrap().as_str(), &spec["linux"]["rootfsPropagation"]),
        ("rbind,rslave", &json!("rslave"))
    );
    given.table = "30 22 0:3 / / rw - ext4 t rw\n".to_owned();
    assert_eq!(given.build().unwrap_err(), "path /m is mounted on / but it is not a shared or slave mount");
}

#[test]
fn namespaces_by_mode() {
    let check = |host_config: Value, expected: &[&str]| {
        let mut given = Given::new(json!({"Cmd": ["a"], "HostConfig": host_config}), HostFacts::example());
        given.shared = SharedNamespaces {
            network: Some("/proc/7/ns/net".into()),
            pid: Some("/proc/7/ns/pid".into()),
            ipc: Some("/proc/7/ns/ipc".into()),
            shm: Some("/shm".into()),
        };
        assert_eq!(namespaces(&given.build().unwrap().0), expected);
    };
    check(json!({}), &["mount", "network", "uts", "pid", "ipc"]);
    check(
        json!({"NetworkMode": "none", "CgroupnsMode": "private"}),
        &["mount", "network", "uts", "pid", "ipc", "cgroup"],
    );
    check(json!({"NetworkMode": "host", "PidMode": "host", "IpcMode": "host", "UTSMode": "host"}), &["mount"]);
    check(
        json!({"NetworkMode": "container:x", "PidMode": "container:x", "IpcMode": "container:x"}),
        &["mount", "network=/proc/7/ns/net", "uts", "pid=/proc/7/ns/pid", "ipc=/proc/7/ns/ipc"],
    );
    let given = Given::new(json!({"Cmd": ["a"], "HostConfig": {"PidMode": "container:x"}}), HostFacts::example());
    assert_eq!(given.build().unwrap_err(), "cannot join the namespace of a container that is not running");
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {"UTSMode": "host"}}));
    assert_eq!(spec["hostname"], Value::Null);
    let unified = HostFacts { limits: crate::spec::LimitSupport::all(true), ..HostFacts::example() };
    let (spec, _) = Given::new(json!({"Cmd": ["a"]}), unified).build().unwrap();
    assert!(namespaces(&spec).contains(&"cgroup".to_owned()));
}

#[test]
fn kernel_parameters_of_its_own_namespaces() {
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {"Sysctls": {"net.core.somaxconn": "5"}}}));
    assert_eq!(
        spec["linux"]["sysctl"],
        json!({"net.core.somaxconn": "5", "net.ipv4.ping_group_range": "0 2147483647",
            "net.ipv4.ip_unprivileged_port_start": "0"})
    );
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {"NetworkMode": "host"}}));
    assert_eq!(spec["linux"]["sysctl"], json!({}));
}

#[test]
fn limits() {
    let (spec, warnings) = built(json!({"Cmd": ["a"], "HostConfig": {"Memory": 64 << 20, "NanoCpus": 1_500_000_000,
        "PidsLimit": 0, "CpusetCpus": "0", "CpuShares": 512, "BlkioWeight": 300, "MemoryReservation": 32 << 20,
        "OomKillDisable": true, "Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 1_000_000}], "OomScoreAdj": -5,
        "CgroupParent": "/p/q"}}));
    let resources = &spec["linux"]["resources"];
    assert_eq!(
        resources["memory"],
        json!({"limit": 64 << 20, "swap": 128 << 20, "reservation": 32 << 20, "disableOOMKiller": true})
    );
    assert_eq!(resources["cpu"], json!({"shares": 512, "quota": 150_000, "period": 100_000, "cpus": "0"}));
    assert_eq!((&resources["pids"], &resources["blockIO"]["weight"]), (&json!({"limit": -1}), &json!(300)));
    assert_eq!(spec["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 20_000}]));
    assert_eq!((&spec["process"]["oomScoreAdj"], warnings.len()), (&json!(0), 2));
    let path = spec["linux"]["cgroupsPath"].as_str().unwrap();
    assert!(path.starts_with("/p/q/060bfa73b8a1"), "{path}");
    let missing = json!({"Cmd": ["a"], "HostConfig": {"BlkioDeviceReadBps": [{"Path": "/dev/null", "Rate": 1}]}});
    let host_config: HostConfig = serde_json::from_value(missing["HostConfig"].clone()).unwrap();
    assert!(resolve_devices(&host_config).unwrap_err().to_string().contains("not a block device"));
}

#[test]
fn the_process() {
    let (spec, _) = built(json!({"Cmd": ["a", ""], "Tty": true, "User": "www", "WorkingDir": "/w",
        "Env": ["PATH=/x", "TERM", "B=1", "B=2"],
        "HostConfig": {"ConsoleSize": [24, 80], "GroupAdd": ["root"], "SecurityOpt": ["no-new-privileges"]}}));
    let process = &spec["process"];
    assert_eq!(process["args"], json!(["a", ""]));
    assert_eq!(process["env"], json!(["HOSTNAME=060bfa73b8a1", "PATH=/x", "B=2", "HOME=/var/www"]));
    assert_eq!(process["user"], json!({"uid": 33, "gid": 33, "additionalGids": [33, 50, 0]}));
    assert_eq!(process["consoleSize"], json!({"height": 24, "width": 80}));
    assert_eq!((&process["cwd"], &process["noNewPrivileges"]), (&json!("/w"), &json!(true)));
}

#[test]
fn an_exec_is_like_the_first_process() {
    let given = Given::new(
        json!({"Cmd": ["a"], "Env": ["A=1", "B=1"], "WorkingDir": "/w",
            "HostConfig": {"CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"]}}),
        HostFacts::example(),
    );
    let www = user::resolve_in(PASSWD, GROUP, "www", &[]).unwrap();
    let exec = |request: Value| {
        let request = serde_json::from_value(request).unwrap();
        let process = exec_process(&given.config, &given.host_config, &request, &www, &given.host);
        process.map(|process| serde_json::to_value(process).unwrap()).map_err(|e| e.to_string())
    };
    let process = exec(json!({"Cmd": ["sh"], "Env": ["B=2"], "Tty": true, "ConsoleSize": [24, 80]})).unwrap();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let env = [path, "HOSTNAME=060bfa73b8a1", "TERM=xterm", "A=1", "B=2", "HOME=/var/www"];
    assert_eq!((&process["env"], &process["cwd"]), (&json!(env), &json!("/w")));
    assert_eq!((&process["capabilities"]["bounding"], &process["noNewPrivileges"]), (&json!([]), &json!(true)));
    assert_eq!((&process["user"]["uid"], &process["consoleSize"]["width"]), (&json!(33), &json!(80)));
    let process = exec(json!({"Cmd": ["sh"], "Privileged": true, "WorkingDir": "/x"})).unwrap();
    assert_eq!(process["capabilities"]["bounding"].as_array().unwrap().len(), 40);
    assert_eq!((&process["cwd"], &process["terminal"]), (&json!("/x"), &json!(false)));
    assert_eq!(exec(json!({})).unwrap_err(), "No exec command specified");
    assert_eq!(exec(json!({"Cmd": ["a"], "Env": ["=x"]})).unwrap_err(), "invalid environment variable: =x");
}

#[test]
fn an_init_program_where_there_is_no_other() {
    let programs = Programs { runtimes: vec!["runc".to_owned()], init: Some("/usr/bin/tini".into()) };
    let host = HostFacts { programs, ..HostFacts::example() };
    let check = |host_config: Value, args: Value, mounted: bool| {
        let (spec, _) = Given::new(json!({"Cmd": ["a"], "HostConfig": host_config}), host.clone()).build().unwrap();
        assert_eq!(spec["process"]["args"], args);
        assert_eq!(options(&spec, "/sbin/docker-init").is_some(), mounted);
    };
    check(json!({"Init": true}), json!(["/sbin/docker-init", "--", "a"]), true);
    check(json!({"Init": true, "PidMode": "host"}), json!(["a"]), false);
    check(json!({}), json!(["a"]), false);
}

#[test]
fn a_privileged_container_has_what_the_engine_has() {
    let (spec, warnings) = built(json!({"Cmd": ["a"], "HostConfig": {"Privileged": true}}));
    let names = spec["process"]["capabilities"]["effective"].as_array().unwrap();
    assert_eq!(names.len(), HostFacts::example().bounding.names().len());
    assert!(names.len() == 40 && !names.contains(&json!("CAP_SYS_RESOURCE")));
    assert_eq!((&spec["linux"]["maskedPaths"], &spec["linux"]["readonlyPaths"]), (&json!([]), &json!([])));
    assert_eq!(options(&spec, "/sys").unwrap(), "nosuid,noexec,nodev");
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!((rules.len(), &rules[0]["allow"]), (1, &json!(true)));
    assert!(spec["linux"]["devices"].as_array().unwrap().iter().any(|d| d["path"] == "/dev/null"));
    assert_eq!(warnings, Vec::<String>::new());
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {"CapDrop": ["ALL"]}}));
    assert_eq!(spec["process"]["capabilities"]["bounding"], json!([]));
    assert!(CapabilitySet::default_container().contains(CapabilitySet::default()));
}

#[test]
fn devices_are_allowed_by_number() {
    let (spec, _) = built(json!({"Cmd": ["a"], "HostConfig": {
        "Devices": [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/mine", "CgroupPermissions": "r"}],
        "DeviceCgroupRules": ["c 189:* rw"]}}));
    let device = &spec["linux"]["devices"][0];
    assert_eq!(
        (&device["path"], &device["type"], &device["major"], &device["minor"]),
        (&json!("/dev/mine"), &json!("c"), &json!(1), &json!(5))
    );
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(
        rules[rules.len() - 2..],
        [
            json!({"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"}),
            json!({"allow": true, "type": "c", "major": 189, "access": "rw"})
        ]
    );
}
