//! `leasebridge run`: the bridge.
//!
//! Order of start: queue, routes, listener, links, services; what can be refused is refused before
//! anything is delivered. Order of end: no new commands, no new leases, what is in flight is finished or
//! given back, the log is sealed, the services end.

mod links;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use leasebridge::bridge::{Bridge, RunningBridge};
use leasebridge::config::OnMissingRoute;
use leasebridge::env::timeout;
use leasebridge::queue::{Command, LogFailure, OpenError, SafeTaskQueue};
use leasebridge::server::{Phase, ServerOptions, serve};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Context;
use super::exit::{Exit, Failure, Outcome};
use super::history::{self, End, Follower, History};
use super::signals::Signals;

/// How long sealing the log may take after a drain: a few syncs of a slow disk.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the services may take to send their last answers.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

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
}

/// The bridge while it runs, for the services to look at. Empty once it drains.
type Shared = Arc<Mutex<Option<RunningBridge>>>;

type Server = JoinHandle<Result<(), tonic::transport::Error>>;

/// Runs until a signal or a failure.
pub(crate) async fn run(args: RunArgs, context: Context) -> Outcome {
    let mut signals = Signals::catch()?;
    let (queue, mut follower) = open(&args, &context).await?;
    let (outcome, end) = match start(&context, &queue).await {
        Ok(house) => {
            let keeping = house.keep(&context, queue, &mut signals);
            tokio::select! {
                biased;
                failure = lost(&mut follower) => return Err(failure),
                outcome = keeping => {
                    let end = End::of(&outcome);
                    (outcome, end)
                }
            }
        }
        Err(failure) => {
            // Nothing was taken; the log is sealed so that the next start has nothing to recover.
            close(&context, &queue).await?;
            (Err(failure), End::Closed)
        }
    };
    if let Some(follower) = follower {
        let told = follower.end(end).await;
        told.map_err(|lost| Failure::failed(lost.to_string()))?;
    }
    outcome
}

/// Opens the queue, and the history of what happens in it if one is wanted.
async fn open(
    args: &RunArgs,
    context: &Context,
) -> Result<(SafeTaskQueue<Command>, Option<Follower>), Failure> {
    let env = &context.env;
    let history = match &args.history {
        None => None,
        Some(path) => {
            let writer = history::Writer {
                source: "run",
                host: history::BRIDGE.to_owned(),
            };
            Some(History::open(env, path, writer).await?)
        }
    };
    let options = context.config.queue_options(env.clone());
    let queue = match SafeTaskQueue::<Command>::open(options).await {
        Ok(queue) => queue,
        Err(error) => {
            if let Some((history, _)) = &history {
                let told = history::refused(history, &error).await;
                told.map_err(|lost| Failure::failed(lost.to_string()))?;
            }
            return Err(open_failed(&error));
        }
    };
    let follower = match history {
        None => None,
        Some((history, past)) => {
            Some(Follower::start(history, &past, env.clone(), queue.clone()).await?)
        }
    };
    Ok((queue, follower))
}

/// Completes when there is a history and it can't be written any more.
async fn lost(follower: &mut Option<Follower>) -> Failure {
    match follower {
        Some(follower) => follower.lost().await,
        None => std::future::pending().await,
    }
}

/// What runs beside the queue.
struct House {
    bridge: Shared,
    phase: watch::Sender<Phase>,
    server: Server,
}

async fn start(context: &Context, queue: &SafeTaskQueue<Command>) -> Result<House, Failure> {
    let config = &context.config;
    check_routes(context, queue)?;
    for name in config.routes.keys() {
        queue
            .define_route(name)
            .await
            .map_err(|error| Failure::new(Exit::Journal, error.to_string()))?;
    }
    let bound = context.env.transport.bind(&config.listen).await;
    let listener = bound
        .map_err(|error| Failure::failed(format!("can't listen on {}: {error}", config.listen)))?;
    let listen = listener.local_address();
    let running = Bridge::start(context.env.clone(), queue.clone(), config.bridge_options())
        .map_err(|error| Failure::usage(error.to_string()))?;
    let bridge: Shared = Arc::new(Mutex::new(Some(running)));
    let (phase, watching) = watch::channel(Phase::Serving);
    let shown = Arc::clone(&bridge);
    let server_options = ServerOptions {
        routes: config.bodies(),
        links: Arc::new(move || {
            let bridge = shown.lock().unwrap_or_else(PoisonError::into_inner);
            bridge
                .as_ref()
                .map(|bridge| links::of(&bridge.status()))
                .unwrap_or_default()
        }),
        phase: watching,
    };
    let server = tokio::spawn(serve(
        context.env.clone(),
        listener,
        queue.clone(),
        server_options,
    ));
    let counts = queue.counts();
    tracing::info!(
        listen = %listen,
        data = %config.data.display(),
        routes = config.routes.len(),
        ready = counts.ready,
        delayed = counts.delayed,
        poison = counts.poison,
        "the bridge is ready"
    );
    Ok(House {
        bridge,
        phase,
        server,
    })
}

/// Tasks on routes that nobody configured would wait for ever: that is for a person to decide.
fn check_routes(context: &Context, queue: &SafeTaskQueue<Command>) -> Result<(), Failure> {
    let config = &context.config;
    let mut lines = Vec::new();
    for route in queue.status().routes {
        let tasks = route.counts.pending() + route.counts.poison;
        if tasks == 0 || config.routes.contains_key(&route.route) {
            continue;
        }
        if config.on_missing_route == OnMissingRoute::Hold {
            tracing::warn!(
                route = route.route,
                tasks,
                "holds the tasks of a route that is not configured"
            );
            continue;
        }
        lines.push(format!(
            "  {}: {} waiting, {} in poison",
            super::words::safe(&route.route),
            route.counts.pending(),
            route.counts.poison
        ));
    }
    if lines.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the queue in {} holds tasks of routes that are not configured:\n{}\nconfigure them, or set \
         `on_missing_route = \"hold\"` and move them with `leasebridge route move`",
        config.data.display(),
        lines.join("\n")
    )))
}

impl House {
    /// Waits for the end and sees to it.
    async fn keep(
        mut self,
        context: &Context,
        queue: SafeTaskQueue<Command>,
        signals: &mut Signals,
    ) -> Outcome {
        let signal = tokio::select! {
            biased;
            failure = queue.failed() => return Err(journal_failed(&failure)),
            signal = signals.next() => signal,
            ended = &mut self.server => {
                let why = match ended {
                    Ok(Ok(())) => "it ended by itself".into(),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                return Err(Failure::failed(format!("the services ended: {why}")));
            }
        };
        tracing::info!(
            signal = signal.code() - 128,
            timeout = %context.config.drain_timeout,
            "draining; a second signal ends it at once"
        );
        tokio::select! {
            biased;
            second = signals.next() => {
                tracing::warn!("ended by a second signal; what was in flight is in doubt");
                Ok(second)
            }
            failure = queue.failed() => Err(journal_failed(&failure)),
            drained = self.drain(context, &queue) => drained,
        }
    }

    async fn drain(&mut self, context: &Context, queue: &SafeTaskQueue<Command>) -> Outcome {
        self.phase.send_replace(Phase::Draining);
        let bridge = self
            .bridge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(bridge) = bridge {
            let report = bridge.drain(context.config.drain_timeout.get()).await;
            if !report.in_time {
                tracing::warn!(
                    "not all that was in flight was answered in time; it will come again"
                );
            }
        }
        close(context, queue).await?;
        self.phase.send_replace(Phase::Stopping);
        let farewell = timeout(&*context.env.clock, FAREWELL_TIMEOUT, &mut self.server);
        if farewell.await.is_err() {
            self.server.abort();
        }
        tracing::info!("the bridge has ended");
        Ok(Exit::Done)
    }
}

async fn close(context: &Context, queue: &SafeTaskQueue<Command>) -> Result<(), Failure> {
    match timeout(&*context.env.clock, CLOSE_TIMEOUT, queue.close()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(journal_failed(&failure)),
        Err(_) => Err(Failure::new(
            Exit::Journal,
            "the disk didn't finish in time: the log is not sealed, the next start recovers it",
        )),
    }
}

fn open_failed(error: &OpenError) -> Failure {
    let exit = match error {
        OpenError::Options(_) => Exit::Usage,
        OpenError::Geometry(_) | OpenError::Log(_) | OpenError::Journal(_) => Exit::Journal,
        OpenError::Thread(_) => Exit::Failed,
    };
    Failure::new(exit, error.to_string())
}

fn journal_failed(failure: &LogFailure) -> Failure {
    Failure::new(Exit::Journal, failure.to_string())
}
