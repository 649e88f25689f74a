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

use clap::Args;
use leasebridge_sim::seed::Seed;

use super::args::PoolArgs;
use super::exit::Ended;

/// Names the bug that a child of a build with defects turns on.
#[cfg(leasebridge_planted)]
pub(crate) const CHOSEN: &str = "LEASEBRIDGE_SIM_PLANTED";

/// Hunt for bugs that were planted on purpose, one at a time
///
/// Each is a mistake somebody could really make. The table says which promise gave it away, in how many seeds, and
/// how small the plan is that shows it. One that isn't found is a hole in the simulator: exit code 5.
#[derive(Debug, Args)]
pub(crate) struct PlantedArgs {
    /// Only these bugs
    #[arg(long, value_name = "BUG", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Only every fourth bug of the catalogue, for a quick look
    #[arg(long, conflicts_with = "only")]
    pub(crate) subset: bool,

    /// So many seeds at most for each bug, over all scenarios
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub(crate) seeds: u64,

    /// The first seed: a number, or a commit hash
    #[arg(long, value_name = "SEED", default_value = "0")]
    pub(crate) seed_from: Seed,

    /// Hunt so often for each bug, from other seeds each time, and show the median
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,

    /// Scenarios to hunt in, in this order [default: all there are]
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    pub(crate) within: Vec<String>,

    /// Leave the plans as they were found
    #[arg(long)]
    pub(crate) no_shrink: bool,

    /// Where the plans that show the bugs are saved
    #[arg(long, value_name = "DIR", default_value = "target/planted/plans")]
    pub(crate) plans: PathBuf,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Builds and hands over.
#[cfg(not(leasebridge_planted))]
#[expect(clippy::unused_async, reason = "the build with defects hunts here")]
pub(crate) async fn run(_args: PlantedArgs, _folder: Option<PathBuf>) -> Ended {
    build::build_and_hand_over()
}

/// Hunts.
#[cfg(leasebridge_planted)]
pub(crate) async fn run(args: PlantedArgs, folder: Option<PathBuf>) -> Ended {
    hunt::run(args, folder).await
}
