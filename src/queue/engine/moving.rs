//! How an old segment goes: what is still needed of it is written anew, then it is retired.
//!
//! The copies are durable before the retirement is appended, and that is durable before the log lets go of the
//! segment.

use super::super::log::{LogFailure, SegmentRecord};
use super::{Core, Engine, QueueStage};
use crate::core::ids::{KeyHash, SegmentNo};
use crate::core::{Event, Input, Now, TaskId};
use crate::coverage::{Site, always, reached};

/// Bytes of bodies moved under one hold of the lock.
const CHUNK_BYTES: usize = 256 << 10;

/// Records looked at under one hold of the lock.
const CHUNK_RECORDS: usize = 512;

impl Core {
    /// Retires a segment that holds nothing any more; `false` if it does.
    fn retire(&mut self, segment: SegmentNo) -> bool {
        let needed = !self.state.is_unneeded(segment) || self.state.origins_home() == Some(segment);
        if self.stage == QueueStage::Closed || needed {
            return false;
        }
        self.tail.retire(&self.state, segment);
        true
    }

    /// Writes what is known of the log's openings anew, if it stands in `from`. A record of a few kilobytes at the
    /// most: no segment is kept for it.
    fn move_origins(&mut self, now: Now, from: SegmentNo) {
        if self.stage != QueueStage::Closed {
            let moved = self.run(now, Input::KeepOrigins { from }, &[]);
            always!(Site::CompactionNeverRefused, moved.is_ok());
        }
    }

    /// Writes anew what of these records is still needed, and says by how many bytes the log grew. The unused end of
    /// a segment that had no room for the next record counts as well. Where two records fill two thirds of a segment and
    /// a third one doesn't fit, every pass would else look like a gain and be followed by another, for ever.
    fn move_records(&mut self, now: Now, from: SegmentNo, records: &[SegmentRecord]) -> u64 {
        if self.stage == QueueStage::Closed {
            return 0;
        }
        let before = self.tail.length();
        for record in records {
            let (task, key) = carried(&record.event);
            if let Some(id) = task {
                let moved = self.run(now, Input::Move { id, from }, &record.body);
                always!(Site::CompactionNeverRefused, moved.is_ok());
            }
            if let Some(key) = key {
                let moved = self.run(now, Input::MoveKey { key, from }, &[]);
                always!(Site::CompactionNeverRefused, moved.is_ok());
            }
        }
        self.tail.length() - before
    }
}

/// The task and the key whose newest record an event may be.
fn carried(event: &Event) -> (Option<TaskId>, Option<KeyHash>) {
    match event {
        Event::Enqueued(enqueued) => (Some(enqueued.id), enqueued.key.map(|(key, _)| key)),
        Event::Restored { image, .. } | Event::Moved { image, .. } => {
            (Some(image.id), image.key.map(|(key, _)| key))
        }
        Event::KeyMoved { key, .. } => (None, Some(key.key)),
        _ => (None, None),
    }
}

impl Engine {
    /// Lets one segment go if one should, or, if `early`, if one can. Says whether to look again at once.
    pub(super) async fn compact_once(&self, early: bool) -> bool {
        let next = self.look(|core, _| match core.stage {
            QueueStage::Closed => None,
            _ => core
                .compaction
                .next(&core.state, &core.tail, &core.space, early),
        });
        let Some(segment) = next else {
            return false;
        };
        match self.compact(segment).await {
            Ok(()) => true,
            Err(CompactError::Journal) => false,
            Err(CompactError::Read(what)) => {
                reached!(Site::SegmentUnreadable);
                // The segment stays: what it holds is pinned there until the log is repaired.
                tracing::error!(
                    segment = segment.0,
                    error = %what,
                    "a segment can't be compacted; run `leasebridge journal verify`"
                );
                false
            }
        }
    }

    async fn compact(&self, segment: SegmentNo) -> Result<(), CompactError> {
        if !self.look(|core, _| core.state.is_unneeded(segment)) {
            let mut bytes = 0;
            let records = self.log.read_segment(segment).await;
            let records = records.map_err(|error| CompactError::Read(error.to_string()))?;
            let mut rest = records.as_slice();
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(chunk_len(rest));
                rest = after;
                let moved = self.with(|core, now| core.move_records(now, segment, chunk));
                bytes += match planted!(Bug::SegmentReusedEarly) {
                    true => *moved.peek(),
                    false => self.kept(moved).await?,
                };
            }
            self.look_and(|core, _| {
                core.compaction
                    .count(segment, bytes, &core.state, &core.tail, &core.space);
            });
        }
        if self.look(|core, _| core.state.origins_home() == Some(segment)) {
            let moved = self.with(|core, now| core.move_origins(now, segment));
            self.kept(moved).await?;
        }
        let retired = self.with(|core, _| core.retire(segment));
        let retired = match planted!(Bug::SegmentReusedEarly) {
            true => *retired.peek(),
            false => self.kept(retired).await?,
        };
        if !retired && self.is_closed() {
            return Ok(());
        }
        if !retired {
            return Err(CompactError::Read(
                "tasks stand in it that were not found there".into(),
            ));
        }
        if let Err(failure) = self.log.retire(segment).await {
            self.fail(failure);
            return Err(CompactError::Journal);
        }
        self.set_space(self.log.room().ready, None);
        reached!(Site::SegmentRetired);
        tracing::debug!(segment = segment.0, "segment retired");
        Ok(())
    }
}

fn chunk_len(records: &[SegmentRecord]) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take(CHUNK_RECORDS).take_while(|record| {
        bytes += record.body.len();
        bytes <= CHUNK_BYTES
    });
    fits.count().max(1)
}

enum CompactError {
    /// Nothing more becomes durable; somebody else reports that.
    Journal,
    Read(String),
}

impl From<LogFailure> for CompactError {
    fn from(_: LogFailure) -> Self {
        Self::Journal
    }
}
