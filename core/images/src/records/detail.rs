//! `GET /images/{name}/json` and `…/history`.

use sheave_api::images::{GraphDriver, HistoryItem, ImageInspect, ImageMetadata, RootFs};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Records, familiar_names};
use crate::image::Image;

const NEVER: &str = "0001-01-01T00:00:00Z";

fn rfc3339(nanos: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(nanos.into()).ok()?.format(&Rfc3339).ok()
}

fn unix(text: Option<&str>) -> i64 {
    let time = text.and_then(|t| OffsetDateTime::parse(t, &Rfc3339).ok());
    time.map_or(0, OffsetDateTime::unix_timestamp)
}

impl Records {
    /// All about an image that `driver` holds.
    pub(crate) fn inspect(&self, image: &Image, driver: &str) -> ImageInspect {
        let (repo_tags, repo_digests) = familiar_names(image);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let file = &image.file;
        ImageInspect {
            id: image.id.to_string(),
            repo_tags,
            repo_digests,
            parent: String::new(),
            comment: text(&file.comment),
            created: image.created().map(str::to_owned),
            docker_version: text(&file.docker_version),
            author: text(&file.author),
            config: image.config.clone(),
            architecture: text(&file.architecture),
            variant: text(&file.variant),
            os: file.os.clone().unwrap_or_else(|| "linux".to_owned()),
            os_version: text(&file.os_version),
            size: i64::try_from(image.size()).unwrap_or(i64::MAX),
            graph_driver: GraphDriver { data: None, name: driver.to_owned() },
            root_fs: RootFs {
                kind: "layers".to_owned(),
                layers: image.diff_ids().iter().map(ToString::to_string).collect(),
            },
            metadata: ImageMetadata {
                last_tag_time: image.record.tagged.and_then(rfc3339).unwrap_or_else(|| NEVER.to_owned()),
            },
            descriptor: None,
        }
    }

    /// How an image was made, the last step first.
    pub(crate) fn history(&self, image: &Image) -> Vec<HistoryItem> {
        let mut layers = image.record.layers.iter();
        let steps = image.file.history.as_deref().unwrap_or_default();
        let mut items: Vec<_> = steps
            .iter()
            .map(|step| {
                let layer = if step.empty_layer == Some(true) { None } else { layers.next() };
                HistoryItem {
                    comment: step.comment.clone().unwrap_or_default(),
                    created: unix(step.created.as_deref()),
                    created_by: step.created_by.clone().unwrap_or_default(),
                    id: "<missing>".to_owned(),
                    size: layer.map_or(0, |l| i64::try_from(l.size).unwrap_or(i64::MAX)),
                    tags: None,
                }
            })
            .collect();
        items.reverse();
        if let Some(last) = items.first_mut() {
            let (tags, _) = familiar_names(image);
            last.id = image.id.to_string();
            last.tags = (!tags.is_empty()).then_some(tags);
        }
        items
    }
}
