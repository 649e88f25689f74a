//! The queue as a whole, its journal, and distributions.

use crate::observe::{Distribution, JournalStatus, QueueStatus};
use crate::wire::v1;

impl From<&QueueStatus> for v1::QueueStatus {
    fn from(queue: &QueueStatus) -> Self {
        let QueueStatus {
            poison_queue_name: _in_the_reply,
            counts,
            totals,
            keys,
            clock_doubted,
            clock_waiting,
            cache,
            feed,
            backpressure,
            commit_wait,
            journal: _in_the_reply_too,
            routes: _in_the_reply_as_well,
        } = queue;
        Self {
            counts: Some((*counts).into()),
            totals: Some((*totals).into()),
            keys: *keys,
            clock_doubted: *clock_doubted,
            clock_waiting: *clock_waiting,
            cache: Some((*cache).into()),
            feed: Some((*feed).into()),
            backpressure: Some((*backpressure).into()),
            commit_wait: Some(commit_wait.into()),
        }
    }
}

impl From<&JournalStatus> for v1::JournalStatus {
    fn from(journal: &JournalStatus) -> Self {
        let JournalStatus {
            folder,
            segments,
            segments_in_use,
            log_bytes,
            log_bytes_max,
            live_bytes,
            key_bytes,
            pending_bytes,
            syncs,
            records,
            written_bytes,
            full,
        } = journal.clone();
        Self {
            folder,
            segments: segments.into(),
            segments_in_use: segments_in_use.into(),
            log_bytes,
            log_bytes_max,
            live_bytes,
            key_bytes,
            pending_bytes,
            syncs_total: syncs,
            records_total: records,
            written_bytes_total: written_bytes,
            full,
        }
    }
}

impl From<v1::JournalStatus> for JournalStatus {
    fn from(journal: v1::JournalStatus) -> Self {
        let v1::JournalStatus {
            folder,
            segments,
            segments_in_use,
            log_bytes,
            log_bytes_max,
            live_bytes,
            key_bytes,
            pending_bytes,
            syncs_total,
            records_total,
            written_bytes_total,
            full,
        } = journal;
        Self {
            folder,
            segments: u32::try_from(segments).unwrap_or(u32::MAX),
            segments_in_use: u32::try_from(segments_in_use).unwrap_or(u32::MAX),
            log_bytes,
            log_bytes_max,
            live_bytes,
            key_bytes,
            pending_bytes,
            syncs: syncs_total,
            records: records_total,
            written_bytes: written_bytes_total,
            full,
        }
    }
}

impl From<&Distribution> for v1::Distribution {
    fn from(distribution: &Distribution) -> Self {
        Self {
            sum_us: distribution.sum_us(),
            buckets: distribution.buckets().map(Into::into).collect(),
        }
    }
}

impl From<v1::Distribution> for Distribution {
    fn from(v1::Distribution { sum_us, buckets }: v1::Distribution) -> Self {
        Self::from_buckets(buckets.into_iter().map(Into::into), sum_us)
    }
}
