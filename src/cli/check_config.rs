//! `leasebridge check-config`: is the configuration right, and what does it come to?

mod settings;

use std::path::Path;

use leasebridge::config::Config;

use super::exit::{CommandResult, Exit};
use super::out;

/// Prints what was read. A wrong configuration never comes here: it is refused before.
pub(crate) fn run(file: Option<&Path>, config: &Config) -> CommandResult {
    out::print(&report(file, config))?;
    Ok(Exit::Done)
}

/// Comments and settings: what is printed is itself a configuration, but for the secrets.
fn report(file: Option<&Path>, config: &Config) -> String {
    let source = match file {
        None => "no file, these are the defaults".into(),
        Some(file) => super::words::safe(&file.display().to_string()),
    };
    let mut lines = vec![format!("# configuration is good: {source}")];
    let warnings = config.warnings();
    lines.extend(
        warnings
            .iter()
            .map(|warning| format!("# warning: {warning}")),
    );
    lines.push(String::new());
    lines.extend(settings::all(config));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_reported() {
        insta::assert_snapshot!(report(None, &Config::default()));
    }

    #[test]
    fn what_strangers_can_reach_is_warned_of() {
        let text = "listen = \"0.0.0.0:7410\"\nreceiver.socket = \"[::]:7420\"\n\
                    routes.a = { grpc = \"127.0.0.1:1\", max_age = \"2d\", window = 5 }";
        let config = leasebridge::config::parse(Path::new("x.toml"), text).expect("it is good");
        insta::assert_snapshot!(report(Some(Path::new("x.toml")), &config));
    }
}
