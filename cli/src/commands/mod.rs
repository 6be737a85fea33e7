//! The verbs, one file each, or one file for a handful of one area.

mod attach;
mod demo;
mod exec;
mod images;
mod inspect;
mod lifecycle;
mod logs;
mod networks;
mod ps;
mod pull;
mod run;
mod system;
mod volumes;

use std::collections::HashMap;
use std::process::ExitCode;

use clap::Subcommand;

use crate::connection::Connection;
use crate::error::CliError;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a container and run it
    Run(run::Run),
    /// Create a container
    Create(run::Create),
    /// List containers
    Ps(ps::Ps),
    /// List images
    Images(images::List),
    /// Download an image
    Pull(pull::Pull),
    /// Show the output of a container
    Logs(logs::Logs),
    /// Run a command in a running container
    Exec(exec::Exec),
    /// Connect the terminal to a running container
    Attach(attach::Attach),
    /// Start containers
    Start(lifecycle::Start),
    /// Stop containers
    Stop(lifecycle::Stop),
    /// Stop containers and start them again
    Restart(lifecycle::Stop),
    /// Send a signal to containers
    Kill(lifecycle::Kill),
    /// Pause all processes of containers
    Pause(lifecycle::Names),
    /// Let paused containers go on
    Unpause(lifecycle::Names),
    /// Wait until containers end, and print their exit codes
    Wait(lifecycle::Names),
    /// Rename a container
    Rename(lifecycle::Rename),
    /// Remove containers
    Rm(lifecycle::Rm),
    /// Remove images
    Rmi(images::Remove),
    /// Give an image another name
    Tag(images::Tag),
    /// Show how an image came about
    History(images::History),
    /// Show everything known of a container, image, network or volume
    Inspect(inspect::Inspect),
    /// Show the versions of command and engine
    Version(system::Format),
    /// Show the state of the engine
    Info(system::Format),
    /// Show what happens, as it happens
    Events(system::Events),
    /// Manage networks
    #[command(subcommand)]
    Network(networks::Network),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volumes::Volume),
    /// Run a private engine, pull an image, run it, fetch a page from it, clean up
    Demo(demo::Demo),
    /// Print the completions of a shell
    Completion(system::Completion),
}

/// Runs a verb.
pub(crate) async fn run(command: Command, engine: &Connection) -> Result<ExitCode, CliError> {
    match command {
        Command::Run(c) => return c.run(engine).await,
        Command::Exec(c) => return c.run(engine).await,
        Command::Attach(c) => return c.run(engine).await,
        Command::Start(c) => return c.run(engine).await,
        Command::Create(c) => c.run(engine).await?,
        Command::Ps(c) => c.run(engine).await?,
        Command::Images(c) => c.run(engine).await?,
        Command::Pull(c) => c.run(engine).await?,
        Command::Logs(c) => c.run(engine).await?,
        Command::Stop(c) => c.run(engine, "stop").await?,
        Command::Restart(c) => c.run(engine, "restart").await?,
        Command::Kill(c) => c.run(engine).await?,
        Command::Pause(c) => c.act(engine, "pause").await?,
        Command::Unpause(c) => c.act(engine, "unpause").await?,
        Command::Wait(c) => c.wait(engine).await?,
        Command::Rename(c) => c.run(engine).await?,
        Command::Rm(c) => c.run(engine).await?,
        Command::Rmi(c) => c.run(engine).await?,
        Command::Tag(c) => c.run(engine).await?,
        Command::History(c) => c.run(engine).await?,
        Command::Inspect(c) => c.run(engine).await?,
        Command::Version(c) => c.version(engine).await?,
        Command::Info(c) => c.info(engine).await?,
        Command::Events(c) => c.run(engine).await?,
        Command::Network(c) => c.run(engine).await?,
        Command::Volume(c) => c.run(engine).await?,
        Command::Demo(c) => c.run().await?,
        Command::Completion(c) => c.run(),
    }
    Ok(ExitCode::SUCCESS)
}

/// Does one thing to each name, prints the names that succeeded, and collects the errors.
pub(crate) async fn each<F>(names: &[String], mut act: F) -> Result<(), CliError>
where
    F: AsyncFnMut(&str) -> Result<String, CliError>,
{
    let mut errors = Vec::new();
    for name in names {
        match act(name).await {
            Ok(shown) => println!("{shown}"),
            Err(e @ CliError::Unreachable { .. }) => return Err(e),
            Err(e) => errors.push(e.to_string()),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Several(errors)) }
}

/// Options and labels of the form `KEY=VALUE`; a key alone has the empty value.
pub(crate) fn pairs(flags: &[String]) -> HashMap<String, String> {
    let split = |flag: &String| {
        let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
        (key.to_owned(), value.to_owned())
    };
    flags.iter().map(split).collect()
}

/// The values of each key of flags of the form `KEY=VALUE`.
pub(crate) fn filter_map(flags: &[String]) -> Result<HashMap<String, Vec<String>>, CliError> {
    let mut map = HashMap::<String, Vec<String>>::new();
    for flag in flags {
        let reason = || format!("{flag:?}: expected KEY=VALUE");
        let (key, value) = flag.split_once('=').ok_or_else(|| CliError::Flag { flag: "--filter", reason: reason() })?;
        map.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Ok(map)
}

/// The same as the value of the query parameter `filters`.
pub(crate) fn filters(flags: &[String]) -> Result<String, CliError> {
    serde_json::to_string(&filter_map(flags)?).map_err(|e| CliError::Answer(e.to_string()))
}

/// The first twelve digits of an id.
pub(crate) fn short(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}
