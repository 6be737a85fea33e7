//! `DELETE /images/{name}`: what goes, and what stands against it.

use sheave_api::Filters;
use sheave_api::images::DeletedItem;
use sheave_telemetry::events::{Event, EventKind};
use sheave_types::{Digest, Error, Reference, Result};

use super::{Records, labels_of};
use crate::image::Image;

/// A container that was made of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUse {
    /// Its id.
    pub id: String,
    /// Whether it runs, or is paused or restarting.
    pub running: bool,
}

/// Who knows which containers were made of an image.
pub trait ImageUsers: Send + Sync {
    /// All containers made of the image with this id.
    fn users(&self, image: &Digest) -> Vec<ContainerUse>;
}

/// What a removal is to do.
pub(crate) struct Removal<'a> {
    pub(crate) image: &'a Image,
    /// As the client named it.
    pub(crate) named: &'a str,
    pub(crate) force: bool,
    pub(crate) users: Vec<ContainerUse>,
}

/// What a removal does: names that go, and whether the image itself goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) untag: Vec<Reference>,
    pub(crate) delete: bool,
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Whether all names are one: a tag with the digests of its repository, or digests of one repository.
fn is_single(references: &[Reference]) -> bool {
    let mut tags = references.iter().filter(|r| r.digest().is_none());
    match (references.len(), tags.next(), tags.next()) {
        (0, ..) | (_, Some(_), Some(_)) => false,
        _ => references.iter().all(|r| r.name() == references[0].name()),
    }
}

impl Removal<'_> {
    fn references(&self) -> Vec<Reference> {
        self.image.references.iter().filter_map(|r| r.parse().ok()).collect()
    }

    /// The name that the client gave, if it is one and no id.
    fn by_name(&self) -> Option<Reference> {
        let digits = self.named.strip_prefix("sha256:").unwrap_or(self.named);
        if self.image.id.hex().starts_with(digits) {
            return None;
        }
        let reference: Reference = self.named.parse().ok()?;
        Some(match reference.digest() {
            Some(digest) => reference.with_digest(digest),
            None => reference.or_latest(),
        })
    }

    fn conflict(&self, how: &str, why: String) -> Error {
        Error::conflict(format!("conflict: unable to delete {} ({how}) - {why}", self.image.id.short()))
    }

    /// What forbids to delete the image itself.
    fn check(&self, names_left: usize) -> Result<()> {
        if let Some(user) = self.users.iter().find(|u| u.running) {
            let why = format!("image is being used by running container {}", short(&user.id));
            return Err(self.conflict("cannot be forced", why));
        }
        if self.force {
            return Ok(());
        }
        if names_left > 1 {
            return Err(self.conflict("must be forced", "image is referenced in multiple repositories".to_owned()));
        }
        match self.users.first() {
            Some(user) => {
                let why = format!("image is being used by stopped container {}", short(&user.id));
                Err(self.conflict("must be forced", why))
            }
            None => Ok(()),
        }
    }

    /// Decides as Docker does.
    ///
    /// # Errors
    /// `Conflict` with Docker's text.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let references = self.references();
        let Some(name) = self.by_name() else {
            self.check(if is_single(&references) { 1 } else { references.len() })?;
            return Ok(Plan { untag: references, delete: true });
        };
        if !self.force
            && is_single(&references)
            && let Some(user) = self.users.first()
        {
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference {:?} (must force) - container {} is using its referenced image {}",
                self.named,
                short(&user.id),
                self.image.id.short()
            )));
        }
        let (mut untag, mut left): (Vec<_>, Vec<_>) = references.into_iter().partition(|r| *r == name);
        // The digests of a repository go with its last tag.
        let in_repository = |r: &Reference| r.name() == name.name();
        if name.digest().is_none() && left.iter().filter(|r| in_repository(r)).all(|r| r.digest().is_some()) {
            let (digests, others) = left.into_iter().partition(in_repository);
            untag.extend::<Vec<_>>(digests);
            left = others;
        }
        // The name is gone, whatever keeps the image: that is no error then.
        let delete = left.is_empty() && self.check(0).is_ok();
        Ok(Plan { untag, delete })
    }
}

const PRUNE_FILTERS: &[&str] = &["dangling", "label", "label!", "until"];

impl Records {
    /// The images that a prune may remove.
    pub(crate) fn prunable(&self, filters: &Filters) -> Result<Vec<Image>> {
        filters.check(PRUNE_FILTERS)?;
        let only_dangling = filters.flag("dangling")?.unwrap_or(true);
        let until = super::listing::until(filters)?;
        let all = self.all()?.into_iter().filter(|image| {
            let tagged = image.references.iter().any(|r| !r.contains('@'));
            (!only_dangling || !tagged)
                && until.is_none_or(|t| super::listing::created_nanos(image) <= t)
                && super::listing::labels_pass(filters, image)
        });
        Ok(all.collect())
    }

    /// Tells that a prune ended.
    pub(crate) fn told_prune(&self, reclaimed: u64) {
        let attributes = [("reclaimed".to_owned(), reclaimed.to_string())].into();
        self.events.publish(Event::now(EventKind::Image, "prune", "", attributes));
    }

    /// Carries a plan out, but for blobs and layers; what was done.
    pub(crate) fn remove(&self, image: &Image, plan: &Plan) -> Result<Vec<DeletedItem>> {
        let mut done = Vec::new();
        let id = image.id.to_string();
        for name in &plan.untag {
            if self.database.references().remove(&name.to_string())? {
                done.push(DeletedItem::Untagged(name.familiar()));
                self.tell("untag", &id, &id, labels_of(image));
            }
        }
        if plan.delete && self.database.images().remove(&id)? {
            self.configs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&image.id);
            done.push(DeletedItem::Deleted(id.clone()));
            self.tell("delete", &id, &id, labels_of(image));
        }
        self.project()?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;
    use crate::image::ImageRecord;
    use crate::media::Descriptor;

    fn image(references: &[&str]) -> Image {
        let record = ImageRecord {
            manifest: Descriptor::default(),
            config: Descriptor::default(),
            layers: Vec::new(),
            tagged: None,
            added: 0,
        };
        let references = references.iter().map(|r| r.parse::<Reference>().expect(r).to_string()).collect();
        let file = ConfigFile::default();
        Image { id: Digest::of(b"i"), config: sheave_api::images::ImageConfig::default(), file, record, references }
    }

    fn plan(references: &[&str], named: &str, force: bool, users: &[bool]) -> Result<(Vec<String>, bool), String> {
        let image = image(references);
        let users = users.iter().map(|running| ContainerUse { id: "c".repeat(64), running: *running }).collect();
        let id = image.id.hex();
        let named = if named == "id" { &id[..12] } else { named };
        let plan = Removal { image: &image, named, force, users }.plan();
        plan.map(|p| (p.untag.iter().map(Reference::familiar).collect(), p.delete)).map_err(|e| e.to_string())
    }

    #[test]
    fn decides_as_docker_does() {
        let digest = Digest::of(b"m");
        let (ad, bd) = (format!("a@{digest}"), format!("b@{digest}"));
        let ok = |names: &[&str], delete| Ok((names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), delete));
        assert_eq!(plan(&["a:1"], "a:1", false, &[]), ok(&["a:1"], true));
        assert_eq!(plan(&["a:latest", &ad], "a", false, &[]), ok(&["a:latest", &ad], true));
        assert_eq!(plan(&["a:1", "a:2", &ad], "a:1", false, &[]), ok(&["a:1"], false));
        assert_eq!(plan(&["a:1", &ad, "b:1", &bd], "a:1", false, &[]), ok(&["a:1", &ad], false));
        assert_eq!(plan(&["a:1", &ad], "id", false, &[]), ok(&["a:1", &ad], true));
        assert_eq!(plan(&[], "id", false, &[]), ok(&[], true));
        assert_eq!(plan(&["a:1", "b:1"], "id", true, &[]), ok(&["a:1", "b:1"], true));
        assert_eq!(plan(&["a:1", "b:1"], "a:1", false, &[true]), ok(&["a:1"], false));
        assert_eq!(plan(&["a:1"], "a:1", true, &[true]), ok(&["a:1"], false));
        assert_eq!(plan(&["a:1"], "a:1", true, &[false]), ok(&["a:1"], true));
        let short = Digest::of(b"i").short();
        for (references, named, force, users, text) in [
            (
                &["a:1"][..],
                "a:1",
                false,
                &[false][..],
                format!(
                    "conflict: unable to remove repository reference \"a:1\" (must force) - container cccccccccccc is using its referenced image {short}"
                ),
            ),
            (
                &["a:1", "b:1"],
                "id",
                false,
                &[],
                format!(
                    "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
                ),
            ),
            (
                &["a:1"],
                "id",
                true,
                &[true],
                format!(
                    "conflict: unable to delete {short} (cannot be forced) - image is being used by running container cccccccccccc"
                ),
            ),
            (
                &["a:1"],
                "id",
                false,
                &[false],
                format!(
                    "conflict: unable to delete {short} (must be forced) - image is being used by stopped container cccccccccccc"
                ),
            ),
        ] {
            assert_eq!(plan(references, named, force, users), Err(text));
        }
    }
}
