//! Product options and latencies of a scenario's runs, as ranges.

use super::{Between, Bytes};
use crate::plan::Micros;

/// The ranges from which [`Knobs`](crate::plan::Knobs) are drawn. The defaults are fixed values, small enough
/// that a run of a minute sees leases expire, budgets run out and the log go round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnobRanges {
    /// How long a lease lasts unless it is extended.
    pub lease: Between<Micros>,
    /// How long a lease may be held in all; never drawn below the lease.
    pub max_hold: Between<Micros>,
    /// Budget of rejections.
    pub max_retries: Between<u16>,
    /// Budget of charged doubts.
    pub max_in_doubt: Between<u16>,
    /// First ceiling of the backoff.
    pub backoff_min: Between<Micros>,
    /// Last ceiling of the backoff; never drawn below the first.
    pub backoff_max: Between<Micros>,
    /// Bytes of a journal segment, rounded up to whole pages.
    pub segment_bytes: Between<Bytes>,
    /// Bytes of all segments of a queue, rounded up to whole segments.
    pub log_bytes_max: Between<Bytes>,
    /// Bytes of bodies kept in memory.
    pub cache_bytes: Between<Bytes>,
    /// Pending tasks a queue takes.
    pub capacity: Between<u64>,
    /// Deliveries in flight per route.
    pub window: Between<u32>,
    /// The dedupe window.
    pub key_window: Between<Micros>,
    /// Heartbeat interval of both sides.
    pub heartbeat: Between<Micros>,
    /// Shortest latency of a message between two hosts.
    pub latency_min: Between<Micros>,
    /// Longest latency; never drawn below the shortest.
    pub latency_max: Between<Micros>,
    /// The waits after rejections, one after the other; none: they are as after doubts.
    pub schedule: Vec<Between<Micros>>,
    /// How old a task may get; none: any age.
    pub max_age: Option<Between<Micros>>,
    /// Bytes a second of the lines between bridges and endpoints; none: there are no lines.
    pub line: Option<Between<Bytes>>,
    /// How long these lines are, one way.
    pub line_delay: Between<Micros>,
}

impl Default for KnobRanges {
    fn default() -> Self {
        Self {
            lease: Micros::from_secs(10).into(),
            max_hold: Micros::from_secs(60).into(),
            max_retries: 5.into(),
            max_in_doubt: 20.into(),
            backoff_min: Micros::from_millis(250).into(),
            backoff_max: Micros::from_secs(5).into(),
            segment_bytes: Bytes::kib(64).into(),
            log_bytes_max: Bytes::kib(4 << 10).into(),
            cache_bytes: Bytes::kib(1 << 10).into(),
            capacity: 1_000.into(),
            window: 16.into(),
            key_window: Micros::from_secs(3_600).into(),
            heartbeat: Micros::from_secs(1).into(),
            latency_min: Micros::from_millis(1).into(),
            latency_max: Micros::from_millis(20).into(),
            schedule: Vec::new(),
            max_age: None,
            line: None,
            line_delay: Micros::from_millis(10).into(),
        }
    }
}
