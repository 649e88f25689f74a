//! What is done to the queue, the bridge and the endpoints while commands flow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasebridge::env::timeout;

use super::DemoCast;
use super::dice::Dice;
use super::proxy::Way;
use crate::cli::exit::CommandFailure;
use crate::cli::words;

/// How long a cut waits for a frame to come by.
const CUT_PATIENCE: Duration = Duration::from_secs(2);

/// How long the killed endpoint stays away.
const DEAD: Duration = Duration::from_millis(600);

/// Sockets cut in one run.
const CUTS: u64 = 10;

/// How far commands may get ahead of the next deed.
const AHEAD_PERMILLE: u64 = 60;

/// Commands in flight that a kill and a crash wait for.
const BUSY: u64 = 24;

/// How long they wait for that: with few commands there may never be so many.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// How often they look.
const BUSY_LOOK: Duration = Duration::from_millis(2);

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// One thing that is done.
enum Deed {
    Cut {
        endpoint: usize,
        way: Way,
        permille: usize,
    },
    Kill {
        endpoint: usize,
    },
    Crash,
}

/// How often each was done.
#[derive(Default)]
pub(super) struct Deeds {
    pub(super) cuts: AtomicU64,
    pub(super) kills: AtomicU64,
    pub(super) crashes: AtomicU64,
    /// How far, in thousandths, commands are to get before the next one.
    next: AtomicU64,
}

impl Deeds {
    /// How many of `commands` may be put in for now: little more than what the next deed waits for, so
    /// that there is work left for each deed to hit.
    pub(super) fn ceiling(&self, commands: u64) -> u64 {
        let permille = self.next.load(Ordering::Relaxed) + AHEAD_PERMILLE;
        (commands * permille).div_ceil(1000).min(commands)
    }
}

/// What is done, each at so many thousandths of the way, in order.
fn plan(seed: u64) -> Vec<(u64, Deed)> {
    let mut dice = Dice::new(seed);
    let mut plan = vec![
        (
            300 + dice.below(60),
            Deed::Kill {
                endpoint: dice.below(2) as usize,
            },
        ),
        (580 + dice.below(60), Deed::Crash),
    ];
    for nth in 0..CUTS {
        let at = 50 + nth * 90 + dice.below(60);
        let way = if dice.below(2) == 0 {
            Way::ToEndpoint
        } else {
            Way::ToBridge
        };
        let permille = 100 + dice.below(800) as usize;
        // Both routes suffer, in turn.
        let endpoint = (nth % 2) as usize;
        plan.push((
            at,
            Deed::Cut {
                endpoint,
                way,
                permille,
            },
        ));
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

/// Does all of it, each when its time has come.
pub(super) async fn sabotage(cast: &DemoCast) -> Result<(), CommandFailure> {
    for (permille, deed) in plan(cast.seed) {
        cast.deeds.next.store(permille, Ordering::Relaxed);
        while cast.settled() * 1000 < cast.commands * permille {
            cast.env.clock.sleep(LOOK).await;
        }
        // What came before may have taken long: let commands flow again from where they are now.
        let reached = cast.settled() * 1000 / cast.commands;
        cast.deeds
            .next
            .store(reached.max(permille), Ordering::Relaxed);
        if !matches!(deed, Deed::Cut { .. }) {
            busy(cast).await;
        }
        match deed {
            Deed::Cut {
                endpoint,
                way,
                permille,
            } => cut(cast, endpoint, way, permille).await,
            Deed::Kill { endpoint } => kill(cast, endpoint).await?,
            Deed::Crash => crash(cast).await?,
        }
    }
    cast.deeds.next.store(1000, Ordering::Relaxed);
    Ok(())
}

/// Waits until commands are in flight, so that there is something to lose.
async fn busy(cast: &DemoCast) {
    let clock = &cast.env.clock;
    let give_up = clock.now() + BUSY_PATIENCE;
    while cast.node.in_flight() < BUSY && clock.now() < give_up {
        clock.sleep(BUSY_LOOK).await;
    }
}

async fn cut(cast: &DemoCast, endpoint: usize, way: Way, permille: usize) {
    let endpoint = &cast.endpoints[endpoint];
    let made = endpoint.socket.cut(way, permille);
    let Ok(Ok(made)) = timeout(&*cast.env.clock, CUT_PATIENCE, made).await else {
        endpoint.socket.cut_nothing();
        return;
    };
    cast.deeds.cuts.fetch_add(1, Ordering::Relaxed);
    cast.screen.event(
        "cut",
        &format!(
            "socket of route {} cut mid-frame: {} of the {} bytes of a frame {} got through",
            endpoint.name,
            made.passed,
            made.frame,
            way.direction()
        ),
    );
}

async fn kill(cast: &DemoCast, endpoint: usize) -> Result<(), CommandFailure> {
    let endpoint = &cast.endpoints[endpoint];
    endpoint.kill();
    cast.deeds.kills.fetch_add(1, Ordering::Relaxed);
    cast.screen.event(
        "kill",
        &format!(
            "endpoint of route {} killed while it executes",
            endpoint.name
        ),
    );
    cast.env.clock.sleep(DEAD).await;
    endpoint.rise().await?;
    cast.screen.event(
        "back",
        &format!(
            "endpoint of route {} is back; its inbox on disk knows the {} it has executed",
            endpoint.name,
            words::number(endpoint.ledger.executed())
        ),
    );
    Ok(())
}

async fn crash(cast: &DemoCast) -> Result<(), CommandFailure> {
    let in_flight = cast.node.crash();
    cast.deeds.crashes.fetch_add(1, Ordering::Relaxed);
    cast.screen.event(
        "crash",
        &format!(
            "bridge and queue dropped without a shutdown, {} commands in flight",
            words::number(in_flight)
        ),
    );
    let since = cast.env.clock.now();
    cast.node.reopen().await?;
    let took = cast.env.clock.now().saturating_since(since);
    let counts = {
        let queue = cast.node.queue.borrow();
        queue
            .as_ref()
            .map(|queue| queue.counts())
            .unwrap_or_default()
    };
    cast.screen.event(
        "back",
        &format!(
            "queue reopened from disk in {}: {} commands wait, {} in poison",
            words::age(took),
            words::number(counts.pending()),
            words::number(counts.poison)
        ),
    );
    Ok(())
}
