//! How a queue is doing.

use std::time::Duration;

use super::queue::SafeTaskQueue;
use crate::core::{LaneCounts, LaneTotals};

/// A queue at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Each route, by its number.
    pub routes: Vec<RouteStatus>,
    /// The log.
    pub journal: JournalStatus,
}

/// A route at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// Its name.
    pub route: String,
    /// How many tasks are where.
    pub counts: LaneCounts,
    /// What happened since the queue was opened.
    pub totals: LaneTotals,
    /// Age of the oldest task that is ready; delayed ones don't count.
    pub oldest_ready: Option<Duration>,
    /// Leasing was stopped by an operator.
    pub paused: bool,
}

/// The log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalStatus {
    /// Segment files, spare ones included.
    pub segments: u32,
    /// Bytes on disk.
    pub log_bytes: u64,
    /// Bytes the log may take.
    pub log_bytes_max: u64,
    /// Bytes that live tasks need, about.
    pub live_bytes: u64,
    /// Batches written and synced since the opening.
    pub syncs: u64,
    /// Records appended since the opening.
    pub records: u64,
    /// Bytes written to it since the opening.
    pub written_bytes: u64,
    /// Enqueues are refused for want of disk.
    pub full: bool,
}

impl<T> SafeTaskQueue<T> {
    /// How the queue is doing now.
    pub fn status(&self) -> QueueStatus {
        let engine = &self.owner.engine;
        let numbers = engine.journal_numbers();
        let options = &engine.options;
        let journal = JournalStatus {
            segments: numbers.segments,
            log_bytes: u64::from(numbers.segments) * u64::from(options.segment_bytes),
            log_bytes_max: options.log_bytes_max,
            live_bytes: numbers.live_bytes,
            syncs: numbers.written.batches,
            records: numbers.written.records,
            written_bytes: numbers.written.bytes,
            full: numbers.full,
        };
        let routes = engine.look(|core, now| {
            let state = &core.state;
            let status = |route| RouteStatus {
                route: state.route_name(route).to_owned(),
                counts: state.counts(route),
                totals: state.totals(route),
                oldest_ready: state
                    .oldest_ready(route)
                    .map(|enqueued_at| now.queue.since(enqueued_at).as_duration()),
                paused: state.is_paused(route),
            };
            state.route_ids().map(status).collect()
        });
        QueueStatus { routes, journal }
    }

    /// How many tasks of all routes are where.
    pub fn counts(&self) -> LaneCounts {
        self.owner.engine.look(|core, _| core.state.counts_of_all())
    }
}
