//! Logs to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::args::{LOG_DEFAULT, LogArgs, LogFormat};
use super::exit::CommandFailure;

/// What is logged by subcommands that tell their own story, unless more is asked for.
const LOG_QUIET: &str = "off";

/// Starts logging for the rest of the process; next to nothing if `is_quiet`, unless asked for.
///
/// # Errors
/// When the filter is none, or something logs already.
pub(crate) fn start(args: &LogArgs, is_quiet: bool) -> Result<(), CommandFailure> {
    let filter_text = if is_quiet && args.log_filter == LOG_DEFAULT {
        LOG_QUIET
    } else {
        &args.log_filter
    };
    let filter = EnvFilter::builder().parse(filter_text).map_err(|error| {
        CommandFailure::usage(format!(
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
    .map_err(|error| CommandFailure::failed(format!("logging can't be started: {error}")))
}

/// Whether stderr takes colours: a terminal, and `NO_COLOR` unset or empty (no-color.org).
pub(crate) fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}
