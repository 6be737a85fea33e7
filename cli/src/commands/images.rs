//! `sheave images`, `rmi`, `tag`, `history`

use clap::Args;
use serde_json::{Value, json};
use sheave_types::Reference;

use super::ps::{lines, text};
use super::{filters, short};
use crate::connection::{Connection, segment};
use crate::error::CliError;
use crate::{table, units};

#[derive(Args)]
pub(crate) struct List {
    /// Intermediate ones too
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// With digests
    #[arg(long)]
    digests: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Only those that match
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Template for each line, or json
    #[arg(long)]
    format: Option<String>,
    /// Only of this repository
    repository: Option<String>,
}

#[derive(Args)]
pub(crate) struct Remove {
    /// Also where containers or several names refer to it
    #[arg(short, long)]
    force: bool,
    /// Keep untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Tag {
    /// Image
    source: String,
    /// New name
    target: String,
}

#[derive(Args)]
pub(crate) struct History {
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Template for each line, or json
    #[arg(long)]
    format: Option<String>,
    /// Image
    image: String,
}

impl List {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let mut flags = self.filter.clone();
        flags.extend(self.repository.iter().map(|r| format!("reference={r}")));
        let filters = filters(&flags)?;
        let query = [("all", if self.all { "1" } else { "0" }), ("filters", filters.as_str())];
        let answer = engine.get("/images/json", &query).await?;
        let mut rows = Vec::new();
        for image in answer.as_array().into_iter().flatten() {
            rows.extend(self.rows(image));
        }
        if self.quiet {
            rows.iter().for_each(|r| println!("{}", text(&r["ID"])));
            return Ok(());
        }
        if let Some(format) = &self.format {
            return lines(format, &rows);
        }
        let (headings, keys): (&[&str], &[&str]) = if self.digests {
            (
                &["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"],
                &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
            )
        } else {
            (
                &["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"],
                &["Repository", "Tag", "ID", "CreatedSince", "Size"],
            )
        };
        let cells: Vec<Vec<String>> = rows.iter().map(|r| keys.iter().map(|k| text(&r[*k])).collect()).collect();
        print!("{}", table::render(headings, &cells));
        Ok(())
    }

    /// One row a tag; one with `<none>` where there is no tag.
    fn rows(&self, image: &Value) -> Vec<Value> {
        let strings = |v: &Value| -> Vec<String> { v.as_array().into_iter().flatten().map(text).collect() };
        let digests = strings(&image["RepoDigests"]);
        let digest_of = |repository: &str| {
            let found = digests.iter().filter_map(|d| d.split_once('@')).find(|(r, _)| *r == repository);
            found.map_or_else(|| "<none>".to_owned(), |(_, d)| d.to_owned())
        };
        let id = text(&image["Id"]);
        let row = |repository: &str, tag: &str| {
            json!({
                "ID": if self.no_trunc { id.clone() } else { short(&id) },
                "Repository": repository,
                "Tag": tag,
                "Digest": digest_of(repository),
                "CreatedSince": units::ago(image["Created"].as_i64().unwrap_or(0)),
                "CreatedAt": image["Created"],
                "Size": units::size(image["Size"].as_i64().unwrap_or(0)),
            })
        };
        let tags = strings(&image["RepoTags"]);
        if tags.is_empty() {
            let repository = digests.first().and_then(|d| d.split_once('@')).map_or("<none>", |(r, _)| r);
            return vec![row(repository, "<none>")];
        }
        tags.iter().map(|t| t.rsplit_once(':').map_or_else(|| row(t, "<none>"), |(r, tag)| row(r, tag))).collect()
    }
}

impl Remove {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let flag = |b: bool| if b { "1" } else { "0" };
        let query = [("force", flag(self.force)), ("noprune", flag(self.no_prune))];
        let mut errors = Vec::new();
        for image in &self.images {
            match engine.request("DELETE", &format!("/images/{}", segment(image)), &query).await {
                Ok(answer) => {
                    for item in answer.as_array().into_iter().flatten() {
                        for (verb, what) in item.as_object().into_iter().flatten() {
                            println!("{verb}: {}", text(what));
                        }
                    }
                }
                Err(e @ CliError::Unreachable { .. }) => return Err(e),
                Err(e) => errors.push(e.to_string()),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(CliError::Several(errors)) }
    }
}

impl Tag {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let target: Reference = self.target.parse().map_err(|e: sheave_types::ReferenceError| CliError::Flag {
            flag: "TARGET",
            reason: format!("{:?}: {e}", self.target),
        })?;
        let target = target.or_latest();
        let name = target.familiar_name();
        let query = [("repo", name.as_str()), ("tag", target.tag().unwrap_or_default())];
        engine.request("POST", &format!("/images/{}/tag", segment(&self.source)), &query).await.map(|_| ())
    }
}

impl History {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let answer = engine.get(&format!("/images/{}/history", segment(&self.image)), &[]).await?;
        let row = |h: &Value| {
            let (id, by) = (text(&h["Id"]), text(&h["CreatedBy"]));
            let by = if self.no_trunc || by.chars().count() <= 45 {
                by
            } else {
                by.chars().take(44).chain(['…']).collect()
            };
            json!({
                "ID": if self.no_trunc || id.starts_with('<') { id } else { short(&id) },
                "CreatedSince": units::ago(h["Created"].as_i64().unwrap_or(0)),
                "CreatedBy": by,
                "Size": units::size(h["Size"].as_i64().unwrap_or(0)),
                "Comment": h["Comment"],
            })
        };
        let rows: Vec<Value> = answer.as_array().into_iter().flatten().map(row).collect();
        if self.quiet {
            rows.iter().for_each(|r| println!("{}", text(&r["ID"])));
            return Ok(());
        }
        if let Some(format) = &self.format {
            return lines(format, &rows);
        }
        let keys = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
        let cells: Vec<Vec<String>> = rows.iter().map(|r| keys.iter().map(|k| text(&r[*k])).collect()).collect();
        print!("{}", table::render(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &cells));
        Ok(())
    }
}
