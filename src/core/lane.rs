//! One route's tasks: which is next, and how many are where.

use std::collections::{BTreeSet, VecDeque};

use super::event::Outcome;
use super::ids::Seq;
use super::task::{Part, Slot};

/// A route within the queue. Its ready order is a queue of tasks never leased, which come with rising
/// sequence numbers, and a sorted set of those that came back; the lower head wins. Those that must fly
/// alone in the whole queue stand aside in a set of their own, so that they never block the others.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: Box<str>,
    pub(crate) paused: bool,
    /// May hold entries of tasks that left it by another way; whoever reads it checks.
    fresh: VecDeque<(Seq, Slot)>,
    /// How many entries of `fresh` are such leftovers.
    stale: usize,
    returned: BTreeSet<(Seq, Slot)>,
    suspects: BTreeSet<(Seq, Slot)>,
    pub(crate) poison: BTreeSet<(Seq, Slot)>,
    pub(crate) counts: LaneCounts,
    /// Grants so far; with the count in a lease it tells whether that one flew alone.
    pub(crate) grants: u64,
    /// Answers so far.
    pub(crate) answers: u64,
    pub(crate) totals: LaneTotals,
}

/// Gauges: each task of the route is counted in exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Waiting for a lease.
    pub ready: u64,
    /// Waiting for a time.
    pub delayed: u64,
    /// Held.
    pub leased: u64,
    /// In the poison store.
    pub poison: u64,
}

impl LaneCounts {
    /// What still wants to be executed: all but poison.
    pub fn pending(&self) -> u64 {
        self.ready + self.delayed + self.leased
    }
}

/// Counters since the journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneTotals {
    /// Commands accepted.
    pub enqueued: u64,
    /// Leases granted.
    pub granted: u64,
    /// Attempts by outcome.
    pub done: u64,
    /// Endpoint answered no.
    pub rejected: u64,
    /// Endpoint answered no for good.
    pub refused: u64,
    /// Endpoint answered: not now.
    pub unavailable: u64,
    /// No definite answer.
    pub in_doubt: u64,
    /// Never reached an endpoint.
    pub not_sent: u64,
    /// Given back before any send.
    pub released: u64,
    /// Tasks that went to the poison store.
    pub poisoned: u64,
    /// Tasks brought back from it.
    pub requeued: u64,
}

impl LaneTotals {
    pub(crate) fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Done => &mut self.done,
            Outcome::Rejected => &mut self.rejected,
            Outcome::Refused => &mut self.refused,
            Outcome::Unavailable => &mut self.unavailable,
            Outcome::InDoubt(_) => &mut self.in_doubt,
            Outcome::NotSent => &mut self.not_sent,
            Outcome::Released => &mut self.released,
        } += 1;
    }
}

impl Lane {
    pub(crate) fn new(name: Box<str>) -> Self {
        Self {
            name,
            paused: false,
            fresh: VecDeque::new(),
            stale: 0,
            returned: BTreeSet::new(),
            suspects: BTreeSet::new(),
            poison: BTreeSet::new(),
            counts: LaneCounts::default(),
            grants: 0,
            answers: 0,
            totals: LaneTotals::default(),
        }
    }

    /// Puts a ready task at its place in a part.
    pub(crate) fn insert(&mut self, seq: Seq, slot: Slot, part: Part) {
        self.counts.ready += 1;
        match part {
            Part::Fresh => {
                let last = self.fresh.back().map(|(last, _)| *last);
                assert!(last < Some(seq), "new tasks come with rising numbers");
                self.fresh.push_back((seq, slot));
            }
            Part::Returned => drop(self.returned.insert((seq, slot))),
            Part::Suspect => drop(self.suspects.insert((seq, slot))),
        }
    }

    /// Takes a task out of the ready order, wherever it stands.
    pub(crate) fn remove(&mut self, seq: Seq, slot: Slot, part: Part) {
        self.counts.ready -= 1;
        match part {
            Part::Returned | Part::Suspect => {
                let set = match part {
                    Part::Suspect => &mut self.suspects,
                    _ => &mut self.returned,
                };
                let was_there = set.remove(&(seq, slot));
                assert!(was_there, "a ready task stands in its part of the lane");
            }
            Part::Fresh if self.fresh.front() == Some(&(seq, slot)) => {
                self.fresh.pop_front();
            }
            Part::Fresh => self.stale += 1,
        }
    }

    /// The lowest of those that must fly alone in the whole queue.
    pub(crate) fn suspect(&self) -> Option<(Seq, Slot)> {
        self.suspects.first().copied()
    }

    /// The lowest of the other ready tasks. `is_fresh` tells whether an entry of the fresh
    /// part still holds.
    pub(crate) fn head(&self, is_fresh: impl Fn(Seq, Slot) -> bool) -> Option<(Seq, Slot)> {
        let fresh = self.fresh.iter().find(|(seq, slot)| is_fresh(*seq, *slot));
        let returned = self.returned.first();
        fresh.into_iter().chain(returned).min().copied()
    }

    /// Ready tasks: suspects, those that came back, new ones; and in which part each stands. Leftovers are among them:
    /// a task that stands in the other part by now, or in none.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (Seq, Slot, Part)> {
        let suspects = self.suspects.iter().map(|at| (at.0, at.1, Part::Suspect));
        let returned = self.returned.iter().map(|at| (at.0, at.1, Part::Returned));
        let fresh = self.fresh.iter().map(|at| (at.0, at.1, Part::Fresh));
        suspects.chain(returned).chain(fresh)
    }

    /// Drops leftovers once they are at the head or outnumber what holds, so that [`Lane::head`] stays
    /// cheap and memory follows the number of tasks.
    pub(crate) fn tidy(&mut self, is_fresh: impl Fn(Seq, Slot) -> bool) {
        if self.stale == 0 {
            return;
        }
        while let Some((seq, slot)) = self.fresh.front()
            && !is_fresh(*seq, *slot)
        {
            self.fresh.pop_front();
            self.stale -= 1;
        }
        if self.stale > 64 && self.stale > self.fresh.len() / 2 {
            self.fresh.retain(|(seq, slot)| is_fresh(*seq, *slot));
            self.stale = 0;
        }
    }
}
