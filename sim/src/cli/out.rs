//! Writing to stdout and stderr without dying of a closed pipe.

use crate::failure::CommandFailure;
use std::io::{ErrorKind, Write};

/// Writes `text` to stdout, with an end of line if it has none. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// When stdout can't be written.
pub(crate) fn print(text: &str) -> Result<(), CommandFailure> {
    let mut stdout = std::io::stdout().lock();
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(end))
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandFailure::about("stdout", error))
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr. Nobody is left to be told if that fails.
pub(crate) fn complain(text: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{text}").unwrap_or_default();
}
