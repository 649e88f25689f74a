//! `leasebridge-sim planted`: does the simulator bite?
//!
//! A normal build holds no defect. It builds another one of itself, with `--cfg leasebridge_planted` and in a target folder
//! of its own, and hands over; that one hunts for each defect of the catalogue in turn.

#[cfg(not(leasebridge_planted))]
mod build;
#[cfg(leasebridge_planted)]
mod hunt;
#[cfg(leasebridge_planted)]
mod table;

use std::path::PathBuf;

use super::args::PlantedArgs;
use super::exit::CommandResult;

/// Builds and hands over.
#[cfg(not(leasebridge_planted))]
#[expect(clippy::unused_async, reason = "the build with defects hunts here")]
pub(crate) async fn run(_args: PlantedArgs, _folder: Option<PathBuf>) -> CommandResult {
    build::build_and_hand_over()
}

/// Hunts for each planted defect that was asked for, in a build that has them.
#[cfg(leasebridge_planted)]
pub(crate) async fn run(args: PlantedArgs, folder: Option<PathBuf>) -> CommandResult {
    hunt::run(args, folder).await
}
