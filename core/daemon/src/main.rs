//! `sheaved`: reads the configuration, puts the engine together, serves until it is told to stop.

mod builtins;
mod census;
mod config;
mod containers;
mod error;
mod flags;
mod images;
mod machine;
mod memory;
mod networks;
mod roots;
mod system;
mod volumes;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use sheave_http::{Address, Listener};
use sheave_telemetry::LogFormat;
use sheave_types::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};

use crate::config::Config;
use crate::error::DaemonError;
use crate::flags::{Flags, LogForm};
use crate::roots::Roots;

fn main() -> ExitCode {
    memory::few_arenas();
    match run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be set up; what a person needs is one line.
            eprintln!("sheaved: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> Result<()> {
    let config = Config::load(flags)?;
    let format = match config.log_format {
        Some(LogForm::Json) => LogFormat::Json,
        Some(LogForm::Text) | None => LogFormat::Text,
    };
    sheave_telemetry::init(format, &config.log_filter()).map_err(DaemonError::from)?;
    if !nix::unistd::geteuid().is_root() {
        return Err(DaemonError::NotRoot.into());
    }
    // The work is waiting for the kernel; blocking calls have threads of their own, which end when idle.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_name("sheaved")
        .enable_all()
        .build()
        .map_err(|e| Error::with_source(sheave_types::ErrorKind::Internal, e.to_string(), e))?;
    let result = runtime.block_on(serve(config));
    // A plugin's call that never returns must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}

async fn serve(config: Config) -> Result<()> {
    // What cannot work is said before anything is touched.
    let addresses = config.hosts().iter().map(|host| Address::parse(host)).collect::<Result<Vec<_>, _>>()?;
    let metrics_address = config.metrics_addr.as_deref().map(metrics_address).transpose()?;
    let (stop, stopped) = watch::channel(false);
    stop_on_signals(stop)?;
    let roots = Roots::claim(&config.data_root(), &config.exec_root(), &config.pidfile())?;
    let engine = wire::engine(&config).await?;
    let mut listeners = Vec::new();
    for address in &addresses {
        listeners.extend(Listener::open(address, config.group.as_deref())?);
    }
    if let Some(address) = metrics_address {
        let listeners = Listener::open(&address, None)?;
        tokio::spawn(sheave_http::serve_metrics(listeners, engine.metrics.clone()));
    }
    for listener in &listeners {
        info!(address = listener.name(), "the API is served");
    }
    engine.server.run(listeners, stopped).await;
    if let Err(error) = engine.networks.close().await {
        error!(%error, "links or rules of the networks may be left; the next start puts that right");
    }
    info!("stopped; containers go on");
    drop(roots);
    Ok(())
}

fn metrics_address(text: &str) -> Result<Address> {
    let text = if text.contains("://") { text.to_owned() } else { format!("tcp://{text}") };
    match Address::parse(&text)? {
        Address::Unix(_) => {
            let reason = "metrics are served at a TCP address, for example 127.0.0.1:9323".to_owned();
            Err(DaemonError::Setting { setting: "metrics-addr", reason }.into())
        }
        tcp @ Address::Tcp(_) => Ok(tcp),
    }
}

fn stop_on_signals(stop: watch::Sender<bool>) -> Result<()> {
    let failed = |e: std::io::Error| Error::with_source(sheave_types::ErrorKind::Internal, e.to_string(), e);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        if stop.send(true).is_err() {
            error!("the server is gone");
        }
    });
    Ok(())
}
