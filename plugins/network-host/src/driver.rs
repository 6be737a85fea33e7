//! Containers use the host's namespace; nothing is made.

use sheave_plugin::network::{Capabilities, Driver, Endpoint, Plan, Spec, Status};
use sheave_plugin::{Error, ErrorKind};

use crate::Config;

/// The driver.
pub struct Host;

fn plan(host_namespace: bool) -> Plan {
    Plan {
        links: Vec::new(),
        addresses: Vec::new(),
        routes: Vec::new(),
        sysctls: Vec::new(),
        masquerade: Vec::new(),
        policies: Vec::new(),
        ports: Vec::new(),
        dns: false,
        host_namespace,
    }
}

impl Driver for Host {
    fn new(config: String) -> Result<Self, Error> {
        sheave_plugin::config::<Config>(&config).map(|_| Self)
    }

    fn capabilities(&self) -> Result<Capabilities, Error> {
        Ok(Capabilities { addresses: false, ports: false, creatable: false, options: Vec::new() })
    }

    fn create(&self, _spec: Spec) -> Result<Plan, Error> {
        Ok(plan(false))
    }

    fn delete(&self, _id: String) -> Result<(), Error> {
        Ok(())
    }

    fn attach(&self, _spec: Spec, endpoint: Endpoint) -> Result<Plan, Error> {
        if !endpoint.ports.is_empty() {
            return Err(Error::of(ErrorKind::Unsupported, "ports cannot be published in the network host"));
        }
        Ok(plan(true))
    }

    fn detach(&self, _spec: Spec, _endpoint: String) -> Result<(), Error> {
        Ok(())
    }

    fn status(&self, spec: Spec) -> Result<Status, Error> {
        Ok(Status { network: spec.id, healthy: true, details: Vec::new() })
    }
}
