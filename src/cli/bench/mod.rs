//! `leasebridge bench`: figures beside the baselines they are to be judged by.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a baseline is what the machine does without the seams, and a benchmark reads the real clock"
)]

mod baseline;
mod bridge;
mod cost;
mod figures;
mod foreign;
mod helper;
mod network;
mod processor;
mod queue;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use leasebridge::bridge::StartError;
use leasebridge::queue::{EnqueueError, LeaseError, LogFailure, OpenError};

use super::exit::{CommandFailure, CommandResult, Exit};
use super::out;
use super::signals::Signals;
use report::{BenchReport, Figure};

/// Measure the queue, the bridge and the whole way on this machine
///
/// Each figure stands beside a baseline measured in the same run. `raw` writes the same bytes in the same
/// batches to a pre-zeroed file with one fdatasync a batch; `group` has the same number of async callers,
/// each appending the same bytes to one buffer and waiting for the shared fdatasync. Medians of --rounds.
/// Processor time counts all threads, in units of the simulator's calibration loop: it can be compared between
/// machines, and on one that is busy.
///
/// Examples:
///   leasebridge bench queue
///   leasebridge bench queue --only 1024
///   leasebridge bench bridge --json
///   leasebridge bench network --rounds 3
///   leasebridge bench crowd --connections 5000
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: BenchSubject,

    /// Rounds of each figure; the median is shown
    #[arg(long, global = true, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=101))]
    rounds: u32,

    /// Divide the amount of work by this, for a quick look
    #[arg(long, global = true, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    shorten: u32,

    /// Work in a new folder inside this one; it decides which disk is measured
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Take only the figures with this text in their names, such as `1024`, `callers` or `lone`
    #[arg(long, global = true, value_name = "TEXT")]
    only: Option<String>,

    /// Print the figures as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum BenchSubject {
    /// Enqueue, lease and acknowledge, each durable; memory, recovery and log size
    Queue,
    /// Through the bridge to an endpoint in a process of its own, over each transport
    Bridge,
    /// Producers, bridge and endpoint, each in a process of its own; beside them the same through Redis
    ///
    /// Commands a second from the first call to the last settlement, how soon they are durable and executed, and
    /// the processor time of each process. `redis-server` is started with `appendonly yes` and `appendfsync
    /// always`, if it is installed.
    Network,
    /// The same beside connections that say nothing, send a byte at a time, or never read; and without them
    ///
    /// Honest traffic keeps four fifths of its rate beside 5,000 of them, as long as those leave it the processor: on few
    /// processors what the crowd itself uses is part of what is seen.
    Crowd {
        /// How many there are
        #[arg(long, value_name = "N", default_value_t = 5_000,
              value_parser = clap::value_parser!(u32).range(1..=50_000))]
        connections: u32,
    },
    /// The endpoint of `bench network`
    #[command(hide = true)]
    NetworkEndpoint,
    /// The producers of `bench network`
    #[command(hide = true)]
    Producers(network::ProducersArgs),
    /// The others of `bench crowd`
    #[command(hide = true)]
    CrowdOf(network::CrowdArgs),
    /// The consumer of `bench network` that Redis has
    #[command(hide = true)]
    RedisConsumer(network::ConsumerArgs),
    /// An endpoint that executes nothing, for `bench bridge`
    #[command(hide = true)]
    Endpoint,
    /// An endpoint that answers one command after the other, for `bench bridge`
    #[command(hide = true)]
    Foreign,
    /// Recover a folder and say what it took, for `bench queue`
    #[command(hide = true)]
    Recover,
}

/// A benchmark that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Journal(#[from] LogFailure),
    #[error(transparent)]
    Bridge(#[from] StartError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Call(#[from] tonic::Status),
    #[error("of {wanted} commands {found} were seen")]
    Unseen { wanted: u64, found: u64 },
    #[error("{wanted} commands were accepted and {found} were found after the recovery")]
    Lost { wanted: u64, found: u64 },
    #[error("the calibration loop came to {0:#x}: it is not the loop that figures are measured by")]
    Miscounted(u64),
    #[error("the helping process said what nobody understands: {0}")]
    Helper(String),
}

impl BenchError {
    fn is_locked(&self) -> bool {
        matches!(self, Self::Open(error) if error.is_locked())
    }
}

impl BenchArgs {
    fn wants(&self, figure: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| figure.contains(only.as_str()))
    }
}

/// Runs a benchmark and prints its table, or is the helping process of one.
pub(crate) async fn run(args: BenchArgs) -> CommandResult {
    let helped = match args.what {
        BenchSubject::Endpoint => bridge::endpoint().await,
        BenchSubject::Foreign => foreign::endpoint().await,
        BenchSubject::NetworkEndpoint => network::endpoint().await,
        BenchSubject::Producers(args) => network::producers(args).await,
        BenchSubject::CrowdOf(args) => network::crowd(args).await,
        BenchSubject::RedisConsumer(args) => network::consume(args).await,
        BenchSubject::Recover => {
            let recovered = queue::recover(&args.dir).await.map_err(failed)?;
            return out::print_json(&recovered).map(|()| Exit::Done);
        }
        BenchSubject::Queue
        | BenchSubject::Bridge
        | BenchSubject::Network
        | BenchSubject::Crowd { .. } => return measure(&args).await,
    };
    helped.map(|()| Exit::Done).map_err(failed)
}

fn failed(error: BenchError) -> CommandFailure {
    CommandFailure::failed(error.to_string())
}

async fn measure(args: &BenchArgs) -> CommandResult {
    let mut signals = Signals::catch()?;
    let folder = tempfile::Builder::new()
        .prefix("leasebridge-bench-")
        .tempdir_in(&args.dir)
        .map_err(|error| CommandFailure::failed(format!("{}: {error}", args.dir.display())))?;
    let ended = tokio::select! {
        biased;
        // BenchSubject is measured is dropped, and its processes are killed with it.
        signal = signals.next() => Ok(signal),
        shown = measure_in(args, folder.path()) => shown.map(|()| Exit::Done),
    };
    clear(folder.path()).await?;
    ended
}

/// Removes the folder: a process that was just killed may make one more file in it.
async fn clear(dir: &Path) -> Result<(), CommandFailure> {
    let mut tries = 1;
    while let Err(error) = std::fs::remove_dir_all(dir) {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        if tries == CLEARINGS_MAX {
            return Err(CommandFailure::failed(format!(
                "{}: {error}",
                dir.display()
            )));
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn measure_in(args: &BenchArgs, dir: &Path) -> Result<(), CommandFailure> {
    match args.what {
        BenchSubject::Network => {
            let report = network::measure(args, dir).await.map_err(failed)?;
            report.print(args.json)
        }
        BenchSubject::Crowd { connections } => {
            let report = network::measure_beside(args, connections, dir).await;
            report.map_err(failed)?.print(args.json)
        }
        BenchSubject::Bridge => {
            let report = measure_bridge(args, dir).await.map_err(failed)?;
            report.print(args.json)
        }
        _ => {
            let report = figures::measure(args, dir).await.map_err(failed)?;
            report.print(args.json)
        }
    }
}

/// How often a folder is removed, 20 ms apart: a process that is killed in a sync ends with it.
const CLEARINGS_MAX: u32 = 100;

async fn measure_bridge(args: &BenchArgs, dir: &Path) -> Result<BenchReport, BenchError> {
    let mut report = BenchReport::new("bridge", args.rounds);
    let commands = (200_000 / args.shorten as usize).max(1000);
    for (transport, reach) in [
        (bridge::Over::Socket, 50_000.0),
        (bridge::Over::Grpc, 25_000.0),
    ] {
        let name = format!("commands/s over {}", transport.name());
        if !args.wants(&name) {
            continue;
        }
        let mut figure = Figure::at_least(&name, reach);
        for _ in 0..args.rounds {
            figure.add_alone(bridge::deliver(&fresh(dir)?, commands, transport).await?);
        }
        report.push(figure);
    }
    let commands = (20_000 / args.shorten as usize).max(1000);
    for transport in [bridge::Over::Socket, bridge::Over::Grpc] {
        let name = format!("µs/command over {}, foreign", transport.name());
        if !args.wants(&name) {
            continue;
        }
        let mut figure = Figure::at_most(&name, 100.0);
        for _ in 0..args.rounds {
            figure.add_alone(bridge::cost(&fresh(dir)?, commands, transport).await?);
        }
        report.push(figure);
    }
    Ok(report)
}

/// An empty folder; what the measurement before left is gone.
fn fresh(dir: &Path) -> Result<PathBuf, BenchError> {
    let path = dir.join("round");
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => std::fs::create_dir_all(&path)?,
    }
    Ok(path)
}
