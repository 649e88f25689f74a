//! Logs to stderr, which may be full, closed or read by nobody: a thread of its own writes there, and whatever it
//! meets stays there. Lines that it can't keep up with are dropped; the program neither waits nor fails.

use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use super::args::{LOG_DEFAULT, LogArgs, LogFormat};
use super::exit::CommandFailure;
use super::terminal::wants_colours;

/// What is logged by subcommands that tell their own story, unless more is asked for.
const LOG_QUIET: &str = "off";

/// Lines that wait for stderr at most; those beyond are dropped.
const LINES_MAX: usize = 4_096;

/// The way to stderr once logging has started.
static STDERR: OnceLock<NonBlocking> = OnceLock::new();

/// Dropped at the end of the process: what was logged last has a second to get out.
pub(crate) struct LogEnd {
    _worker: WorkerGuard,
}

/// Starts logging for the rest of the process; next to nothing if `is_quiet`, unless asked for. Panics are logged
/// as well: their own way to stderr would wait for a reader.
///
/// # Errors
/// When the filter is none, or something logs already.
pub(crate) fn start(args: &LogArgs, is_quiet: bool) -> Result<LogEnd, CommandFailure> {
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
    let (stderr, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("leasebridge-log")
        .finish(std::io::stderr());
    let stderr = STDERR.get_or_init(|| stderr);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(stderr.clone());
    match args.log_format {
        LogFormat::Human => builder.with_ansi(colours()).with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| CommandFailure::failed(format!("logging can't be started: {error}")))?;
    std::panic::set_hook(Box::new(tell_panic));
    Ok(LogEnd { _worker: worker })
}

/// Writes a line to stderr as the log does, behind what was logged; before logging has started, at once. For a
/// process that must end, whoever reads its stderr; commands that a person waits for complain through
/// [`super::out`], and lose nothing.
pub(crate) fn last_word(text: &str) {
    let line = format!("{text}\n");
    let written = match STDERR.get() {
        Some(stderr) => stderr.clone().write_all(line.as_bytes()),
        None => std::io::stderr().lock().write_all(line.as_bytes()),
    };
    // Nobody is left to be told.
    written.unwrap_or_default();
}

fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    last_word(&format!(
        "thread `{}` {panic}",
        thread.name().unwrap_or("without a name")
    ));
}

/// Whether stderr takes colours: a terminal whose owner has not refused them.
pub(crate) fn colours() -> bool {
    std::io::stderr().is_terminal() && wants_colours()
}
