//! Reads the configuration's file, or takes the defaults.

use std::path::Path;

use leasebridge::config::{self, Config};

use super::exit::CommandFailure;

/// The configuration in `file`; the defaults without one.
///
/// # Errors
/// Bad usage, when the file can't be read or anything in it is not allowed.
#[expect(
    clippy::disallowed_methods,
    reason = "the program reads its own configuration before anything of the library runs"
)]
pub(crate) fn load(file: Option<&Path>) -> Result<Config, CommandFailure> {
    let Some(file) = file else {
        return Ok(Config::default());
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| CommandFailure::usage(format!("{}: {error}", file.display())))?;
    config::parse(file, &text).map_err(|error| CommandFailure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let failure = load(Some(Path::new("/nowhere/x.toml"))).unwrap_err();
        assert!(
            failure.message.starts_with("/nowhere/x.toml: "),
            "{failure}"
        );
    }
}
