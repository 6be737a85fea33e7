//! What the supervisor needs from images, volumes and networks, in its own words.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sheave_api::containers::{ContainerConfig, EndpointSettings, NetworkSettings, VolumeOptions};
use sheave_types::{Id, Result};

use crate::record::View;

/// An image, as far as its containers need it.
#[derive(Debug, Clone)]
pub struct FoundImage {
    /// `sha256:…`
    pub id: String,
    /// The descriptor of its manifest.
    pub manifest: serde_json::Value,
    /// Its operating system.
    pub platform: String,
    /// What its containers inherit.
    pub config: ContainerConfig,
}

/// Where images are.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// Finds an image by name, digest, id or prefix of its id.
    ///
    /// # Errors
    /// `NotFound` with Docker's text.
    fn find(&self, name: &str, platform: Option<&str>) -> Result<FoundImage>;

    /// Bytes of its layers, by its id.
    fn size(&self, id: &str) -> Option<u64>;

    /// Makes sure that its layers are unpacked for a driver, and names the snapshot of the topmost.
    ///
    /// # Errors
    /// Those of unpacking.
    async fn unpack(&self, id: &str, driver: &str) -> Result<Option<String>>;
}

/// A volume that a container has a claim on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Where its data is, as inspect shows it.
    pub mountpoint: String,
}

/// Where volumes are.
#[async_trait]
pub trait VolumeSource: Send + Sync {
    /// Finds or makes a volume (an empty name makes an anonymous one) and notes that the container needs it.
    ///
    /// # Errors
    /// Those of its driver.
    async fn claim(&self, name: &str, options: &VolumeOptions, container: &Id) -> Result<Claimed>;

    /// The container does not need it any more; `remove` removes it if nobody else does.
    ///
    /// # Errors
    /// Those of its driver.
    async fn release(&self, name: &str, container: &Id, remove: bool) -> Result<()>;

    /// Makes its data available to a container's run; the path on this host.
    ///
    /// # Errors
    /// Those of its driver.
    async fn mount(&self, name: &str, container: &Id) -> Result<PathBuf>;

    /// The container's run is over.
    ///
    /// # Errors
    /// Those of its driver.
    async fn unmount(&self, name: &str, container: &Id) -> Result<()>;

    /// Fills an empty volume with the directory `path` of an image that is mounted at `root`, if it is there.
    ///
    /// # Errors
    /// Those of the file systems.
    async fn copy_up(&self, volume: &Path, root: &Path, path: &Path) -> Result<()>;
}

/// The network of one run.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// The namespace to join; none where the specification decides.
    pub netns: Option<OwnedFd>,
    /// What inspect shows.
    pub settings: NetworkSettings,
    /// The sockets of its name server, kept by the shim.
    pub dns: Vec<OwnedFd>,
    /// Whether the container asks the name server at 127.0.0.11.
    pub embedded_dns: bool,
    /// Its addresses, in the order of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// What `host-gateway` stands for.
    pub host_gateway: Option<IpAddr>,
}

/// A network that a running container joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its name.
    pub network: String,
    /// The container's place in it, as inspect shows it.
    pub settings: EndpointSettings,
}

/// Where networks are.
#[async_trait]
pub trait NetworkSource: Send + Sync {
    /// Makes the network of a run. `upstream` are the servers behind the name server.
    ///
    /// # Errors
    /// Those of the networks; nothing is left then.
    async fn open(&self, view: &View, upstream: &[IpAddr]) -> Result<Sandbox>;

    /// Takes the network of a run down; nothing happens where there is none.
    async fn close(&self, container: &Id);

    /// Answers for the name server of a container that an earlier daemon started.
    async fn adopt(&self, view: &View, dns: Vec<OwnedFd>);

    /// Removes what belongs to no container of these.
    async fn reconcile(&self, live: &[Id]);

    /// A container has another name than `from`.
    async fn renamed(&self, view: &View, from: &str);

    /// Checks what a container asks for in a network; the network's name.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for what the network does not have.
    fn check(&self, network: &str, wishes: &EndpointSettings) -> Result<String>;

    /// Joins a running container to a network.
    ///
    /// # Errors
    /// Those of the network.
    async fn join(&self, view: &View, network: &str, wishes: &EndpointSettings) -> Result<Joined>;

    /// Takes a running container out of a network.
    ///
    /// # Errors
    /// Those of the network.
    async fn leave(&self, container: &Id, network: &str) -> Result<()>;
}
