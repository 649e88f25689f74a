//! How long commits and leases take. Recorded under the queue's lock, from readings of the clock that are taken
//! anyway: one per operation, and one more per batch.

use std::collections::VecDeque;

use crate::core::{RouteId, SpanMs};
use crate::env::Mono;
use crate::journal::Position;
use crate::observe::Distribution;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// For each batch that has records and isn't being written yet: where it starts, and when its first record came.
    begun: VecDeque<(Position, Mono)>,
    /// From the first record of a batch to the batch being durable.
    pub(crate) commit_wait: Distribution,
    /// From a lease's grant to its end, by the number of its route.
    lease_to_settle: Vec<Distribution>,
}

impl Times {
    /// Notes that the batch at `start` has a record. Only the time of its first one is kept.
    pub(super) fn appended(&mut self, start: Position, now: Mono) {
        if self.begun.back().is_none_or(|(last, _)| *last < start) {
            self.begun.push_back((start, now));
        }
    }

    /// Takes the time of the first record of the batch at `start`, which is about to be written. `None` for a batch
    /// that one operation began and filled: it is not counted.
    pub(super) fn taken(&mut self, start: Position) -> Option<Mono> {
        let mut since = None;
        while let Some((_, begun)) = self.begun.pop_front_if(|(begun, _)| *begun <= start) {
            since = Some(begun);
        }
        since
    }

    /// The batch that was begun at `since` is durable.
    pub(super) fn durable(&mut self, since: Option<Mono>, now: Mono) {
        if let Some(since) = since {
            self.commit_wait.record(now.saturating_since(since));
        }
    }

    /// A lease of `route` has ended, `held` after its grant.
    pub(super) fn settled(&mut self, route: RouteId, held: SpanMs) {
        let route = route.0 as usize;
        if route >= self.lease_to_settle.len() {
            self.lease_to_settle
                .resize_with(route + 1, Distribution::default);
        }
        self.lease_to_settle[route].record(held.as_duration());
    }

    pub(crate) fn lease_to_settle(&self, route: RouteId) -> Distribution {
        let found = self.lease_to_settle.get(route.0 as usize);
        found.cloned().unwrap_or_default()
    }
}
