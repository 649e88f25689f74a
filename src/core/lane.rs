//! One route's tasks, and how many are where.

use std::collections::BTreeSet;

use super::event::LeaseOutcome;
use super::ids::Seq;
use super::order::GrantOrder;
use super::task::Slot;
use super::time::SpanMs;

/// A route within the queue.
#[derive(Debug)]
pub(crate) struct QueueLane {
    pub(crate) name: Box<str>,
    /// Its ready tasks.
    pub(crate) order: GrantOrder,
    pub(crate) poison: BTreeSet<(Seq, Slot)>,
    /// Ready tasks that wait for somebody to say what time it is.
    pub(crate) held_back: BTreeSet<(Seq, Slot)>,
    pub(crate) counts: LaneCounts,
    /// Grants so far; with the count in a lease it tells whether that one flew alone.
    pub(crate) grants: u64,
    /// Answers so far.
    pub(crate) answers: u64,
    /// Bytes of log that its live tasks need, about; those in poison too.
    pub(crate) live_bytes: u64,
    /// How old its tasks may get; volatile.
    pub(crate) age_max: Option<SpanMs>,
    pub(crate) totals: LaneTotals,
}

/// Gauges: each task of the route is counted in exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Waiting for a lease.
    pub ready: u64,
    /// Waiting for a time.
    pub delayed: u64,
    /// Held under a lease.
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
    /// Commands accepted as new tasks; duplicates don't count.
    pub enqueued: u64,
    /// Leases granted, each with an epoch of its own.
    pub granted: u64,
    /// Attempts that ended with *done*.
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
    pub(crate) fn count(&mut self, outcome: LeaseOutcome) {
        *match outcome {
            LeaseOutcome::Done => &mut self.done,
            LeaseOutcome::Rejected => &mut self.rejected,
            LeaseOutcome::Refused => &mut self.refused,
            LeaseOutcome::Unavailable => &mut self.unavailable,
            LeaseOutcome::InDoubt(_) => &mut self.in_doubt,
            LeaseOutcome::NotSent => &mut self.not_sent,
            LeaseOutcome::Released => &mut self.released,
        } += 1;
    }
}

impl std::iter::Sum for LaneTotals {
    fn sum<I: Iterator<Item = Self>>(totals: I) -> Self {
        totals.fold(Self::default(), |sum, one| Self {
            enqueued: sum.enqueued + one.enqueued,
            granted: sum.granted + one.granted,
            done: sum.done + one.done,
            rejected: sum.rejected + one.rejected,
            refused: sum.refused + one.refused,
            unavailable: sum.unavailable + one.unavailable,
            in_doubt: sum.in_doubt + one.in_doubt,
            not_sent: sum.not_sent + one.not_sent,
            released: sum.released + one.released,
            poisoned: sum.poisoned + one.poisoned,
            requeued: sum.requeued + one.requeued,
        })
    }
}

impl QueueLane {
    pub(crate) fn new(name: Box<str>) -> Self {
        Self {
            name,
            order: GrantOrder::default(),
            poison: BTreeSet::new(),
            held_back: BTreeSet::new(),
            counts: LaneCounts::default(),
            grants: 0,
            answers: 0,
            live_bytes: 0,
            age_max: None,
            totals: LaneTotals::default(),
        }
    }
}
