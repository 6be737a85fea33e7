//! `GET /containers/{id}/json`.

use sheave_api::containers::{ContainerInspectResponse, ContainerState, DriverData};

use crate::record::View;
use crate::settings::Paths;
use crate::state::State;
use crate::time::Timestamp;

/// What clients are shown of a container.
pub fn inspect(view: &View, paths: &Paths, execs: Option<Vec<String>>) -> ContainerInspectResponse {
    let record = &view.record;
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let logs = matches!(record.host_config.log_config.kind.as_str(), "" | "json-file");
    let started_once = !matches!(view.state, State::Created { .. });
    ContainerInspectResponse {
        id: view.id.to_string(),
        created: record.created.to_string(),
        path: record.path.clone(),
        args: record.args.clone(),
        state: state(view),
        image: record.image.clone(),
        resolv_conf_path: if started_once { text(paths.resolv()) } else { String::new() },
        hostname_path: if started_once { text(paths.hostname()) } else { String::new() },
        hosts_path: if started_once { text(paths.hosts()) } else { String::new() },
        log_path: if logs { text(paths.log()) } else { String::new() },
        name: format!("/{}", view.name),
        restart_count: i64::from(view.state.restarts()),
        driver: record.driver.clone(),
        platform: record.platform.clone(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: execs,
        host_config: record.host_config.clone(),
        graph_driver: DriverData { data: None, name: record.driver.clone() },
        size_rw: None,
        size_root_fs: None,
        mounts: record.mounts.iter().map(|m| m.point.clone()).collect(),
        config: record.config.clone(),
        network_settings: (*view.network).clone(),
        image_manifest_descriptor: (!record.manifest.is_null()).then(|| record.manifest.clone()),
    }
}

fn state(view: &View) -> ContainerState {
    let state = &view.state;
    let (last, run) = (state.last(), state.run());
    let failure = match state {
        State::Created { failure } => failure.as_ref(),
        _ => None,
    };
    let started = run.map(|run| run.started).or(last.map(|exit| exit.started)).unwrap_or(Timestamp::ZERO);
    let finished = last.map_or(Timestamp::ZERO, |exit| exit.finished);
    ContainerState {
        status: state.status().to_owned(),
        running: state.is_running(),
        paused: matches!(state, State::Paused(_)),
        restarting: matches!(state, State::Restarting { .. }),
        oom_killed: last.is_some_and(|exit| exit.oom_killed),
        dead: matches!(state, State::Dead { .. }),
        pid: run.map_or(0, |run| i64::from(run.pid)),
        exit_code: i64::from(last.map_or(failure.map_or(0, |failure| failure.code), |exit| exit.code)),
        error: match (state, last, failure) {
            (State::Dead { reason, .. }, ..) => reason.clone(),
            (_, Some(exit), _) => exit.error.clone(),
            (_, _, Some(failure)) => failure.message.clone(),
            _ => String::new(),
        },
        started_at: started.to_string(),
        finished_at: finished.to_string(),
        health: view.health.as_deref().cloned(),
    }
}
