//! Reads a configuration, or takes the defaults.

use std::path::Path;

use super::fault::Source;
use super::{Config, ConfigFault, check};

/// The configuration in `file`; the defaults without one.
///
/// # Errors
/// [`ConfigFault`] when the file can't be read or anything in it is not allowed.
#[expect(
    clippy::disallowed_methods,
    reason = "the program reads its own configuration before anything of the library runs"
)]
pub(crate) fn load(file: Option<&Path>) -> Result<Config, ConfigFault> {
    let Some(file) = file else {
        return Ok(Config::default());
    };
    let text = std::fs::read_to_string(file).map_err(|source| ConfigFault::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    parse(file, &text)
}

/// The configuration `text`, which stands in `file`.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Config, ConfigFault> {
    let source = Source::new(file, text);
    let config: Config = toml::from_str(text).map_err(|error| source.refused(&error))?;
    check::check(&config, &source)?;
    Ok(config)
}
