//! Group 8, order: within a route the lowest id first among those that are ready.
//!
//! The feed's order is the order in which things were applied, so whoever was told to be ready and has not
//! been granted since is ready at that very grant. A restart or missed news empties what is known: only what
//! is told to be ready afterwards counts again.
//!
//! Whoever is suspected of having killed the bridge must fly alone in the whole queue: it is passed over while
//! others are in flight, and goes before its neighbours in a quarantine. Who is suspected was decided at an
//! opening, untold; so a task that may have been held at two deaths of its bridge, without an answer since,
//! counts neither as overtaken nor as overtaking.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant::OldestFirst;
use super::findings::{Findings, Secs};
use super::ledger::{Fed, FeedEventKind, LeaseOutcome, No, Sight, TaskPlace};
use crate::history::What;

/// Deaths after which a task may be flown alone.
const DEATHS_BEFORE_ISOLATION: u32 = 2;

/// A queue and one of its routes.
type QueueRoute = (No, Option<No>);

#[derive(Debug, Default)]
pub(super) struct Order {
    /// The ready ones of each lane, by the number in their name.
    ready: BTreeMap<QueueRoute, BTreeSet<(u64, No)>>,
    /// By task: deaths of the bridge at which it may have been held.
    deaths: Vec<u32>,
}

/// Deaths at which a task that is heard of for the first time may have been held: none if this is its beginning;
/// otherwise its enqueue went untold, and with it who knows how much.
fn deaths_before(sight: &Sight<'_>) -> u32 {
    let is_new = match &sight.record.what {
        What::Accepted { duplicate, .. } => !duplicate,
        _ => sight
            .fed
            .is_some_and(|fed| fed.kind == FeedEventKind::Enqueued),
    };
    if is_new { 0 } else { DEATHS_BEFORE_ISOLATION }
}

impl Order {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        self.deaths
            .resize(sight.ledger.tasks.len(), deaths_before(sight));
        match &sight.record.what {
            What::Opened { .. } => {
                self.forget(sight.host);
                self.count_deaths(sight);
            }
            What::FeedMissed { .. } => self.forget(sight.host),
            _ => {}
        }
        let Some(fed) = sight.fed else {
            return;
        };
        if sight.ledger.queue(sight.host).blind {
            self.forget(sight.host);
        }
        self.leave(sight, fed);
        if fed.kind == FeedEventKind::Granted {
            self.granted(sight, fed, findings);
        }
        self.enter(sight, fed);
    }

    fn forget(&mut self, queue: No) {
        self.ready.retain(|(of, _), _| *of != queue);
    }

    fn count_deaths(&mut self, sight: &Sight<'_>) {
        if sight.ledger.queue(sight.host).closed {
            return;
        }
        for (no, facts) in sight.ledger.tasks_of(sight.host) {
            if matches!(
                facts.place,
                TaskPlace::Unsaid | TaskPlace::Ready | TaskPlace::Delayed | TaskPlace::Leased
            ) {
                self.deaths[no.at()] += 1;
            }
        }
    }

    /// Whatever happens to a task, it is not where it was.
    fn leave(&mut self, sight: &Sight<'_>, fed: Fed<'_>) {
        let facts = sight.ledger.task(fed.task);
        let seq = facts.name.seq();
        for route in [facts.route, fed.route] {
            if let Some(ready) = self.ready.get_mut(&(sight.host, route)) {
                ready.remove(&(seq, fed.task));
            }
        }
    }

    fn enter(&mut self, sight: &Sight<'_>, fed: Fed<'_>) {
        let facts = sight.ledger.task(fed.task);
        let ready = match fed.kind {
            FeedEventKind::Enqueued | FeedEventKind::Due | FeedEventKind::Requeued => true,
            FeedEventKind::End(_) => fed.end.is_some_and(|end| end.next == "ready"),
            FeedEventKind::Rerouted => {
                facts.place == TaskPlace::Ready && sight.ledger.is_certain(facts)
            }
            _ => false,
        };
        match fed.kind {
            FeedEventKind::Requeued
            | FeedEventKind::End(
                LeaseOutcome::Done
                | LeaseOutcome::Rejected
                | LeaseOutcome::Unavailable
                | LeaseOutcome::Refused,
            ) => self.deaths[fed.task.at()] = 0,
            _ => {}
        }
        if ready {
            let lane = self.ready.entry((sight.host, fed.route)).or_default();
            lane.insert((facts.name.seq(), fed.task));
        }
    }

    fn granted(&self, sight: &Sight<'_>, fed: Fed<'_>, findings: &mut Findings<'_>) {
        let facts = sight.ledger.task(fed.task);
        if self.is_suspect(fed.task) {
            return;
        }
        let seq = facts.name.seq();
        let Some(ready) = self
            .ready
            .get(&(sight.host, fed.route))
            .filter(|ready| !ready.is_empty())
        else {
            return;
        };
        let lower = ready.iter().take_while(|(other, _)| *other < seq);
        let overtaken = lower
            .map(|(_, task)| *task)
            .find(|task| !self.is_suspect(*task));
        findings.check(OldestFirst, overtaken.is_none(), sight.spot(), || {
            let older = sight.ledger.task(overtaken.expect("it was found"));
            format!(
                "{} was granted at {} before {}, which has been ready on the same route since {}",
                facts.name,
                Secs(sight.at),
                older.name,
                Secs(older.since),
            )
        });
    }

    fn is_suspect(&self, task: No) -> bool {
        self.deaths[task.at()] >= DEATHS_BEFORE_ISOLATION
    }
}
