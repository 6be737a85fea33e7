//! Images: content store, pull, unpacking, records.
//!
//! [`Images`] is what the rest of the engine sees. Below it, from the outside in: `pull` turns a reference into an image that
//! is here; `registry` carries out what registry plugins decide; `content` keeps blobs; `chains` turns layers into committed
//! snapshots, with `unpack` for one layer; `records` knows the images and their names.

mod chains;
mod config;
mod content;
mod error;
mod flight;
mod image;
mod images;
mod layers;
pub mod media;
mod pull;
mod records;
mod registry;
pub mod unpack;

pub use config::{ConfigFile, History, RootFs};
pub use content::ContentStore;
pub use error::{ContentError, LayerError, ManifestError};
pub use image::{Image, ImageRecord, LayerRecord};
pub use images::{Images, Options};
pub use layers::{LayerStore, MountedLayer, StorageLayers};
pub use pull::PullRequest;
pub use records::{ContainerUse, ImageUsers, ListOptions};
pub use registry::{RegistryError, Tuning};
