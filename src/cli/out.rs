//! Writing to stdout and stderr without dying of a closed pipe.

use std::io::Write;

use super::exit::{CommandFailure, Exit};

/// Writes `text` to stdout, with an end of line if it has none.
///
/// # Errors
/// When stdout is gone. A reader that has seen enough (`| head`) is no error: the failure then is
/// silent and ends the process with code 0.
pub(crate) fn print(text: &str) -> Result<(), CommandFailure> {
    let mut stdout = std::io::stdout().lock();
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(end))
        .and_then(|()| stdout.flush())
        .map_err(|error| failed(&error))
}

/// Why stdout could not be written; see [`print`] on a reader that has seen enough.
pub(crate) fn failed(error: &std::io::Error) -> CommandFailure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => CommandFailure::new(Exit::Done, ""),
        _ => CommandFailure::failed(format!("stdout can't be written: {error}")),
    }
}

/// Writes a JSON value and an end of line to stdout.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), CommandFailure> {
    print(&value.to_string())
}

/// Writes a line to stderr. Nobody is left to be told if that fails.
pub(crate) fn complain(text: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{text}").unwrap_or_default();
}
