//! `leasebridge enqueue`: hands the lines of a file or of stdin to the bridge.
//!
//! Every line has a key ([`key`]). A line is sent twice when an answer stayed out; with the same key it is in the
//! queue once. With `--resume` that holds for the whole command, when it is run again.
//! Batches go out with a bounded window; a batch whose answer stays out is sent again until the bridge
//! answers or patience ends. What became of each line ends up in exactly one number of the
//! [`account::Account`].

mod account;
mod feed;
mod input;
mod key;
mod line;
mod progress;
mod send;
mod told;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use leasebridge::config::Span;

use super::Context;
use super::client::{BridgeArgs, Reached, noting_channel};
use super::exit::{CommandFailure, CommandResult};
use super::history::{HistorySink, Teller, Writer};
use super::signals::Signals;

use account::Account;
use feed::Feed;
use line::LineRules;
use progress::EnqueueProgress;
use send::Sender;
use told::Telling;

/// Hand commands to the running bridge, one a line
///
/// Run twice, it enqueues twice. With --resume, from the first run on, it adds what is missing: after a crash, run the
/// same command on the same input again, and what the bridge has is counted as `already there`.
///
/// Each line is the body of one command; empty lines are skipped. With NDJSON each line is an object:
///
///   {"route": "lamps", "body": "on", "key": "order-17", "headers": {"who": "me"}, "deadline": "10m"}
///
/// `body` is text, or `body_base64` holds bytes. `deadline` is a duration from now ("10m"), a time
/// ("2030-01-01T00:00:00Z") or Unix milliseconds. All but the body may be left out.
///
/// The bridge knows a command by its route and key, for 24 hours by default, and takes it once. A key that a line
/// names is used as it is. Every other line gets one: of this run, so that what is sent again because an answer stayed out
/// is not doubled; with --resume of the input's name, all of the input up to and including the line, and its
/// number. A line whose key stands for a command that will never run, because that is in poison or was removed, is
/// reported, and the exit code is 3.
///
/// The tasks and keys of the first lines are printed; --json prints those of all.
///
/// Examples:
///   seq 1 100000 | leasebridge enqueue
///   leasebridge enqueue commands.txt --route lamps --deadline 10m
///   leasebridge enqueue commands.ndjson
///   leasebridge enqueue --resume orders.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct EnqueueArgs {
    /// The file to read; stdin if it is `-` or left out
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// What a line is
    #[arg(long, value_enum, default_value_t)]
    format: InputFormat,

    /// The route of lines that name none
    #[arg(long, value_name = "ROUTE", default_value = "default")]
    route: String,

    /// The deadline of lines that name none: a duration from now, a time, or Unix milliseconds
    #[arg(long, value_name = "WHEN")]
    deadline: Option<String>,

    /// Make keys of the input, so that the same command run again adds only what is missing
    #[arg(long)]
    resume: bool,

    /// The input's name, from which keys are made [default: the file's name, or `stdin`]
    #[arg(long, value_name = "NAME", requires = "resume")]
    source: Option<String>,

    /// Lines of one batch at most
    #[arg(long, value_name = "LINES", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,

    /// Batches in flight at most; with 1 lines enter the queue in exactly their order
    #[arg(long, value_name = "BATCHES", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    window: u16,

    /// Give up when the bridge has not answered for this long
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    patience: Span,

    /// Print what became of each line, with its task and key, to stdout as a JSON object a line, and the account last
    #[arg(long)]
    json: bool,

    /// No progress bar, no tasks and keys, and no account unless something was refused or is unknown
    #[arg(long, short)]
    quiet: bool,

    /// Write what is offered and answered to this file, a JSON record a line, for `leasebridge-sim check`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    /// What that file calls this producer
    #[arg(
        long,
        value_name = "NAME",
        default_value = "producer",
        requires = "history"
    )]
    history_host: String,

    #[command(flatten)]
    bridge: BridgeArgs,
}

/// What a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// NDJSON for files that end in .ndjson or .jsonl, else lines
    #[default]
    Auto,
    /// The line is the body
    Lines,
    /// The line is a JSON object
    Ndjson,
}

/// Reads, sends, and gives account.
pub(crate) async fn run(args: EnqueueArgs, context: Context) -> CommandResult {
    let opened = input::open(args.file.as_deref())?;
    let entropy = &context.env.entropy;
    let run = u128::from(entropy.next_u64()) << 64 | u128::from(entropy.next_u64());
    let rules = LineRules::new(&args, &opened.name, context.env.clock.wall(), run)?;
    let teller = teller(&args, &context).await?;
    let mut signals = Signals::catch()?;
    let progress = EnqueueProgress::new(opened.bytes, args.quiet);
    let chunks = feed::read(opened, rules, usize::from(args.batch))?;
    let address = args.bridge.address(&context);
    let reached = Reached::default();
    let sender = Sender::new(
        context.env.clone(),
        noting_channel(&context.env, &address, &reached),
        address.to_string(),
        args.patience.get(),
        progress.clone(),
    )
    .told_to(teller);
    let started = context.env.clock.now();
    let mut account = Account::new(args.resume);
    let feed = Feed {
        chunks,
        window: usize::from(args.window),
        sender,
        telling: Telling::new(args.json, args.quiet),
        clock: context.env.clock.clone(),
    };
    let ended = feed.run(&mut account, &mut signals, &progress).await;
    progress.finish();
    if !reached.ever() {
        account.nothing_left();
    }
    account.took = context.env.clock.now().saturating_since(started);
    if args.json {
        // A stdout that is gone has ended the run already, or nothing is left to tell.
        let _told = Telling::new(true, true).tell(&account.unsettled(), &progress);
    }
    account.report(&ended, args.json, args.quiet)
}

async fn teller(args: &EnqueueArgs, context: &Context) -> Result<Teller, CommandFailure> {
    let Some(path) = &args.history else {
        return Ok(Teller(None));
    };
    let writer = Writer {
        source: "enqueue",
        host: args.history_host.clone(),
    };
    let (history, _lives) = HistorySink::open(&context.env, path, writer).await?;
    Ok(Teller(Some(history)))
}

#[cfg(test)]
mod tests;
