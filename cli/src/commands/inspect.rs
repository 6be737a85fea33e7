//! `sheave inspect`

use clap::Args;
use serde_json::Value;

use crate::connection::{Connection, segment};
use crate::error::CliError;
use crate::template::Template;

#[derive(Args)]
pub(crate) struct Inspect {
    /// Template, or json
    #[arg(short, long)]
    format: Option<String>,
    /// Only things of this type
    #[arg(long, value_parser = ["container", "image", "network", "volume"])]
    r#type: Option<String>,
    /// Sizes on disk
    #[arg(short, long)]
    size: bool,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// The types that a name is looked for among, in this order, with the paths of each.
const TYPES: [(&str, &str, &str); 4] = [
    ("container", "/containers/", "/json"),
    ("image", "/images/", "/json"),
    ("network", "/networks/", ""),
    ("volume", "/volumes/", ""),
];

/// Everything known of one thing.
pub(crate) async fn find(engine: &Connection, name: &str, only: Option<&str>, size: bool) -> Result<Value, CliError> {
    for (kind, before, after) in TYPES {
        if only.is_some_and(|o| o != kind) {
            continue;
        }
        let query: &[(&str, &str)] = if size && kind == "container" { &[("size", "1")] } else { &[] };
        match engine.get(&format!("{before}{}{after}", segment(name)), query).await {
            Err(CliError::Engine { status: 404, .. }) if only.is_none() => {}
            other => return other,
        }
    }
    Err(CliError::Engine { status: 404, message: format!("No such object: {name}") })
}

/// Prints what was found as docker does: a list, or each by a template; errors last.
pub(crate) fn show(found: Vec<Value>, errors: Vec<String>, format: Option<&str>) -> Result<(), CliError> {
    match format {
        Some(format) => {
            let template = Template::parse(format)?;
            for value in &found {
                println!("{}", template.render(value)?);
            }
        }
        None => println!("{}", serde_json::to_string_pretty(&found).map_err(|e| CliError::Answer(e.to_string()))?),
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Several(errors)) }
}

impl Inspect {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for name in &self.names {
            match find(engine, name, self.r#type.as_deref(), self.size).await {
                Ok(value) => found.push(value),
                Err(e @ CliError::Unreachable { .. }) => return Err(e),
                Err(e) => errors.push(e.to_string()),
            }
        }
        show(found, errors, self.format.as_deref())
    }
}
