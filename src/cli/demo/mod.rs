//! `leasebridge demo`: what the project promises, shown in a few seconds.
//!
//! Queue, bridge and an endpoint per route run in this process, over sockets of the loopback and files in
//! a temporary folder. While commands flow, sockets are cut, an endpoint is killed, and bridge and queue
//! are dropped. The endpoints' own ledgers then tell whether anything was lost or executed twice.

mod dice;
mod endpoint;
mod ledger;
mod node;
mod producer;
mod proxy;
mod sabotage;
mod screen;
mod verdict;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use leasebridge::env::{Address, Env};

use super::exit::{CommandFailure, CommandResult, Exit};
use super::signals::Signals;
use super::{Context, out, words};
use endpoint::DemoEndpoint;
use node::CrashableNode;
use producer::{AcceptedCommands, produce};
use sabotage::{Deeds, sabotage};
use screen::Screen;
use verdict::DemoVerdict;

/// How long nothing may happen before the demo gives up: far longer than any deadline and backoff in it.
const STALL: Duration = Duration::from_secs(30);

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// See it hold: commands flow while sockets are cut, an endpoint is killed and the bridge crashes
///
/// Everything runs in this process, over the loopback and in a temporary folder; nothing has to be
/// configured or cleaned up. At the end the endpoints' own count of executions is compared with what
/// the queue had accepted; the exit code is 1 if a number is wrong.
///
/// Examples:
///   leasebridge demo
///   leasebridge demo --commands 100000 --seed 7
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DemoArgs {
    /// How many commands to put through
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    commands: u64,

    /// Choose what is cut, when and where, by this number [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Keep the folder with the queue and the inboxes, and say where it is
    #[arg(long)]
    keep: bool,

    /// Print the numbers as one JSON object
    #[arg(long)]
    json: bool,
}

/// Everything that takes part.
struct DemoCast {
    env: Env,
    seed: u64,
    commands: u64,
    endpoints: [DemoEndpoint; 2],
    node: CrashableNode,
    accepted: AcceptedCommands,
    deeds: Deeds,
    screen: Screen,
}

impl DemoCast {
    async fn set(args: &DemoArgs, env: Env, dir: &Path) -> Result<Self, CommandFailure> {
        let seed = args.seed.unwrap_or_else(|| env.entropy.below(1_000_000));
        let blue = DemoEndpoint::start(&env, "blue", dir.join("blue.inbox")).await?;
        let green = DemoEndpoint::start(&env, "green", dir.join("green.inbox")).await?;
        let routes = vec![blue.route(), green.route()];
        Ok(Self {
            seed,
            commands: args.commands,
            node: CrashableNode::open(&env, dir.join("queue"), routes).await?,
            endpoints: [blue, green],
            accepted: AcceptedCommands::default(),
            deeds: Deeds::default(),
            screen: Screen::new(&env, args.commands),
            env,
        })
    }

    /// Which endpoint the command with `number` goes to.
    fn endpoint_of(&self, number: u64) -> usize {
        usize::from(number % 2 == 1)
    }

    /// Commands executed or refused, as the endpoints' ledgers tell.
    fn settled(&self) -> u64 {
        self.endpoints
            .iter()
            .map(|endpoint| endpoint.ledger.settled())
            .sum()
    }

    /// Whether every command is accepted, and none waits.
    fn is_over(&self) -> bool {
        let queue = self.node.queue.borrow();
        let pending = queue.as_ref().map(|queue| queue.counts().pending());
        self.accepted.count() == self.commands && pending == Some(0)
    }

    /// Watches until all is done, or nothing has happened for long.
    async fn watch(&self) {
        let clock = &self.env.clock;
        let mut news = (0, clock.now());
        while !self.is_over() {
            let settled = self.settled();
            self.screen.progress(settled);
            if settled != news.0 {
                news = (settled, clock.now());
            } else if clock.now().saturating_since(news.1) > STALL {
                self.screen
                    .say("nothing has happened for a long time: giving up");
                return;
            }
            clock.sleep(LOOK).await;
        }
        self.screen.progress(self.settled());
    }

    async fn play(&self) -> Result<(), CommandFailure> {
        tokio::select! {
            biased;
            played = async { tokio::try_join!(produce(self), sabotage(self)).map(drop) } => {
                played?;
                self.watch().await;
            }
            () = self.watch() => {}
        }
        Ok(())
    }
}

/// A free port of the loopback.
fn loopback() -> Address {
    Address::tcp("127.0.0.1", 0)
}

/// Runs the demo.
pub(crate) async fn run(args: DemoArgs, context: Context) -> CommandResult {
    let mut signals = Signals::catch()?;
    let mut folder = tempfile::Builder::new()
        .prefix("leasebridge-demo-")
        .tempdir()
        .map_err(|error| {
            CommandFailure::failed(format!("no temporary folder can be made: {error}"))
        })?;
    folder.disable_cleanup(args.keep);
    let cast = DemoCast::set(&args, context.env, folder.path()).await?;
    cast.screen.say(&format!(
        "{} commands for the routes blue and green, seed {}; queue, bridge and endpoints are real, and \
         so is what happens to them:",
        words::number(cast.commands),
        cast.seed
    ));
    let played = tokio::select! {
        biased;
        signal = signals.next() => Err(signal),
        played = cast.play() => Ok(played),
    };
    cast.screen.finish();
    let finished = match &played {
        Ok(played) => {
            if let Err(failure) = played {
                out::complain(&format!("error: {failure}"));
            }
            played.is_ok()
        }
        Err(_) => false,
    };
    let verdict = DemoVerdict::of(&cast, finished);
    let printed = show(&args, &cast, &verdict, finished);
    if finished {
        cast.node.close().await?;
    } else {
        cast.node.crash();
    }
    for endpoint in &cast.endpoints {
        endpoint.shutdown().await;
    }
    if args.keep {
        out::complain(&format!("kept in {}", folder.path().display()));
    }
    printed?;
    match played {
        Err(signal) => Ok(signal),
        Ok(Err(failure)) => Err(CommandFailure::new(failure.exit, "")),
        Ok(Ok(())) if verdict.wrong.is_empty() => Ok(Exit::Done),
        Ok(Ok(())) => Err(CommandFailure::failed(format!(
            "it did not hold:\n  {}",
            verdict.wrong.join("\n  ")
        ))),
    }
}

fn show(
    args: &DemoArgs,
    cast: &DemoCast,
    verdict: &DemoVerdict,
    finished: bool,
) -> Result<(), CommandFailure> {
    if args.json {
        return out::print_json(&verdict.json(cast, finished));
    }
    use std::sync::atomic::Ordering::Relaxed;
    let deeds = &cast.deeds;
    out::print(&format!("\n{}\n", verdict.table()))?;
    let took = words::age(cast.screen.elapsed());
    if !finished {
        return out::print(&format!(
            "stopped after {took}: {} of {} commands were executed so far",
            words::number(verdict.all().executed),
            words::number(cast.commands)
        ));
    }
    out::print(&format!(
        "{took}: {} sockets cut mid-frame, {} endpoint killed, {} crash of bridge and queue",
        deeds.cuts.load(Relaxed),
        deeds.kills.load(Relaxed),
        deeds.crashes.load(Relaxed),
    ))?;
    if verdict.wrong.is_empty() {
        out::print(
            "It held: every accepted command was executed exactly once, or refused and kept with its history.",
        )?;
    }
    Ok(())
}
