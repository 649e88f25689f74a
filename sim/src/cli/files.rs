//! Scenarios and plans as files.

use std::path::{Path, PathBuf};

use crate::failure::CommandFailure;
use leasebridge_sim::plan::Plan;
use leasebridge_sim::scenario::Scenario;

/// The folder of scenarios: as given, or the nearest one upwards from here.
///
/// # Errors
/// When there is none.
pub(crate) fn folder(given: Option<PathBuf>) -> Result<PathBuf, CommandFailure> {
    if let Some(given) = given {
        return if given.is_dir() {
            Ok(given)
        } else {
            Err(CommandFailure::about(
                given.display(),
                "there is no such folder",
            ))
        };
    }
    let here = std::env::current_dir()?;
    let found = here
        .ancestors()
        .map(|up| up.join("scenarios"))
        .find(|folder| folder.is_dir());
    found.ok_or_else(|| {
        CommandFailure::because(
            "there is no folder `scenarios` here or above; name it with --scenarios",
        )
    })
}

/// The `.toml` files of a folder, by name.
///
/// # Errors
/// When it can't be read.
pub(crate) fn tomls(folder: &Path) -> Result<Vec<PathBuf>, CommandFailure> {
    let about = |error| CommandFailure::about(folder.display(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(about)? {
        let path = entry.map_err(about)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The scenarios of these names or files; all there are if none is named.
///
/// # Errors
/// When one is unknown or wrong.
pub(crate) fn scenarios(
    names: &[String],
    given: Option<PathBuf>,
) -> Result<Vec<Scenario>, CommandFailure> {
    if names.is_empty() {
        let folder = folder(given)?;
        let files = tomls(&folder)?;
        if files.is_empty() {
            return Err(CommandFailure::about(
                folder.display(),
                "there is no scenario in this folder",
            ));
        }
        return files.iter().map(|file| load(file)).collect();
    }
    names
        .iter()
        .map(|name| scenario(name, given.clone()))
        .collect()
}

/// The scenario of this name or file.
///
/// # Errors
/// When it is unknown or wrong.
pub(crate) fn scenario(name: &str, given: Option<PathBuf>) -> Result<Scenario, CommandFailure> {
    let path = Path::new(name);
    if path.extension().is_some() || path.components().count() > 1 {
        return load(path);
    }
    let folder = folder(given)?;
    let file = folder.join(format!("{name}.toml"));
    if file.is_file() {
        return load(&file);
    }
    let names: Vec<_> = tomls(&folder)?
        .iter()
        .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let known = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    Err(CommandFailure::from(format!(
        "there is no scenario `{name}`; there are: {known}"
    )))
}

fn load(file: &Path) -> Result<Scenario, CommandFailure> {
    Scenario::load(file).map_err(CommandFailure::because)
}

/// A saved plan.
///
/// # Errors
/// When it can't be read, or is none.
pub(crate) fn plan(file: &Path) -> Result<Plan, CommandFailure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CommandFailure::about(file.display(), error))?;
    Plan::parse(&text).map_err(|error| CommandFailure::about(file.display(), error))
}

/// Writes a file, and the folder it is in.
///
/// # Errors
/// When it can't.
pub(crate) fn write(file: &Path, text: &[u8]) -> Result<(), CommandFailure> {
    let about = |error| CommandFailure::about(file.display(), error);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(about)?;
    }
    std::fs::write(file, text).map_err(about)
}
