//! The command line as it is typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use leasebridge_sim::plan::Micros;
use leasebridge_sim::seed::Seed;

use super::exit::EXIT_CODES;
use super::part::Part;
use crate::failure::CommandFailure;
use crate::pool::Pool;

/// Seeded simulation of leasebridge: the product's own code under partitions, crashes and disk faults
#[derive(Debug, Parser)]
#[command(name = "leasebridge-sim", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Where scenarios are found by name [default: the nearest `scenarios` upwards from here]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) scenarios: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// List the scenarios
    List,
    Run(RunArgs),
    Explore(ExploreArgs),
    Replay(ReplayArgs),
    Shrink(ShrinkArgs),
    Meta(MetaArgs),
    Check(CheckArgs),
    Regress(RegressArgs),
    Planted(PlantedArgs),
    Bench(BenchArgs),
    Chaos(ChaosArgs),
}

/// How results are printed
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    #[default]
    Human,
    /// A JSON object a line
    Jsonl,
    /// JUnit's XML
    Junit,
    /// Annotations of GitHub Actions
    Github,
}

/// How many processes at once, and how long each may take.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PoolArgs {
    /// Processes at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,

    /// Seconds of processor time in which a seed must end; one that does nothing is given up after as many
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) budget: u64,
}

impl PoolArgs {
    /// The children as they were asked for.
    ///
    /// # Errors
    /// When this program doesn't find itself.
    pub(crate) fn pool(&self) -> Result<Pool, CommandFailure> {
        let mut pool = Pool::of_this_program(self.jobs)?;
        pool.budget = Duration::from_secs(self.budget);
        Ok(pool)
    }
}

/// What is written beside the report.
#[derive(Debug, Default, Args)]
pub(crate) struct Outputs {
    /// Write the plan here
    #[arg(long, value_name = "FILE")]
    pub(crate) plan_out: Option<PathBuf>,

    /// Write the history here
    #[arg(long, value_name = "FILE")]
    pub(crate) history_out: Option<PathBuf>,

    /// Of the timeline show faults, deaths and what stands around a violation
    #[arg(long)]
    pub(crate) short: bool,

    /// Write the run as a page for a browser
    #[arg(long, value_name = "FILE.html")]
    pub(crate) timeline: Option<PathBuf>,

    /// Write the run as a trace for Perfetto or Chrome
    #[arg(long, value_name = "FILE.json")]
    pub(crate) trace: Option<PathBuf>,

    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

/// Run one seed of a scenario: its plan, its timeline, its verdict
///
/// The same scenario, seed and commit give the same bytes, on every machine.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A scenario's name, or its file
    pub(crate) scenario: String,

    /// A number, or a commit hash
    #[arg(default_value = "0")]
    pub(crate) seed: Seed,

    #[command(flatten)]
    pub(crate) outputs: Outputs,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Run a saved plan
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A plan's file
    pub(crate) plan: PathBuf,

    #[command(flatten)]
    pub(crate) outputs: Outputs,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Run many seeds of many scenarios
///
/// Scenarios take turns, a few seeds of each at a time. What fails is told and its plan saved at once. Ends with a table,
/// also when it is stopped by Ctrl-C or SIGTERM; of each kind of failure the one with the smallest plan is shrunk.
#[derive(Debug, Args)]
pub(crate) struct ExploreArgs {
    /// Names or files of scenarios [default: all there are]
    #[arg(value_name = "SCENARIO")]
    pub(crate) names: Vec<String>,

    /// Seeds of each scenario
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) seeds: u64,

    /// Explore for so long instead, such as `90s` or `1h`: the scenarios share the processor time
    #[arg(long = "for", value_name = "TIME", conflicts_with = "seeds")]
    pub(crate) time: Option<Micros>,

    /// The first seed: a number, or a commit hash
    #[arg(long, value_name = "SEED", default_value = "0")]
    pub(crate) seed_from: Seed,

    /// Where plans of failures are saved
    #[arg(long, value_name = "DIR", default_value = "target/sim-failures")]
    pub(crate) failures: PathBuf,

    /// Also write JUnit's XML here, a test case a seed
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// Show for each site of the product's coverage catalogue how often which scenario reached it
    #[arg(long)]
    pub(crate) sites: bool,

    /// Go on to the last seed, whatever fails; without it, the turn in which something failed is the last one
    #[arg(long)]
    pub(crate) no_fail_fast: bool,

    /// Report failures as they are
    #[arg(long)]
    pub(crate) no_shrink: bool,

    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: OutputFormat,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Make a failing plan as small as it can be while it fails the same way
#[derive(Debug, Args)]
pub(crate) struct ShrinkArgs {
    /// A plan's file
    pub(crate) plan: PathBuf,

    /// Where the small plan goes [default: beside the plan, ending in `.small.toml`]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// So many runs at most
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub(crate) runs: u32,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Prove that a run depends on its plan alone: two processes, every TRACE event compared
#[derive(Debug, Args)]
pub(crate) struct MetaArgs {
    /// Names or files of scenarios [default: all there are]
    #[arg(value_name = "SCENARIO")]
    pub(crate) names: Vec<String>,

    /// Seeds of each scenario
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) seeds: u64,

    /// The first seed: a number, or a commit hash
    #[arg(long, value_name = "SEED", default_value = "0")]
    pub(crate) seed_from: Seed,

    /// The second process is this build of the simulator
    #[arg(long, value_name = "BINARY")]
    pub(crate) against: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Judge histories, real or simulated, with the same oracle
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files written with `--history` or `--history-out`; those of one run together
    #[arg(required = true, value_name = "HISTORY")]
    pub(crate) histories: Vec<PathBuf>,

    /// By how many milliseconds the clocks of their hosts may differ
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) skew_ms: u64,
}

/// Replay the plans of bugs that were found: each must pass
#[derive(Debug, Args)]
pub(crate) struct RegressArgs {
    /// Where they are [default: `regress` among the scenarios]
    #[arg(long, value_name = "DIR")]
    pub(crate) plans: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Hunt for bugs that were planted on purpose, one at a time
///
/// Each is a mistake somebody could really make. The table says which promise gave it away, in how many seeds, and
/// how small the plan is that shows it. One that isn't found is a hole in the simulator: exit code 5.
#[derive(Debug, Args)]
pub(crate) struct PlantedArgs {
    /// Only these bugs
    #[arg(long, value_name = "BUG", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Only the K-th of N interleaved parts of the catalogue: 2/4 is every fourth bug, from the second on
    #[arg(long, value_name = "K/N", conflicts_with = "only")]
    pub(crate) part: Option<Part>,

    /// So many seeds at most for each bug, over all scenarios of its group
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

/// Measure how many runs a second this machine does
///
/// A run is 60 simulated seconds, 200 commands and 10 faults. COST is the processor time of one run as a multiple of a
/// fixed loop measured in the same run: it can be compared between machines.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Seeds of each full-stack figure
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) seeds: u64,

    /// Runs of the core loop
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(crate) core_runs: u64,

    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) pool: PoolArgs,
}

/// Run real processes under kill -9, SIGSTOP, drains and a proxy that cuts and stalls
///
/// A bridge, a receiver and producers of the real binary, each writing a history. At the end everything is healed and must
/// be delivered; then the oracle judges the histories together. The same seed repeats the deeds, not the run.
#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// How long deeds are done
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) minutes: u64,

    /// What draws the deeds: a number, or a commit hash
    #[arg(long, value_name = "SEED", default_value = "0")]
    pub(crate) seed: Seed,

    /// The `leasebridge` binary [default: `leasebridge` beside this program, or in target/release]
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,

    /// Keep logs, histories and the file of executed commands here [default: a temporary folder, kept on failure]
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,

    /// Where the bridge keeps its log; on a small file system the disk runs full as well [default: with the rest]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Seconds in which everything must be delivered once everything is healed
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub(crate) patience: u64,
}
