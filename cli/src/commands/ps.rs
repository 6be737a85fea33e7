//! `sheave ps`

use clap::Args;
use serde_json::{Value, json};

use super::{filters, short};
use crate::connection::Connection;
use crate::error::CliError;
use crate::template::Template;
use crate::{table, units};

#[derive(Args)]
pub(crate) struct Ps {
    /// Stopped ones too
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// The last N created
    #[arg(short = 'n', long, default_value_t = -1, allow_negative_numbers = true)]
    last: i64,
    /// The last created
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Sizes on disk
    #[arg(short, long)]
    size: bool,
    /// Only those that match
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Template for each line, or json
    #[arg(long)]
    format: Option<String>,
}

impl Ps {
    pub(crate) async fn run(self, engine: &Connection) -> Result<(), CliError> {
        let filters = filters(&self.filter)?;
        let limit = if self.latest { 1 } else { self.last }.to_string();
        let flag = |b: bool| if b { "1" } else { "0" };
        let query = [
            ("all", flag(self.all)),
            ("limit", limit.as_str()),
            ("size", flag(self.size)),
            ("filters", filters.as_str()),
        ];
        let answer = engine.get("/containers/json", &query).await?;
        let rows: Vec<Value> = answer.as_array().into_iter().flatten().map(|c| self.row(c)).collect();
        if self.quiet {
            rows.iter().for_each(|r| println!("{}", text(&r["ID"])));
            return Ok(());
        }
        if let Some(format) = &self.format {
            return lines(format, &rows);
        }
        let mut headings = vec!["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
        let mut keys = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
        if self.size {
            headings.push("SIZE");
            keys.push("Size");
        }
        let cells: Vec<Vec<String>> = rows.iter().map(|r| keys.iter().map(|k| text(&r[*k])).collect()).collect();
        print!("{}", table::render(&headings, &cells));
        Ok(())
    }

    fn row(&self, c: &Value) -> Value {
        let cut = |s: String| {
            if self.no_trunc || s.chars().count() <= 20 { s } else { s.chars().take(19).chain(['…']).collect() }
        };
        let id = text(&c["Id"]);
        let names = c["Names"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Vec<&str> = names.map(|n| n.trim_start_matches('/')).collect();
        let labels = c["Labels"].as_object().into_iter().flatten();
        let labels: Vec<String> = labels.map(|(k, v)| format!("{k}={}", text(v))).collect();
        let size = format!("{} (virtual {})", bytes(&c["SizeRw"]), bytes(&c["SizeRootFs"]));
        json!({
            "ID": if self.no_trunc { id } else { short(&id) },
            "Image": c["Image"],
            "Command": format!("\"{}\"", cut(text(&c["Command"]))),
            "CreatedAt": c["Created"],
            "RunningFor": units::ago(c["Created"].as_i64().unwrap_or(0)),
            "Status": c["Status"],
            "State": c["State"],
            "Ports": ports(&c["Ports"]),
            "Names": names.join(","),
            "Labels": labels.join(","),
            "Size": size,
        })
    }
}

fn bytes(value: &Value) -> String {
    units::size(value.as_i64().unwrap_or(0))
}

fn ports(value: &Value) -> String {
    let one = |p: &Value| {
        let (private, protocol) = (&p["PrivatePort"], text(&p["Type"]));
        match (p["IP"].as_str(), p["PublicPort"].as_u64()) {
            (Some(ip), Some(public)) if ip.contains(':') => format!("[{ip}]:{public}->{private}/{protocol}"),
            (ip, Some(public)) => format!("{}:{public}->{private}/{protocol}", ip.unwrap_or("0.0.0.0")),
            _ => format!("{private}/{protocol}"),
        }
    };
    value.as_array().into_iter().flatten().map(one).collect::<Vec<_>>().join(", ")
}

/// A JSON value as a cell shows it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// Prints each row by a `--format` template.
pub(crate) fn lines(format: &str, rows: &[Value]) -> Result<(), CliError> {
    let (table_wanted, format) = match format.strip_prefix("table ") {
        Some(rest) => (true, rest),
        None => (false, format),
    };
    let template = Template::parse(format)?;
    let rendered = rows.iter().map(|r| template.render(r)).collect::<Result<Vec<_>, _>>()?;
    if table_wanted {
        let headings: Vec<String> = format
            .replace("\\t", "\t")
            .split('\t')
            .map(|p| p.trim_matches(|c| "{}. ".contains(c)).to_uppercase())
            .collect();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let cells: Vec<Vec<String>> = rendered.iter().map(|l| l.split('\t').map(str::to_owned).collect()).collect();
        print!("{}", table::render(&headings, &cells));
    } else {
        rendered.iter().for_each(|l| println!("{l}"));
    }
    Ok(())
}
