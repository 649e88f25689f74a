//! A receiver's status as a message, and back.

use crate::observe::{InboxStatus, ReceiverStatus};
use crate::wire::v1;

impl From<&ReceiverStatus> for v1::ReceiverStatus {
    fn from(receiver: &ReceiverStatus) -> Self {
        let ReceiverStatus {
            inbox_id,
            links,
            running,
            ready,
            unanswered,
            uncommitted,
            inbox:
                InboxStatus {
                    tasks,
                    result_bytes,
                    settled_ranges,
                },
            stats,
            bad_frames,
            handler_time,
            commit_time,
        } = receiver;
        let bad = |(reason, count): (&String, &u64)| v1::BadFrames {
            reason: reason.clone(),
            count: *count,
        };
        Self {
            inbox_id: inbox_id.clone(),
            links: *links,
            running: *running,
            ready: *ready,
            unanswered: *unanswered,
            uncommitted: *uncommitted,
            inbox_tasks: *tasks,
            inbox_result_bytes: *result_bytes,
            inbox_settled_ranges: *settled_ranges,
            counts: Some((*stats).into()),
            bad_frames: bad_frames.iter().map(bad).collect(),
            handler_time: Some(handler_time.into()),
            commit_time: Some(commit_time.into()),
        }
    }
}

impl From<v1::ReceiverStatus> for ReceiverStatus {
    fn from(receiver: v1::ReceiverStatus) -> Self {
        let v1::ReceiverStatus {
            inbox_id,
            links,
            running,
            ready,
            unanswered,
            uncommitted,
            inbox_tasks,
            inbox_result_bytes,
            inbox_settled_ranges,
            counts,
            bad_frames,
            handler_time,
            commit_time,
        } = receiver;
        let bad = |v1::BadFrames { reason, count }| (reason, count);
        Self {
            inbox_id,
            links,
            running,
            ready,
            unanswered,
            uncommitted,
            inbox: InboxStatus {
                tasks: inbox_tasks,
                result_bytes: inbox_result_bytes,
                settled_ranges: inbox_settled_ranges,
            },
            stats: counts.unwrap_or_default().into(),
            bad_frames: bad_frames.into_iter().map(bad).collect(),
            handler_time: handler_time.unwrap_or_default().into(),
            commit_time: commit_time.unwrap_or_default().into(),
        }
    }
}
