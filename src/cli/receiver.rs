//! `leasebridge receiver`: an endpoint to try a bridge with, and to learn from.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Args;
use leasebridge::config::{Span, receiver_open};
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::observe::ReceiverStats;
use leasebridge::receiver::store::EffectLine;
use leasebridge::receiver::{
    Delivered, EffectFile, EffectLog, Handler, HandlerError, MemoryStore, Receiver, ReceiverError,
    ReceiverFailure, ReceiverOptions, ReceiverOptionsError, RunningReceiver,
};

use super::exit::{CommandFailure, CommandResult, Exit};
use super::history::{HistorySink, Past, ToldEffects, ToldHandler, ToldStore, Writer};
use super::signals::Signals;
use super::{Context, descriptors, words};

/// How often it says what it has executed, if anything.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Run an endpoint that executes commands by writing them down
///
/// With --out each executed command is one line of a file, written and synced before the bridge hears of
/// it: route, task id, epoch, key and body, separated by tabs. The file is the inbox too: killed and
/// started again with the same file, the receiver executes nothing twice. Without it commands are only
/// counted, and whoever restarts the receiver has lost its memory.
///
/// To see what a bridge makes of an endpoint in trouble, --reject, --refuse and --slow play one.
///
/// Examples:
///   leasebridge receiver
///   leasebridge receiver --out executed.tsv
///   leasebridge receiver --print --reject 30 --slow 200ms
///   leasebridge receiver --print --socket 127.0.0.1:7430 --grpc 127.0.0.1:7431
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ReceiverArgs {
    /// Append each executed command to this file, durably
    #[arg(long, value_name = "FILE", conflicts_with = "print")]
    out: Option<PathBuf>,

    /// Print each executed command to stdout, in the format of --out
    #[arg(long)]
    print: bool,

    /// Reject so many of 100 commands: the bridge tries them again
    #[arg(long, value_name = "PERCENT", conflicts_with = "out",
        value_parser = clap::value_parser!(u8).range(0..=100))]
    reject: Option<u8>,

    /// Refuse every command: the bridge puts them into poison
    #[arg(long, conflicts_with_all = ["out", "reject"])]
    refuse: bool,

    /// Take so long for each command
    #[arg(long, value_name = "DURATION", conflicts_with = "out")]
    slow: Option<Span>,

    /// Where the framed socket listens [default: `receiver.socket` of the configuration,
    /// 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS")]
    socket: Option<Address>,

    /// Where gRPC listens [default: `receiver.grpc` of the configuration, 127.0.0.1:7421]
    #[arg(long, value_name = "ADDRESS")]
    grpc: Option<Address>,

    /// Write what is executed to this file, a JSON record a line, for `leasebridge-sim check`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    /// What that file calls this endpoint
    #[arg(
        long,
        value_name = "NAME",
        default_value = "endpoint",
        requires = "history"
    )]
    history_host: String,
}

/// Executes commands until a signal comes or the file fails.
pub(crate) async fn run(args: ReceiverArgs, context: Context) -> CommandResult {
    let mut signals = Signals::catch()?;
    let history = match &args.history {
        None => None,
        Some(path) => {
            let writer = Writer {
                source: "receiver",
                host: args.history_host.clone(),
            };
            Some(HistorySink::open(&context.env, path, writer).await?)
        }
    };
    let receiver = build(&args, &context, history)?;
    let running = receiver
        .start(context.env.clone())
        .await
        .map_err(|error| start_failed(&error))?;
    tracing::info!(
        socket = %running.socket_address(),
        grpc = %running.grpc_address().map_or_else(|| "none".into(), ToString::to_string),
        "the receiver is ready"
    );
    warn(&context, &running);
    let first = loop {
        tokio::select! {
            biased;
            signal = signals.next() => break signal,
            failure = running.failed() => return Err(failed(&failure)),
            () = report(&running, &context) => {}
        }
    };
    tracing::info!(
        signal = first.code() - 128,
        "the receiver drains; a second signal ends it at once"
    );
    let stats = running.stats();
    let drain = running.shutdown(context.config.drain_timeout.get());
    let report = tokio::select! {
        biased;
        second = signals.next() => return Ok(second),
        report = drain => report,
    };
    if report.unfinished > 0 {
        tracing::warn!(
            commands = report.unfinished,
            "left unfinished; they will come again"
        );
    }
    tracing::info!(executed = stats.executed, "the receiver has ended");
    Ok(Exit::Done)
}

/// Says what strangers can reach.
fn warn(context: &Context, running: &RunningReceiver) {
    let secret = &context.config.receiver.credentials;
    let socket = receiver_open("receiver.socket", running.socket_address(), secret);
    let grpc = running.grpc_address();
    let grpc = grpc.and_then(|address| receiver_open("receiver.grpc", address, secret));
    for warning in socket.into_iter().chain(grpc) {
        tracing::warn!("{warning}");
    }
}

fn build(
    args: &ReceiverArgs,
    context: &Context,
    history: Option<(HistorySink, Past)>,
) -> Result<Receiver, CommandFailure> {
    let config = &context.config.receiver;
    let socket = args.socket.clone().unwrap_or_else(|| config.socket.clone());
    let grpc = args.grpc.clone().unwrap_or_else(|| config.grpc.clone());
    let defaults = ReceiverOptions::new(socket);
    let options = ReceiverOptions {
        grpc: Some(grpc),
        connections_max: descriptors::connections(
            context.open_files_max,
            0,
            2,
            defaults.connections_max,
        ),
        credentials: Bytes::from(config.credentials.0.clone()),
        body_bytes_max: config.max_body.to_u32(),
        heartbeat: config.heartbeat.get(),
        ..defaults
    };
    let receiver = match &args.out {
        Some(path) => {
            let file = EffectFile::new(&context.env, path)
                .map_err(|error| CommandFailure::failed(error.to_string()))?;
            Receiver::with_effects(options, effects(file, history))
        }
        None if args.print => handled(
            options,
            args.practice(Printer, context),
            &context.env,
            history,
        ),
        None => handled(
            options,
            args.practice(CountingHandler, context),
            &context.env,
            history,
        ),
    };
    receiver.map_err(|error| CommandFailure::usage(error.to_string()))
}

fn effects(file: EffectFile, history: Option<(HistorySink, Past)>) -> Arc<dyn EffectLog> {
    match history {
        None => Arc::new(file),
        Some((history, past)) => Arc::new(ToldEffects {
            inner: file,
            history,
            past: Mutex::new(past),
        }),
    }
}

fn handled(
    options: ReceiverOptions,
    inner: impl Handler,
    env: &Env,
    history: Option<(HistorySink, Past)>,
) -> Result<Receiver, ReceiverOptionsError> {
    let Some((history, past)) = history else {
        return Receiver::new(options, Arc::new(inner));
    };
    let store = ToldStore {
        inner: MemoryStore::new(Arc::clone(&env.entropy)),
        history: history.clone(),
        boots: past.boots,
    };
    let handler = ToldHandler { inner, history };
    Receiver::with_store(options, Arc::new(handler), Arc::new(store))
}

fn failed(failure: &ReceiverFailure) -> CommandFailure {
    match failure {
        ReceiverFailure::Store(error) => CommandFailure::new(
            Exit::Journal,
            format!("{error}; what was answered is on disk, restart to go on"),
        ),
        ReceiverFailure::Part { .. } => CommandFailure::failed(failure.to_string()),
    }
}

fn start_failed(error: &ReceiverError) -> CommandFailure {
    let exit = match error {
        ReceiverError::Store(_) => Exit::Journal,
        ReceiverError::Bind { .. } => Exit::Failed,
    };
    CommandFailure::new(exit, error.to_string())
}

/// Waits a while, then says what has happened meanwhile, if anything has.
async fn report(running: &RunningReceiver, context: &Context) {
    let before = running.stats();
    context.env.clock.sleep(REPORT_INTERVAL).await;
    let now = running.stats();
    if now.commands != before.commands {
        tracing::info!("{}", in_words(&before, &now, running.links()));
    }
}

fn in_words(before: &ReceiverStats, now: &ReceiverStats, links: usize) -> String {
    let rate = (now.executed - before.executed) as f64 / REPORT_INTERVAL.as_secs_f64();
    let mut text = format!(
        "{} executed, {}/s over {links} links",
        words::number(now.executed),
        words::rate(rate),
    );
    for (count, what) in [
        (now.not_executed, "not executed"),
        (now.duplicates + now.joined, "duplicates answered"),
        (now.stale + now.settled, "stale"),
        (now.unavailable, "asked to wait"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {what}", words::number(count)));
        }
    }
    text
}

impl ReceiverArgs {
    fn practice<H: Handler>(&self, inner: H, context: &Context) -> Practice<H> {
        Practice {
            inner,
            env: context.env.clone(),
            rejected_percent: self.reject.unwrap_or(0).into(),
            refuses: self.refuse,
            takes: self.slow.map(|slow| slow.get()),
        }
    }
}

/// An endpoint in trouble, for whoever wants to see what a bridge makes of it.
struct Practice<H> {
    inner: H,
    env: Env,
    rejected_percent: u64,
    refuses: bool,
    takes: Option<Duration>,
}

impl<H: Handler> Handler for Practice<H> {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(async move {
            if let Some(takes) = self.takes {
                self.env.clock.sleep(takes).await;
            }
            if self.refuses {
                let refused = "refused for practice (--refuse)";
                return Err(HandlerError::Refused(refused.into()));
            }
            if self.env.entropy.below(100) < self.rejected_percent {
                let rejected = "rejected for practice (--reject)";
                return Err(HandlerError::Rejected(rejected.into()));
            }
            self.inner.handle(command).await
        })
    }
}

/// Executes by doing nothing.
struct CountingHandler;

impl Handler for CountingHandler {
    fn handle(&self, _: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(std::future::ready(Ok(Bytes::new())))
    }
}

/// Executes by printing.
struct Printer;

impl Handler for Printer {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        let mut line = BytesMut::new();
        EffectLine::write(&command, &mut line);
        let mut stdout = std::io::stdout().lock();
        let printed = stdout.write_all(&line).and_then(|()| stdout.flush());
        // Some of the line may have been printed: nobody can take that back.
        let result = printed
            .map(|()| Bytes::new())
            .map_err(|error| HandlerError::Refused(format!("stdout can't be written: {error}")));
        Box::pin(std::future::ready(result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_leaves_out_what_did_not_happen() {
        let before = ReceiverStats::default();
        let mut now = ReceiverStats {
            executed: 50_000,
            ..ReceiverStats::default()
        };
        assert_eq!(
            in_words(&before, &now, 2),
            "50 000 executed, 10 000/s over 2 links"
        );
        now.duplicates = 3;
        assert!(in_words(&before, &now, 2).ends_with(", 3 duplicates answered"));
    }
}
