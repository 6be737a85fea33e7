//! `GET /containers/{id}/top`: the host's `ps`, without the processes of others.

use std::process::Command;

use sheave_api::containers::ContainerTopResponse;
use sheave_shim::protocol::CgroupPlacement;

use crate::cgroup;
use crate::error::{Error, Fault};
use crate::record::View;
use crate::state::{Denied, State};

/// Runs `ps` with these arguments and keeps the lines of the container's processes.
pub async fn top(view: &View, placement: CgroupPlacement, arguments: &str) -> Result<ContainerTopResponse, Error> {
    match view.state {
        State::Running(_) | State::Paused(_) => {}
        State::Restarting { .. } => {
            return Err(Error::Denied { reason: Denied::IsRestarting, id: view.id.to_string() });
        }
        _ => return Err(Error::Denied { reason: Denied::NotRunning, id: view.id.to_string() }),
    }
    let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
    let listing = tokio::task::spawn_blocking(move || {
        let output = Command::new("ps").args(&arguments).env_clear().env("PATH", "/usr/bin:/bin").output();
        let output = output.map_err(Error::file("run ps"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::from(Fault::Ps(said.lines().next().unwrap_or_default().to_owned())));
        }
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), cgroup::pids(&placement)))
    });
    let (text, pids) = listing.await.map_err(|error| Error::Shim(error.to_string()))??;
    read(&text, &pids)
}

/// Reads a listing with a column `PID`; the last column takes the rest of the line.
fn read(text: &str, pids: &[i32]) -> Result<ContainerTopResponse, Error> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let column = titles.iter().position(|title| title == "PID").ok_or(Fault::PsColumn)?;
    let mut processes = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields.get(column).and_then(|pid| pid.parse().ok()).is_some_and(|pid| pids.contains(&pid));
        if !ours {
            continue;
        }
        let (own, rest) = fields.split_at(fields.len().min(titles.len().saturating_sub(1)));
        let mut process: Vec<String> = own.iter().map(|field| (*field).to_owned()).collect();
        if !rest.is_empty() {
            process.push(rest.join(" "));
        }
        processes.push(process);
    }
    Ok(ContainerTopResponse { processes, titles })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_containers_own() {
        let text = "UID PID CMD\nroot 1 init\nroot 42 sleep 10 20\n";
        let shown = read(text, &[42]).unwrap();
        assert_eq!(shown.titles, ["UID", "PID", "CMD"]);
        assert_eq!(shown.processes, [["root", "42", "sleep 10 20"]]);
        assert!(read("UID CMD\n", &[]).is_err());
    }
}
