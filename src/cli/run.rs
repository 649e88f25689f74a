//! `leasebridge run`: a node under a person's hands: its signals, its history, its exit code, and its words.

use std::path::PathBuf;

use clap::Args;
use leasebridge::config::bridge_open;
use leasebridge::node::{MissingRoute, Node, NodeFailure, OpenNode, StartError};
use leasebridge::queue::log::files::NewLog;

use super::exit::{CommandFailure, CommandResult, Exit};
use super::history::{self, Follower, HistorySink, QueueEnd};
use super::signals::Signals;
use super::{Context, descriptors};

/// Run the bridge: take commands from producers and deliver them to the routes' endpoints
///
/// SIGINT and SIGTERM drain it: nothing new is taken, what is in flight is finished or given back within
/// `drain_timeout`, and it exits with 0. A second signal ends it at once; nothing is lost then either,
/// but what was in flight is in doubt.
///
/// Examples:
///   leasebridge run
///   leasebridge run --config leasebridge.toml --log-format json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    /// Write what happens in the queue to this file, a JSON record a line, for `leasebridge-sim check`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Begin an empty journal, even where there has been one or `require_existing` wants one
    #[arg(long)]
    new: bool,
}

/// Runs until a signal or a failure.
pub(crate) async fn run(args: RunArgs, context: Context) -> CommandResult {
    let mut signals = Signals::catch()?;
    let (node, mut follower) = open(&args, &context).await?;
    let (outcome, end) = match node.start().await {
        Ok(node) => {
            announce(&context, &node);
            let keeping = keep(&context, node, &mut signals);
            tokio::select! {
                biased;
                failure = lost(&mut follower) => return Err(failure),
                outcome = keeping => {
                    let end = QueueEnd::of(&outcome);
                    (outcome, end)
                }
            }
        }
        Err(StartError::Failed(failure)) => return Err(failed(&failure)),
        // Nothing was taken, and the log is sealed.
        Err(error) => (Err(not_started(error)), QueueEnd::Closed),
    };
    if let Some(follower) = follower {
        let told = follower.end(end).await;
        told.map_err(|lost| CommandFailure::failed(lost.to_string()))?;
    }
    outcome
}

/// Opens the queue, and the history of what happens in it if one is wanted.
async fn open(
    args: &RunArgs,
    context: &Context,
) -> Result<(OpenNode, Option<Follower>), CommandFailure> {
    let env = &context.env;
    let history = match &args.history {
        None => None,
        Some(path) => {
            let writer = history::Writer {
                source: "run",
                host: history::BRIDGE.to_owned(),
            };
            Some(HistorySink::open(env, path, writer).await?)
        }
    };
    let mut options = context.config.node_options();
    options.open_files_max = context.open_files_max;
    let others = descriptors::of_bridge(&options);
    options.connections_max =
        descriptors::connections(context.open_files_max, others, 1, options.connections_max);
    if args.new {
        options.queue.new_log = NewLog::BeginAndMark;
    }
    let node = match Node::open(env.clone(), options).await {
        Ok(node) => node,
        Err(error) => {
            if let Some((history, _)) = &history {
                let told = history::refused(history, &error).await;
                told.map_err(|lost| CommandFailure::failed(lost.to_string()))?;
            }
            return Err(not_started(error.into()));
        }
    };
    let follower = match history {
        None => None,
        Some((history, past)) => {
            let queue = node.queue().clone();
            Some(Follower::start(history, &past, env.clone(), queue).await?)
        }
    };
    Ok((node, follower))
}

/// Completes when there is a history and it can't be written any more.
async fn lost(follower: &mut Option<Follower>) -> CommandFailure {
    match follower {
        Some(follower) => follower.lost().await,
        None => std::future::pending().await,
    }
}

fn announce(context: &Context, node: &Node) {
    let counts = node.queue().counts();
    tracing::info!(
        listen = %node.address(),
        data = %context.config.data.display(),
        routes = context.config.routes.len(),
        ready = counts.ready,
        delayed = counts.delayed,
        poison = counts.poison,
        "the bridge is ready"
    );
    if let Some(warning) = bridge_open("listen", node.address()) {
        tracing::warn!("{warning}");
    }
}

/// Waits for the end and sees to it.
async fn keep(context: &Context, node: Node, signals: &mut Signals) -> CommandResult {
    let signal = tokio::select! {
        biased;
        failure = node.ended() => return Err(failed(&failure)),
        signal = signals.next() => signal,
    };
    tracing::info!(
        signal = signal.code() - 128,
        timeout = %context.config.drain_timeout,
        "draining; a second signal ends it at once"
    );
    let drained = tokio::select! {
        biased;
        second = signals.next() => {
            tracing::warn!("ended by a second signal; what was in flight is in doubt");
            return Ok(second);
        }
        drained = node.drain() => drained.map_err(|failure| failed(&failure))?,
    };
    if !drained.in_time {
        tracing::warn!("not all that was in flight was answered in time; it will come again");
    }
    tracing::info!("the bridge has ended");
    Ok(Exit::Done)
}

fn not_started(error: StartError) -> CommandFailure {
    let message = match &error {
        StartError::MissingRoutes { dir, routes } => format!(
            "the queue in {} holds tasks of routes that are not configured:\n{}\nconfigure them, or set \
             `on_missing_route = \"hold\"` and move them with `leasebridge route move`",
            dir.display(),
            routes.iter().map(line).collect::<Vec<_>>().join("\n")
        ),
        error => error.to_string(),
    };
    CommandFailure::new(error.kind().into(), message)
}

fn line(missing: &MissingRoute) -> String {
    let MissingRoute {
        route,
        pending,
        poison,
    } = missing;
    let route = super::words::safe(route);
    format!("  {route}: {pending} waiting, {poison} in poison")
}

fn failed(failure: &NodeFailure) -> CommandFailure {
    CommandFailure::new(failure.kind().into(), failure.to_string())
}
