//! Makes the build with defects, and runs it in this one's place.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::exit::CommandResult;
use crate::cli::out;
use crate::failure::CommandFailure;

/// Where the build goes: nothing of it may ever be mistaken for a normal one.
const TARGET: &str = "target/planted";

/// Builds, then becomes the program that was built, with the same arguments.
///
/// # Errors
/// When cargo isn't there, or fails.
pub(super) fn build_and_hand_over() -> CommandResult {
    let root = root()?;
    let target = root.join(TARGET);
    out::complain("building the simulator with planted bugs (the first time takes a few minutes)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(&root)
        .args([
            "build",
            "--quiet",
            "--profile",
            "sim",
            "--package",
            "leasebridge-sim",
            "--target-dir",
        ])
        .arg(&target)
        .env(
            "RUSTFLAGS",
            "--cfg tokio_unstable --cfg leasebridge_planted",
        )
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .map_err(|error| CommandFailure::about("cargo can't be started", error))?;
    if !status.success() {
        return Err(CommandFailure::because(
            "the build with planted bugs failed; cargo said why",
        ));
    }
    match become_(&target.join("sim/leasebridge-sim")) {
        Err(failure) => Err(failure),
    }
}

/// Never returns if it succeeds.
fn become_(program: &Path) -> Result<Infallible, CommandFailure> {
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(CommandFailure::about(program.display(), error))
}

/// The folder of the workspace: the nearest one upwards that has the simulator's package.
fn root() -> Result<PathBuf, CommandFailure> {
    let here = std::env::current_dir()?;
    let found = here
        .ancestors()
        .find(|up| up.join("sim/shim/Cargo.toml").is_file());
    found.map(Path::to_owned).ok_or_else(|| {
        CommandFailure::because(
            "planted bugs are built from source: run this inside a checkout of leasebridge",
        )
    })
}
