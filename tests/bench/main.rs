//! `make bench`: Sheave, dockerd and podman side by side, interleaved in one run, medians and ratios.
//!
//! Each engine runs in a network namespace of its own with a registry on its loopback that serves the same images. Wall time is
//! that of the API calls; CPU time that of the whole machine while they run, so leave the machine alone.

mod engines;
mod measure;

use std::path::PathBuf;

use engines::{Engine, Kind};
use measure::{Series, Table};

const USAGE: &str = "usage: bench [--rounds N] [--only NAME]   names: lifecycle, list, memory, pull, shared-pull";

struct Options {
    rounds: usize,
    only: Option<String>,
}

fn options() -> Option<Options> {
    let mut options = Options { rounds: 15, only: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => options.rounds = arguments.next()?.parse().ok()?,
            "--only" => options.only = Some(arguments.next()?),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> std::process::ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return std::process::ExitCode::from(2);
    };
    let images =
        PathBuf::from(std::env::var_os("SHEAVE_TEST_CACHE").unwrap_or_else(|| "/var/cache/sheave-tests".into()))
            .join("images");
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let mut table = Table::default();
    let engines = engines::start_all(&images);
    for engine in &engines {
        engine.pull("test/busybox");
    }
    if wanted("memory") {
        memory(&engines, &mut table, "daemon, idle after one pull");
    }
    if wanted("lifecycle") {
        for network in ["none", "bridge"] {
            lifecycle(&engines, network, options.rounds, &mut table);
        }
    }
    if wanted("pull") {
        pull(&engines, options.rounds.clamp(3, 5), &mut table);
    }
    if wanted("shared-pull") {
        shared_pull(&engines, &mut table);
    }
    if wanted("list") || wanted("memory") {
        with_many(&engines, &mut table, wanted("list"), wanted("memory"));
    }
    println!("{table}");
    std::process::ExitCode::SUCCESS
}

/// create + start + wait + delete of `true`.
fn lifecycle(engines: &[Engine], network: &str, rounds: usize, table: &mut Table) {
    let mut wall: Vec<Series> = engines.iter().map(|_| Series::default()).collect();
    let mut cpu = wall.clone();
    for engine in engines {
        engine.run_true(network);
    }
    for _ in 0..rounds {
        for (n, engine) in engines.iter().enumerate() {
            // Teardown that goes on after the delete belongs to the round, so its CPU time is counted until the machine rests.
            let used = measure::busy(|| wall[n].push(measure::time(|| engine.run_true(network))));
            cpu[n].push(used);
        }
    }
    for (n, engine) in engines.iter().enumerate() {
        table.row(&format!("create+start+wait+delete, {network}: wall"), engine.kind, wall[n].median() * 1e3, "ms");
        table.row(&format!("create+start+wait+delete, {network}: CPU"), engine.kind, cpu[n].median() * 1e3, "ms");
    }
}

/// Five layers and more, 150 MB and more, from the loopback.
fn pull(engines: &[Engine], rounds: usize, table: &mut Table) {
    let mut wall: Vec<Series> = engines.iter().map(|_| Series::default()).collect();
    let mut cpu = wall.clone();
    for _ in 0..rounds {
        for (n, engine) in engines.iter().enumerate() {
            let used = measure::busy(|| wall[n].push(measure::time(|| engine.pull("test/large"))));
            cpu[n].push(used);
            engine.remove_image("test/large");
        }
    }
    for (n, engine) in engines.iter().enumerate() {
        table.row("pull of the large image: wall", engine.kind, wall[n].median(), "s");
        table.row("pull of the large image: CPU", engine.kind, cpu[n].median(), "s");
    }
}

/// Ten clients at once; how often each layer left the registry.
fn shared_pull(engines: &[Engine], table: &mut Table) {
    for engine in engines.iter().filter(|e| e.kind != Kind::Podman) {
        let before = engine.blobs_served();
        let wall = measure::time(|| {
            std::thread::scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| engine.pull("test/large"));
                }
            });
        });
        let served = engine.blobs_served() - before;
        engine.remove_image("test/large");
        table.row("ten pulls of one image at once: wall", engine.kind, wall, "s");
        #[allow(clippy::cast_precision_loss, reason = "a few dozen")]
        table.row("ten pulls of one image at once: blobs fetched", engine.kind, served as f64, "");
    }
}

fn memory(engines: &[Engine], table: &mut Table, what: &str) {
    for engine in engines {
        table.row(&format!("memory (PSS) of the {what}"), engine.kind, engine.pss_kib() / 1024.0, "MiB");
    }
}

/// 200 containers for the list, 100 of them running for the shims.
fn with_many(engines: &[Engine], table: &mut Table, list: bool, shims: bool) {
    for engine in engines {
        let running: Vec<String> = (0..100).map(|n| engine.start_sleep(&format!("run{n}"))).collect();
        if shims && engine.kind == Kind::Sheave {
            table.row(
                "private memory of a shim, 100 containers",
                engine.kind,
                engine.shim_private_kib() / 1024.0,
                "MiB",
            );
        }
        let created: Vec<String> = (0..100).map(|n| engine.create_sleep(&format!("new{n}"))).collect();
        if list {
            table.row("GET /containers/json with 200 containers", engine.kind, engine.lists_per_second(), "per s");
        }
        for id in running.iter().chain(&created) {
            engine.delete(id);
        }
    }
    if shims {
        memory(engines, table, "daemon, after use");
    }
}
