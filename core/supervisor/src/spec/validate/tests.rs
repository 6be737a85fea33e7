//! Docker's texts for what cannot be, and the names of what this engine has not.

use serde_json::{Value, json};

use super::*;
use crate::spec::host::LimitSupport;

fn validated(request: &Value, host: &HostFacts) -> (Result<Vec<String>, String>, HostConfig) {
    let mut request: sheave_api::containers::ContainerCreateRequest = serde_json::from_value(request.clone()).unwrap();
    if let Err(error) = conflicts(&request.config, &request.host_config) {
        return (Err(error.to_string()), request.host_config);
    }
    let found = validate(&request.config, &mut request.host_config, host).map_err(|e| e.to_string());
    (found, request.host_config)
}

fn refused(request: Value, expected: &str) {
    let (found, _) = validated(&request, &HostFacts::example());
    assert_eq!(found.expect_err(&request.to_string()), expected, "{request}");
}

fn refused_host(host_config: Value, expected: &str) {
    refused(json!({"HostConfig": host_config}), expected);
}

#[test]
fn wrong_limits() {
    refused_host(json!({"Memory": 1000}), "Minimum memory limit allowed is 6MB");
    refused_host(
        json!({"Memory": 10 << 20, "MemorySwap": 7 << 20}),
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    );
    refused_host(
        json!({"MemorySwap": 7 << 20}),
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    );
    refused_host(
        json!({"Memory": 10 << 20, "MemoryReservation": 11 << 20}),
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    );
    refused_host(json!({"MemorySwappiness": 101}), "Invalid value: 101, valid memory swappiness range is 0-100");
    refused_host(
        json!({"NanoCpus": 3_000_000_000i64}),
        "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
    );
    refused_host(
        json!({"NanoCpus": 1, "CpuQuota": 1000}),
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
    );
    refused_host(
        json!({"CpuPeriod": 10}),
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    );
    refused_host(json!({"CpusetCpus": "0-7"}), "Requested CPUs are not available - requested 0-7, available: 0-1");
    refused_host(json!({"CpusetCpus": "x"}), "Invalid value x for cpuset cpus: invalid format: x");
    refused_host(json!({"BlkioWeight": 5}), "Range of blkio weight is from 10 to 1000");
    refused_host(
        json!({"IOMaximumIOps": 5}),
        "invalid QoS settings: linux does not support configuration of maximum IOPs",
    );
    refused_host(json!({"OomScoreAdj": 2000}), "Invalid value 2000, range for oom score adj is [-1000, 1000]");
    refused_host(json!({"ShmSize": -1}), "SHM size can not be less than 0");
    refused_host(json!({"Ulimits": [{"Name": "x", "Soft": 1, "Hard": 1}]}), "invalid ulimit type: x");
    refused_host(json!({"DeviceCgroupRules": ["x"]}), "invalid device cgroup rule format: 'x'");
}

#[test]
fn wrong_modes() {
    refused_host(json!({"IpcMode": "foo"}), "invalid IPC mode: foo");
    refused_host(json!({"PidMode": "container:"}), "invalid PID mode: container:");
    refused_host(json!({"UTSMode": "x"}), "invalid UTS mode: x");
    refused_host(json!({"CgroupnsMode": "x"}), "invalid cgroup namespace mode: x");
    refused_host(json!({"CgroupParent": "/a/../b"}), "invalid cgroup parent: /a/../b");
    refused(
        json!({"Hostname": "h", "HostConfig": {"NetworkMode": "container:x"}}),
        "conflicting options: hostname and the network mode",
    );
    refused_host(
        json!({"NetworkMode": "container:x", "Dns": ["1.1.1.1"]}),
        "conflicting options: dns and the network mode",
    );
    refused_host(
        json!({"NetworkMode": "container:x", "PortBindings": {"80/tcp": []}}),
        "conflicting options: port publishing and the container type network mode",
    );
    refused(
        json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "container:x"}}),
        "conflicting options: port exposing and the container type network mode",
    );
    refused(
        json!({"Hostname": "h", "HostConfig": {"UTSMode": "host"}}),
        "conflicting options: hostname and the UTS mode",
    );
    refused_host(
        json!({"NetworkMode": "container:"}),
        "Invalid network mode: invalid container format container:<name|id>",
    );
}

#[test]
fn wrong_configurations() {
    refused(json!({"WorkingDir": "x"}), "the working directory 'x' is invalid, it needs to be an absolute path");
    refused(json!({"StopSignal": "FOO"}), "invalid signal: FOO");
    refused(json!({"Env": ["=x"]}), "invalid environment variable: =x");
    refused(json!({"ExposedPorts": {"x/tcp": {}}}), "invalid port specification: \"x/tcp\"");
    refused(json!({"Healthcheck": {"Interval": 5}}), "Interval in Healthcheck cannot be less than 1ms");
    refused(json!({"Healthcheck": {"Test": ["FOO"]}}), "Unknown healthcheck type 'FOO' (expected 'CMD')");
    refused_host(json!({"PortBindings": {"80/x": null}}), "invalid port specification: \"80/x\"");
    refused_host(json!({"PortBindings": {"80/tcp": [{"HostPort": "b"}]}}), "invalid port specification: \"b\"");
    refused_host(json!({"Dns": ["x"]}), "bad nameserver address: x");
    refused_host(json!({"ExtraHosts": ["x"]}), "bad format for add-host: \"x\"");
    refused_host(
        json!({"LogConfig": {"Type": "json-file", "Config": {"x": "1"}}}),
        "unknown log opt 'x' for json-file log driver",
    );
    refused_host(json!({"SecurityOpt": ["foo=bar"]}), "invalid --security-opt 2: \"foo=bar\"");
    refused_host(json!({"CapAdd": ["FOO"]}), "invalid CapAdd: unknown capability: \"CAP_FOO\"");
    refused_host(json!({"Tmpfs": {"x": ""}}), "invalid mount path: 'x' mount path must be absolute");
    refused_host(json!({"Tmpfs": {"/x": "foo"}}), "invalid tmpfs option [\"foo\"]");
    refused_host(
        json!({"Sysctls": {"kernel.panic": "1"}}),
        "sysctl \"kernel.panic\" is not in a separate kernel namespace",
    );
    refused_host(
        json!({"Sysctls": {"net.ipv4.ip_forward": "1"}, "NetworkMode": "host"}),
        "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace",
    );
    refused_host(
        json!({"Sysctls": {"kernel.shmmax": "1"}, "IpcMode": "host"}),
        "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace",
    );
    refused_host(json!({"Runtime": "nope"}), "unknown or invalid runtime name: nope");
    refused_host(json!({"Isolation": "hyperv"}), "invalid isolation: \"hyperv\" - linux only supports 'default'");
    refused_host(
        json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}}),
        "can't create 'AutoRemove' container with restart policy",
    );
}

#[test]
fn what_this_engine_has_not_is_named() {
    refused_host(json!({"Init": true}), "HostConfig.Init is not supported by this engine (asked for: true)");
    refused_host(json!({"Links": ["a:b"]}), "HostConfig.Links is not supported by this engine (asked for: a:b)");
    refused_host(
        json!({"CpuRealtimePeriod": 10}),
        "HostConfig.CpuRealtimePeriod is not supported by this engine (asked for: 10)",
    );
    refused_host(
        json!({"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}),
        "could not select device driver \"\" with capabilities: [[gpu]]",
    );
}

#[test]
fn an_ordinary_request_passes() {
    let text = r#"{"Cmd": ["a"], "HostConfig": {"Memory": 67108864, "MemorySwap": 134217728, "NanoCpus": 1500000000,
        "PidsLimit": 0, "MemorySwappiness": -1, "Binds": ["/a:/b:ro"], "CapAdd": ["NET_ADMIN"],
        "CapDrop": ["ALL"], "Init": false, "Tmpfs": {"/x": "size=3m"}, "OomKillDisable": false,
        "ExtraHosts": ["a:host-gateway"], "SecurityOpt": ["no-new-privileges"], "UsernsMode": "host"}}"#;
    let (found, host_config) = validated(&serde_json::from_str(text).unwrap(), &HostFacts::example());
    assert_eq!(found, Ok(vec![]));
    assert_eq!(host_config.resources.memory_swappiness, None);
    // What the CLI sends, but for its GPUs.
    let mut body: Value =
        serde_json::from_str(include_str!("../../../../../sdk/api/src/containers/testdata/create-cli-28.json"))
            .unwrap();
    body["HostConfig"]["DeviceRequests"] = Value::Null;
    assert_eq!(validated(&body, &HostFacts::example()).0, Ok(vec![]));
}

#[test]
fn privileged_containers_pass_on_a_host_without_all() {
    let ulimit = json!([{"Name": "nofile", "Soft": 1_048_576, "Hard": 1_048_576}]);
    let request =
        json!({"HostConfig": {"Privileged": true, "CapAdd": ["ALL"], "Ulimits": ulimit, "OomScoreAdj": -500}});
    let (found, _) = validated(&request, &HostFacts::example());
    assert_eq!(
        found.unwrap(),
        [
            "This engine has no CAP_SYS_RESOURCE: the hard limit of ulimit nofile was lowered from 1048576 to 20000.",
            "This engine has no CAP_SYS_RESOURCE: OomScoreAdj -500 was raised to 0.",
        ]
    );
}

#[test]
fn what_the_cgroups_cannot_is_left_out_with_a_warning() {
    let host = HostFacts { limits: LimitSupport::default(), ..HostFacts::example() };
    let request = json!({"HostConfig": {"Memory": 10 << 20, "MemoryReservation": 8 << 20, "MemorySwappiness": 5,
        "PidsLimit": 5, "CpuShares": 5, "CpusetCpus": "0", "BlkioWeight": 100, "OomKillDisable": true,
        "KernelMemory": 10 << 20, "BlkioDeviceReadBps": [{"Path": "/dev/vda", "Rate": 1}]}});
    let (found, host_config) = validated(&request, &host);
    let warnings = found.unwrap();
    assert_eq!(warnings.len(), 10, "{warnings:#?}");
    assert_eq!(
        warnings[0],
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded."
    );
    let limits = host_config.resources;
    assert_eq!((limits.memory, limits.pids_limit, limits.cpu_shares, limits.blkio_weight), (0, None, 0, 0));
    assert_eq!((limits.cpuset_cpus.as_str(), limits.oom_kill_disable), ("", None));
    let ports = json!({"HostConfig": {"NetworkMode": "host", "PortBindings": {"80/tcp": null}}});
    let (found, _) = validated(&ports, &HostFacts::example());
    assert_eq!(found.unwrap(), ["Published ports are discarded when using host network mode"]);
}
