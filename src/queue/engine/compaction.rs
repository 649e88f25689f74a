//! Old segments go: what is still needed of the oldest is written anew, then it is retired.
//!
//! Strictly oldest first. The copies are durable before the retirement is appended, and that is durable
//! before the file is used again.

use super::super::log::{LogFailure, SegmentRecord};
use super::admission::RESERVED_SEGMENTS;
use super::{Core, Engine, Stage};
use crate::core::ids::{KeyHash, SegmentNo};
use crate::core::{Event, Input, Now, TaskId};
use crate::coverage::{Site, always, reached, sometimes};
use crate::journal::next_batch;

/// Segments beside twice what lives that the log may have before the oldest is compacted: enough
/// that a short backlog dies of itself before anything is copied.
const SEGMENTS_SLACK: u32 = 3;

/// A pass that frees less than one part in so many of what it read was not worth it.
const GAIN_SHARE_MIN: u64 = 8;

/// A pass of compaction over the whole log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// The segment that was being written when it began.
    until: SegmentNo,
    /// Segments that were read, because something in them was still needed.
    segments: u64,
    /// Bytes of the log that what was written anew took.
    bytes: u64,
}

/// What the last pass over the whole log found: next to nothing to free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Futile {
    /// Holds until more segments than this are in use,
    up_to: u32,
    /// or clearly less than this lives.
    live: u64,
}

/// Segments that a rest after a futile pass leaves alone: one to compact into, one for the traffic meanwhile, one for
/// the opening after a crash.
const COMPACTION_RESERVE: u32 = 3;

/// Bytes of bodies moved under one hold of the lock.
const CHUNK_BYTES: usize = 256 << 10;

/// Records looked at under one hold of the lock.
const CHUNK_RECORDS: usize = 512;

impl Core {
    /// The segment that is to go next, if one is; if `early`, the oldest that can.
    fn to_compact(&self, early: bool) -> Option<SegmentNo> {
        if self.stage == Stage::Closed {
            return None;
        }
        let in_use = self.writer.segments_in_use();
        let oldest = self.writer.oldest_segment();
        if oldest == self.writer.active_segment() {
            return None;
        }
        let short = self.space.ready + self.space.growable(in_use) <= RESERVED_SEGMENTS + 1;
        // Early only where there is room to move things to: the reserve is for when it must be.
        if self.state.is_unneeded(oldest) || (early && !short) {
            return Some(oldest);
        }
        let live = self.state.live_bytes() + KEY_BYTES * self.state.keys_len() as u64;
        let live = u32::try_from(live.div_ceil(self.space.segment_bytes)).unwrap_or(u32::MAX);
        let worth_it = in_use > live.saturating_add(1);
        let roomy = live.saturating_mul(2).saturating_add(SEGMENTS_SLACK);
        let gains = self.futile.is_none_or(|futile| {
            let shrunk = self.state.live_bytes() < futile.live - futile.live / GAIN_SHARE_MIN;
            in_use > futile.up_to || shrunk
        });
        (gains && (in_use > roomy || (short && worth_it))).then_some(oldest)
    }

    /// Notes that what lived of a segment has been written anew and took so many bytes. What lives is only
    /// estimated elsewhere: a pass over the whole log that took nearly as much as it read shows that there is
    /// next to nothing to free, and the next one waits until the log has grown.
    fn count_compacted(&mut self, segment: SegmentNo, bytes: u64) {
        let active = self.writer.active_segment();
        let in_use = self.writer.segments_in_use();
        let pass = self.pass.get_or_insert(Pass {
            until: active,
            segments: 0,
            bytes: 0,
        });
        pass.segments += 1;
        pass.bytes += bytes;
        if segment >= pass.until {
            let read = pass.segments * self.space.segment_bytes;
            let futile = pass.bytes > read - read / GAIN_SHARE_MIN;
            sometimes!(Site::CompactionFutile, futile);
            // Leases and settlements go on writing: the log must not grow into what it takes to compact it.
            let ahead = self.space.ready + self.space.growable(in_use);
            let spendable = ahead.saturating_sub(COMPACTION_RESERVE);
            self.futile = futile.then(|| Futile {
                up_to: in_use + (in_use / 4).min(spendable),
                live: self.state.live_bytes(),
            });
            self.pass = None;
        }
    }

    /// Retires a segment that holds nothing any more; `false` if it does.
    fn retire(&mut self, segment: SegmentNo) -> bool {
        if self.stage == Stage::Closed || !self.state.is_unneeded(segment) {
            return false;
        }
        let state = &self.state;
        self.writer.retire(|| state.base(), segment);
        true
    }

    /// Writes anew what of these records is still needed; says how many bytes of the log that took. The end of
    /// a segment that had no room for the next record counts: where records are large beside their segments, a pass
    /// that leaves out a fifth may lose it all again there, and one that were called a gain for what it left out
    /// would be followed by another at once, for ever.
    fn move_records(&mut self, now: Now, from: SegmentNo, records: &[SegmentRecord]) -> u64 {
        if self.stage == Stage::Closed {
            return 0;
        }
        let before = self.end_of_log();
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
        self.end_of_log() - before
    }

    /// Where the next batch begins, counted in bytes over all segments that there ever were.
    fn end_of_log(&self) -> u64 {
        let full = u64::from(self.writer.active_segment().0) * self.space.segment_bytes;
        full + u64::from(next_batch(self.writer.active_bytes()))
    }
}

/// What a remembered key costs in the log, about.
const KEY_BYTES: u64 = 96;

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
        let Some(segment) = self.look(|core, _| core.to_compact(early)) else {
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
            self.look_and(|core, _| core.count_compacted(segment, bytes));
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
