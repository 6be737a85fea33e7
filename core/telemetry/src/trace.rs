//! Where spans and log lines go.

use tracing_subscriber::filter::EnvFilter;

/// The form of log lines on standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, with the spans it happened in.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The level is not a filter.
    #[error("log level {0:?}: use error, warn, info, debug, trace, or target=level pairs")]
    Filter(String),
    /// The process has a subscriber already.
    #[error("logging is already set up")]
    Twice,
}

/// Sends spans and log lines of this process to standard error. Called once, by a main function.
///
/// `level` is `error`, `warn`, `info`, `debug`, `trace` (`fatal` and `warning` too, as dockerd has them), or a list of
/// `target=level`.
///
/// # Errors
/// [`TraceError`].
pub fn init(format: LogFormat, level: &str) -> Result<(), TraceError> {
    let filter = match level {
        "fatal" => "error",
        "warning" => "warn",
        other => other,
    };
    let filter = EnvFilter::try_new(filter).map_err(|_| TraceError::Filter(level.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(color).try_init().map_err(|_| TraceError::Twice)
        }
        LogFormat::Json => builder.json().with_current_span(true).try_init().map_err(|_| TraceError::Twice),
    }
}
