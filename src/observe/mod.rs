//! What is seen of a process at one moment: plain data, filled by the parts of the house and shown by many.
//!
//! ```text
//! queue ──┐                            ┌──► Admin.Status (gRPC) ──► leasebridge status, as text
//! bridge ─┼──► observe::Snapshot ──────┤
//! receiver┘    (numbers, no handles)   └──► JSON
//! ```
//!
//! [`crate::queue::SafeTaskQueue::status`] and its likes of the bridge and the receiver each fill one part;
//! whoever runs them puts the parts together. Everything here is a value: no lock, no clock, no handle to what
//! it was taken from, so that it can be sent, stored and compared. Only [`Histogram`] is alive: what the parts
//! record times in.
//!
//! Rules: what counts has a name that ends in `_total` in JSON and never falls while the process lives; times
//! have their unit in the name; a number is in here or it is not seen anywhere.

mod bridge;
mod counts;
mod distribution;
mod json;
mod listener;
mod queue;
mod receiver;

use serde::Serialize;

pub use bridge::{
    BreakerState, BridgeRouteStatus, BridgeStatus, LinkCounts, LinkState, LinkStatus, RouteCounts,
};
pub use distribution::{BUCKETS, Bucket, Distribution, Histogram};
pub use listener::ListenerStatus;
pub use queue::{
    BackpressureStatus, CacheStatus, FeedStatus, JournalStatus, QueueStatus, Rates, RouteShare,
    RouteStatus,
};
pub use receiver::{InboxStatus, ReceiverStats, ReceiverStatus};

/// A process at one moment. What it doesn't run is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When it was taken.
    pub taken: Moment,
    /// What is known of the process itself.
    pub process: ProcessStatus,
    /// Where producers and operators connect.
    pub listener: Option<ListenerStatus>,
    /// Its queue, with routes and journal.
    pub queue: Option<QueueStatus>,
    /// Its bridge, with links.
    pub bridge: Option<BridgeStatus>,
    /// Its receiver: the endpoint's side, with the inbox.
    pub receiver: Option<ReceiverStatus>,
}

/// What a process runs beside its queue, as whoever runs it tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// The bridge, if one delivers what the queue holds.
    pub bridge: Option<BridgeStatus>,
    /// The receiver, if one executes commands.
    pub receiver: Option<ReceiverStatus>,
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Milliseconds since the Unix epoch, by the wall clock.
    #[serde(rename = "taken_unix_ms")]
    pub unix_ms: u64,
    /// Milliseconds since the process's monotonic clock started: what rates between two snapshots of one process
    /// are made of.
    #[serde(rename = "taken_mono_ms")]
    pub mono_ms: u64,
}

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessStatus {
    /// The version of its program.
    pub version: String,
    /// How long it has served, in milliseconds.
    pub uptime_ms: u64,
    /// It takes nothing new and finishes what is in flight.
    pub draining: bool,
    /// Files and connections that it may have open; zero if that is not known.
    pub open_files_max: u64,
}

impl Snapshot {
    /// The bridge's part of a route, if a bridge delivers it.
    pub fn delivery(&self, route: &str) -> Option<&BridgeRouteStatus> {
        let routes = self.bridge.iter().flat_map(|bridge| &bridge.routes);
        routes.into_iter().find(|found| found.name == route)
    }
}
