//! Logs to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::args::{LogArgs, LogFormat};
use super::exit::Failure;

/// Starts logging for the rest of the process.
///
/// # Errors
/// When the filter is none, or something logs already.
pub(crate) fn start(args: &LogArgs) -> Result<(), Failure> {
    let filter = EnvFilter::builder()
        .parse(&args.log_filter)
        .map_err(|error| {
            Failure::usage(format!(
                "--log `{}`: {error} (write a level or `info,leasebridge=debug`)",
                args.log_filter
            ))
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Human => builder.with_ansi(colours()).with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| Failure::failed(format!("logging can't be started: {error}")))
}

/// Whether stderr takes colours: a terminal, and `NO_COLOR` unset or empty (no-color.org).
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}
