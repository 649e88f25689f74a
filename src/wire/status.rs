//! A snapshot as it travels: [`v1::StatusReply`] and back.
//!
//! Both ways take everything apart by name, so that a number that is added on one side and not on the other doesn't
//! compile. A reply of an older bridge lacks what came later; that reads as zero or as absent.

mod bridge;
mod queue;
mod receiver;
mod route;

use std::time::Duration;

use super::v1;
use crate::core::{LaneCounts, LaneTotals};
use crate::observe::{
    BackpressureStatus, BridgeStatus, Bucket, CacheStatus, FeedStatus, LinkCounts, ListenerStatus,
    Moment, ProcessStatus, QueueStatus, ReceiverStats, RouteCounts, RouteStatus, Snapshot,
};

/// Structs of numbers that have the same names on both sides.
macro_rules! same {
    ($($plain:ident = $wire:ident { $($field:ident),* $(,)? })*) => {$(
        impl From<$plain> for v1::$wire {
            fn from($plain { $($field),* }: $plain) -> Self {
                Self { $($field),* }
            }
        }

        impl From<v1::$wire> for $plain {
            fn from(v1::$wire { $($field),* }: v1::$wire) -> Self {
                Self { $($field),* }
            }
        }
    )*};
}

same! {
    LaneCounts = TaskCounts { ready, delayed, leased, poison }
    LaneTotals = TaskTotals {
        enqueued, granted, done, rejected, refused, unavailable, in_doubt, not_sent, released, poisoned, requeued,
    }
    CacheStatus = CacheStatus { bytes, bytes_max, hits, misses }
    FeedStatus = FeedStatus { events, listeners, waiting }
    BackpressureStatus = BackpressureStatus { active, transitions }
    Bucket = Bucket { below_us, count }
    RouteCounts = DeliveryCounts {
        done, rejected, refused, unavailable, in_doubt, not_sent, released, held, lost, settle_failures,
        fallbacks_in_doubt, fallbacks_not_sent, compensation_failures, announced, panicked,
    }
    LinkCounts = LinkCounts {
        connects, connect_failures, sends, replies, late_replies, unknown_replies, violations, heartbeat_deaths,
        rollbacks, rollbacks_unanswered,
    }
    ListenerStatus = ListenerStatus {
        connections, connections_max, request_bytes, request_bytes_max, accepted, refused, given_up, requests_given_up,
    }
    ReceiverStats = ReceiverCounts {
        connections, connections_refused, links, links_dead, commands, executed, not_executed, panics, joined,
        duplicates, stale, settled, unavailable, too_large, rolled_back, rollbacks, rollbacks_unanswered,
        settlements_ignored, answers_undelivered, results_dropped, connections_given_up, wrong_secrets, links_panicked,
    }
}

impl From<&Snapshot> for v1::StatusReply {
    fn from(snapshot: &Snapshot) -> Self {
        let Snapshot {
            taken,
            process,
            listener,
            queue,
            bridge: _in_the_routes,
            receiver,
        } = snapshot;
        let Moment { unix_ms, mono_ms } = *taken;
        let ProcessStatus {
            version,
            uptime_ms,
            draining,
            open_files_max,
        } = process.clone();
        let routes = queue.iter().flat_map(|queue| &queue.routes);
        let route = |route: &RouteStatus| route::to_wire(route, snapshot.delivery(&route.route));
        Self {
            version,
            uptime_ms,
            draining,
            taken_unix_ms: unix_ms,
            taken_mono_ms: mono_ms,
            routes: routes.map(route).collect(),
            journal: queue.as_ref().map(|queue| (&queue.journal).into()),
            poison_queue_name: queue
                .as_ref()
                .map_or_else(String::new, |queue| queue.poison_queue_name.clone()),
            queue: queue.as_ref().map(Into::into),
            receiver: receiver.as_ref().map(Into::into),
            listener: listener.map(Into::into),
            open_files_max,
        }
    }
}

impl From<v1::StatusReply> for Snapshot {
    fn from(reply: v1::StatusReply) -> Self {
        let v1::StatusReply {
            version,
            uptime_ms,
            draining,
            taken_unix_ms,
            taken_mono_ms,
            routes,
            journal,
            poison_queue_name,
            queue,
            receiver,
            listener,
            open_files_max,
        } = reply;
        let (routes, deliveries): (Vec<_>, Vec<_>) =
            routes.into_iter().map(route::from_wire).unzip();
        let deliveries: Vec<_> = deliveries.into_iter().flatten().collect();
        // An older bridge says nothing of the queue as a whole, and has one all the same.
        let has_queue = queue.is_some() || journal.is_some();
        let whole = queue.unwrap_or_default();
        let v1::QueueStatus {
            counts,
            totals,
            keys,
            cache,
            feed,
            backpressure,
            commit_wait,
            clock_doubted,
            clock_waiting,
        } = whole;
        let queue = QueueStatus {
            poison_queue_name,
            counts: counts.unwrap_or_default().into(),
            totals: totals.unwrap_or_default().into(),
            keys,
            clock_doubted,
            clock_waiting,
            cache: cache.unwrap_or_default().into(),
            feed: feed.unwrap_or_default().into(),
            backpressure: backpressure.unwrap_or_default().into(),
            commit_wait: commit_wait.unwrap_or_default().into(),
            journal: journal.unwrap_or_default().into(),
            routes,
        };
        Self {
            taken: Moment {
                unix_ms: taken_unix_ms,
                mono_ms: taken_mono_ms,
            },
            process: ProcessStatus {
                version,
                uptime_ms,
                draining,
                open_files_max,
            },
            listener: listener.map(Into::into),
            queue: has_queue.then_some(queue),
            bridge: (!deliveries.is_empty()).then_some(BridgeStatus { routes: deliveries }),
            receiver: receiver.map(Into::into),
        }
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
