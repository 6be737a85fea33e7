//! The images that are here: documents, names, and finding them.

mod detail;
mod listing;
mod removal;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sheave_metadata::{Blob, Database, ImageReference};
use sheave_telemetry::events::{Event, EventBus, EventKind};
use sheave_types::{Digest, Error, Reference, Result};

use crate::chains::chain_ids;
use crate::config::ConfigFile;
use crate::content::{ContentStore, IndexEntry};
use crate::image::{Image, ImageRecord};
use crate::media::CONFIG_LIMIT;

pub use listing::ListOptions;
pub use removal::{ContainerUse, ImageUsers};
pub(crate) use removal::{Plan, Removal};

/// Nanoseconds since 1970.
pub(crate) fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The database's and the content store's view of images.
pub(crate) struct Records {
    pub(crate) database: Database,
    pub(crate) content: ContentStore,
    events: Arc<EventBus>,
    /// Configurations do not change, and are asked for with each container.
    configs: Mutex<HashMap<Digest, Arc<ConfigFile>>>,
}

impl Records {
    pub(crate) fn new(database: Database, content: ContentStore, events: Arc<EventBus>) -> Self {
        Self { database, content, events, configs: Mutex::default() }
    }

    pub(crate) fn find(&self, id: &Digest) -> Result<Option<ImageRecord>> {
        Ok(self.database.images().get(&id.to_string())?)
    }

    /// Records an image under the reference it was pulled by; whether that changed what the reference means.
    pub(crate) fn record_pull(
        &self,
        id: &Digest,
        mut record: ImageRecord,
        reference: &Reference,
        target: &Digest,
        labels: BTreeMap<String, String>,
    ) -> Result<bool> {
        for descriptor in [&record.manifest, &record.config].into_iter().chain(record.layers.iter().map(|l| &l.blob)) {
            self.database.blobs().put(&Blob {
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                media_type: descriptor.media_type.clone(),
                created: now_nanos() / 1_000_000_000,
            })?;
        }
        let by_digest = reference.with_digest(*target);
        let name = if reference.digest().is_some() { by_digest.clone() } else { reference.clone() };
        let before = self.database.references().get(&name.to_string())?.map(|r| r.image);
        let updated = before.as_deref() != Some(id.to_string().as_str());
        if updated {
            record.tagged = Some(now_nanos());
        }
        self.database.images().put(&id.to_string(), &record)?;
        for name in HashSet::from([name, by_digest]) {
            self.point(&name, id, &target.to_string())?;
        }
        self.project()?;
        self.tell("pull", &reference.familiar(), &reference.familiar_name(), labels);
        Ok(updated)
    }

    fn point(&self, name: &Reference, id: &Digest, target: &str) -> Result<()> {
        let row = ImageReference { name: name.to_string(), image: id.to_string(), target: target.to_owned() };
        self.database.references().put(&row)?;
        Ok(())
    }

    /// Gives an image one more name.
    pub(crate) fn tag(&self, image: &Image, name: &Reference) -> Result<()> {
        if let Some(mut record) = self.find(&image.id)? {
            record.tagged = Some(now_nanos());
            self.database.images().put(&image.id.to_string(), &record)?;
        }
        self.point(name, &image.id, "")?;
        self.project()?;
        self.tell("tag", &image.id.to_string(), &name.familiar(), labels_of(image));
        Ok(())
    }

    fn tell(&self, action: &str, id: &str, name: &str, mut attributes: BTreeMap<String, String>) {
        attributes.insert("name".to_owned(), name.to_owned());
        self.events.publish(Event::now(EventKind::Image, action, id, attributes));
    }

    /// Writes `index.json` as the database has it.
    pub(crate) fn project(&self) -> Result<()> {
        let references = self.database.references().all()?;
        let mut entries = Vec::new();
        for (id, record) in self.database.images().all::<ImageRecord>()? {
            let tags = references.iter().filter(|r| r.image == id && !r.name.contains('@'));
            let names: Vec<_> = tags.map(|r| Some(r.name.clone())).collect();
            let names = if names.is_empty() { vec![None] } else { names };
            entries.extend(names.into_iter().map(|name| IndexEntry { manifest: record.manifest.clone(), name }));
        }
        Ok(self.content.write_index(&entries)?)
    }

    fn config(&self, id: &Digest) -> Result<Arc<ConfigFile>> {
        let known = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let config = Arc::new(ConfigFile::parse(&self.content.read(id, CONFIG_LIMIT)?)?);
        self.configs.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, Arc::clone(&config));
        Ok(config)
    }

    fn image(&self, id: &Digest, record: ImageRecord, references: &[ImageReference]) -> Result<Image> {
        let file = self.config(id)?;
        let id_text = id.to_string();
        let references = references.iter().filter(|r| r.image == id_text).map(|r| r.name.clone()).collect();
        Ok(Image {
            id: *id,
            config: file.config.clone().unwrap_or_default(),
            file: (*file).clone(),
            record,
            references,
        })
    }

    /// All images. One whose configuration cannot be read is logged and left out.
    pub(crate) fn all(&self) -> Result<Vec<Image>> {
        let references = self.database.references().all()?;
        let mut images = Vec::new();
        for (id, record) in self.database.images().all::<ImageRecord>()? {
            let Ok(digest) = id.parse::<Digest>() else { continue };
            match self.image(&digest, record, &references) {
                Ok(image) => images.push(image),
                Err(error) => tracing::error!(image = %id, %error, "an image cannot be read"),
            }
        }
        Ok(images)
    }

    /// Finds an image by id, name or the beginning of its id.
    ///
    /// # Errors
    /// `NotFound` as Docker words it.
    pub(crate) fn resolve(&self, name: &str) -> Result<Image> {
        let missing = |shown: String| Error::not_found(format!("No such image: {shown}"));
        if let Some(id) = as_id(name) {
            let record = self.find(&id)?.ok_or_else(|| missing(name.to_owned()))?;
            return self.image(&id, record, &self.database.references().all()?);
        }
        let reference = name.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(id) = self.named(reference)?
            && let Some(record) = self.find(&id)?
        {
            return self.image(&id, record, &self.database.references().all()?);
        }
        if let Some((id, record)) = self.by_prefix(name)? {
            return self.image(&id, record, &self.database.references().all()?);
        }
        match reference {
            Ok(reference) => Err(missing(reference.or_latest().familiar())),
            Err(error) if name.is_empty() || name.starts_with("sha256:") => {
                tracing::debug!(%error, "not an image's name");
                Err(missing(name.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn named(&self, reference: &Reference) -> Result<Option<Digest>> {
        let name = match reference.digest() {
            Some(digest) => reference.with_digest(digest),
            None => reference.clone().or_latest(),
        };
        let row = self.database.references().get(&name.to_string())?;
        Ok(row.and_then(|r| r.image.parse().ok()))
    }

    fn by_prefix(&self, name: &str) -> Result<Option<(Digest, ImageRecord)>> {
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(None);
        }
        let mut found = None;
        for (id, record) in self.database.images().all::<ImageRecord>()? {
            let Ok(digest) = id.parse::<Digest>() else { continue };
            if digest.hex().starts_with(digits) && found.replace((digest, record)).is_some() {
                // Two begin so: none of them is meant.
                return Ok(None);
            }
        }
        Ok(found)
    }

    /// Every blob that an image or a name needs.
    pub(crate) fn needed_blobs(&self) -> Result<HashSet<Digest>> {
        let mut needed = HashSet::new();
        for (_, record) in self.database.images().all::<ImageRecord>()? {
            needed.extend(record.blobs());
        }
        needed.extend(self.database.references().all()?.iter().filter_map(|r| r.target.parse::<Digest>().ok()));
        Ok(needed)
    }

    /// Every chain that an image needs.
    pub(crate) fn needed_chains(&self) -> Result<HashSet<Digest>> {
        let mut needed = HashSet::new();
        for (_, record) in self.database.images().all::<ImageRecord>()? {
            let diff_ids: Vec<_> = record.layers.iter().map(|l| l.diff_id).collect();
            needed.extend(chain_ids(&diff_ids));
        }
        Ok(needed)
    }
}

/// An id in full, with or without its algorithm.
fn as_id(name: &str) -> Option<Digest> {
    name.parse().ok().or_else(|| (name.len() == 64).then(|| format!("sha256:{name}").parse().ok()).flatten())
}

fn labels_of(image: &Image) -> BTreeMap<String, String> {
    image.config.labels.clone().unwrap_or_default()
}

/// A name's familiar form: tags and digests apart.
fn familiar_names(image: &Image) -> (Vec<String>, Vec<String>) {
    let references = image.references.iter().filter_map(|r| r.parse::<Reference>().ok());
    let (digests, tags): (Vec<_>, Vec<_>) = references.partition(|r| r.digest().is_some());
    let familiar = |all: Vec<Reference>| all.iter().map(Reference::familiar).collect();
    (familiar(tags), familiar(digests))
}
