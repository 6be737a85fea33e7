//! `sheave`: the command line of the Sheave container engine. Verbs, flags and output follow the docker command.

mod commands;
mod connection;
mod error;
mod flags;
mod streams;
mod table;
mod template;
mod terminal;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::connection::Connection;
use crate::error::CliError;

#[derive(Parser)]
#[command(
    name = "sheave",
    version,
    about = "A container engine in which every driver is a plugin",
    max_term_width = 120
)]
struct Cli {
    /// The engine's socket: unix:///path or tcp://host:port [default: $SHEAVE_HOST, $DOCKER_HOST, unix:///run/sheave/sheave.sock]
    #[arg(short = 'H', long, global = true, value_name = "ADDRESS")]
    host: Option<String>,
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    // Bad flags are the caller's mistake before any engine was asked: docker's exit code for that is 125 (run, create, exec
    // included), and help goes out with 0.
    let cli = match Cli::command().try_get_matches().and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { 125 } else { 0 };
            // Where even standard error is closed there is nobody to tell.
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return error::report(&CliError::Runtime(e)),
    };
    let result = runtime.block_on(async {
        let connection = Connection::new(cli.host.as_deref())?;
        commands::run(cli.command, &connection).await
    });
    // A read of standard input that is still under way must not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(e) => error::report(&e),
    }
}
