//! How a queue is doing: everything it counts, gathered under one hold of the lock.

use super::engine::{JournalNumbers, Share, Written};
use super::queue::SafeTaskQueue;
use crate::core::LaneCounts;
use crate::observe::{JournalStatus, QueueStatus, Rates, RouteShare, RouteStatus};

impl<T> SafeTaskQueue<T> {
    /// How the queue is doing now.
    pub fn status(&self) -> QueueStatus {
        let engine = &self.owner.engine;
        let options = &engine.options;
        // Everything is taken apart by name: a number that is added and not shown doesn't compile.
        let JournalNumbers {
            segments,
            segments_in_use,
            live_bytes,
            key_bytes,
            pending_bytes,
            written,
            full,
        } = engine.journal_numbers();
        let Written {
            batches,
            bytes,
            records,
        } = written;
        let journal = JournalStatus {
            folder: options.dir.display().to_string(),
            segments,
            segments_in_use,
            log_bytes: u64::from(segments) * u64::from(options.segment_bytes),
            log_bytes_max: options.log_bytes_max,
            live_bytes,
            key_bytes,
            pending_bytes,
            syncs: batches,
            records,
            written_bytes: bytes,
            full,
        };
        engine.look(|core, now| {
            let state = &core.state;
            let status = |route| RouteStatus {
                route: state.route_name(route).to_owned(),
                counts: state.counts(route),
                totals: state.totals(route),
                oldest_ready: state
                    .oldest_ready(route)
                    .map(|enqueued_at| now.queue.since(enqueued_at).as_duration()),
                rates: Rates::default(),
                paused: state.is_paused(route),
                live_bytes: state.live_bytes_of(route),
                share: share(core.shares(options, route)),
                lease_to_settle: core.times.lease_to_settle(route),
            };
            let routes: Vec<RouteStatus> = state.route_ids().map(status).collect();
            QueueStatus {
                poison_queue_name: options.poison_queue_name.clone(),
                counts: state.counts_of_all(),
                totals: routes.iter().map(|route| route.totals).sum(),
                keys: state.keys_len() as u64,
                clock_doubted: state.clock_doubt().is_some(),
                clock_waiting: state.clock_doubt().unwrap_or_default(),
                cache: core.cache_status(),
                feed: core.told.feed_status(),
                backpressure: core.told.backpressure_status(),
                commit_wait: core.times.commit_wait.clone(),
                journal,
                routes,
            }
        })
    }

    /// How long a lease may be held from its grant on, however often it is extended.
    pub fn max_hold(&self) -> std::time::Duration {
        self.owner.engine.options.max_hold
    }

    /// How many tasks of all routes are where.
    pub fn counts(&self) -> LaneCounts {
        self.owner.engine.look(|core, _| core.state.counts_of_all())
    }
}

fn share([tasks, poison, bytes]: [Share; 3]) -> RouteShare {
    RouteShare {
        tasks_guaranteed: tasks.guaranteed,
        tasks_max: tasks.max,
        poison_guaranteed: poison.guaranteed,
        poison_max: poison.max,
        bytes_guaranteed: bytes.guaranteed,
        bytes_max: bytes.max,
    }
}
