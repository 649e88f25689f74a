//! A queue at one moment: its routes, its journal, and what it holds in memory.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::distribution::Distribution;
use crate::core::{LaneCounts, LaneTotals};

/// A queue at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QueueStatus {
    /// The name under which its poison store is reported.
    #[serde(skip)]
    pub poison_queue_name: String,
    /// How many tasks of all routes are where.
    #[serde(flatten)]
    pub counts: LaneCounts,
    /// What happened on all routes since the queue was opened.
    #[serde(flatten)]
    pub totals: LaneTotals,
    /// Keys that are remembered.
    pub keys: u64,
    /// The clock moved too far while the log was closed, and is not believed.
    pub clock_doubted: bool,
    /// Ready tasks with deadlines that wait until it is.
    pub clock_waiting: u64,
    /// Bodies in memory.
    pub cache: CacheStatus,
    /// News for listeners.
    pub feed: FeedStatus,
    /// The signal to producers.
    pub backpressure: BackpressureStatus,
    /// From the first record of a batch to the batch being durable: how long the one who came first waited. One
    /// entry a batch.
    pub commit_wait: Distribution,
    /// The log that makes it durable.
    #[serde(skip)]
    pub journal: JournalStatus,
    /// Each route, by its number.
    #[serde(skip)]
    pub routes: Vec<RouteStatus>,
}

/// A route of a queue at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteStatus {
    /// The route's name.
    pub route: String,
    /// How many tasks are where.
    #[serde(flatten)]
    pub counts: LaneCounts,
    /// What happened since the queue was opened.
    #[serde(flatten)]
    pub totals: LaneTotals,
    /// Age of the oldest task that is ready; delayed ones don't count.
    #[serde(rename = "oldest_ready_ms", serialize_with = "ms_or_zero")]
    pub oldest_ready: Option<Duration>,
    /// What it does a second; zero where nobody takes samples.
    #[serde(flatten)]
    pub rates: Rates,
    /// Leasing was stopped by an operator.
    pub paused: bool,
    /// Bytes of the log that its tasks need, about, those in poison too.
    pub live_bytes: u64,
    /// What it may hold: tasks that are pending, tasks in poison, and those bytes.
    #[serde(flatten)]
    pub share: RouteShare,
    /// From a lease's grant to its end, whoever ended it: the holder, its deadline, or the queue's close. In whole
    /// milliseconds.
    pub lease_to_settle: Distribution,
}

/// What a route may hold of its queue: so much in any case, and so much at most, were the others empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteShare {
    /// Pending tasks that it may have, whatever others hold.
    pub tasks_guaranteed: u64,
    /// Pending tasks that it may have at most.
    pub tasks_max: u64,
    /// Tasks in poison with which it is still taken from, whatever others hold.
    pub poison_guaranteed: u64,
    /// The same at most.
    pub poison_max: u64,
    /// Bytes of the log that its tasks may need, whatever others hold.
    pub bytes_guaranteed: u64,
    /// The same at most.
    pub bytes_max: u64,
}

/// Commands a second, over the last ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Commands accepted a second.
    #[serde(rename = "enqueued_per_second")]
    pub enqueued: f64,
    /// Commands executed a second.
    #[serde(rename = "done_per_second")]
    pub done: f64,
}

/// The bodies that a queue keeps in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheStatus {
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes it may take.
    pub bytes_max: u64,
    /// Leases whose body was in memory.
    #[serde(rename = "hits_total")]
    pub hits: u64,
    /// Leases whose body was read back from the log.
    #[serde(rename = "misses_total")]
    pub misses: u64,
}

/// The feed of what happens to tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FeedStatus {
    /// Events of this opening, told or not.
    #[serde(rename = "events_total")]
    pub events: u64,
    /// How many listen just now.
    pub listeners: u64,
    /// Events that wait to become durable before they are told.
    pub waiting: u64,
}

/// The signal to producers; never active without watermarks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackpressureStatus {
    /// Whether producers should slow down.
    pub active: bool,
    /// How often it has changed.
    #[serde(rename = "transitions_total")]
    pub transitions: u64,
}

/// A log at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JournalStatus {
    /// The folder it lies in.
    pub folder: String,
    /// Segment files, spare ones included.
    pub segments: u32,
    /// Those of them that are part of the log.
    pub segments_in_use: u32,
    /// Bytes on disk.
    pub log_bytes: u64,
    /// Bytes the log may take.
    pub log_bytes_max: u64,
    /// Bytes that live tasks need, about.
    pub live_bytes: u64,
    /// Bytes that the remembered keys of finished tasks need, about.
    pub key_bytes: u64,
    /// Bytes appended and not yet on their way to the disk.
    pub pending_bytes: u64,
    /// Batches written and synced since the opening.
    #[serde(rename = "syncs_total")]
    pub syncs: u64,
    /// Records appended since the opening.
    #[serde(rename = "records_total")]
    pub records: u64,
    /// Bytes written to it since the opening.
    #[serde(rename = "written_bytes_total")]
    pub written_bytes: u64,
    /// Enqueues are refused for want of disk.
    pub full: bool,
}

/// Milliseconds; zero for none, as it always was.
fn ms_or_zero<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let ms = age.unwrap_or_default().as_millis();
    serializer.serialize_u64(u64::try_from(ms).unwrap_or(u64::MAX))
}

impl Serialize for LaneCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            ready,
            delayed,
            leased,
            poison,
        } = *self;
        serializer.collect_map([
            ("ready", ready),
            ("delayed", delayed),
            ("leased", leased),
            ("poison", poison),
        ])
    }
}

impl Serialize for LaneTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            enqueued,
            granted,
            done,
            rejected,
            refused,
            unavailable,
            in_doubt,
            not_sent,
            released,
            poisoned,
            requeued,
        } = *self;
        serializer.collect_map([
            ("enqueued_total", enqueued),
            ("granted_total", granted),
            ("done_total", done),
            ("rejected_total", rejected),
            ("refused_total", refused),
            ("unavailable_total", unavailable),
            ("in_doubt_total", in_doubt),
            ("not_sent_total", not_sent),
            ("released_total", released),
            ("poisoned_total", poisoned),
            ("requeued_total", requeued),
        ])
    }
}
