//! How long things take in the queue. Kept under its lock, from readings of the clock that are there anyway: one an
//! operation, and one more a batch.

use std::collections::VecDeque;

use crate::core::{RouteId, SpanMs};
use crate::env::Mono;
use crate::journal::Position;
use crate::observe::Distribution;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Where each batch starts that was begun and not yet taken, and when that was. As many as wait to be written.
    begun: VecDeque<(Position, Mono)>,
    /// From the first record of a batch to the batch being durable.
    pub(crate) commit_wait: Distribution,
    /// From a lease's grant to its end, by the number of its route.
    lease_to_settle: Vec<Distribution>,
}

impl Times {
    /// The batch that starts at `start` has records now; the first came just now, unless it is known already.
    pub(super) fn appended(&mut self, start: Position, now: Mono) {
        if self.begun.back().is_none_or(|(last, _)| *last < start) {
            self.begun.push_back((start, now));
        }
    }

    /// The batch that starts at `start` is taken to be written: when it was begun. One that was begun and filled
    /// within one operation is not known, and not counted.
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
