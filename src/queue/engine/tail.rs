//! The log's writing end, under the lock: what was appended, how far it is durable, and how long it is.

use crate::core::ids::SegmentNo;
use crate::core::{Event, QueueState};
use crate::journal::{Batch, Position, SealedBatch, Writer, next_batch};

/// See the module. Every event's way to the log leads through here.
#[derive(Debug)]
pub(super) struct Tail {
    writer: Writer,
    written: Written,
}

/// What went to the log since the opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Batches that are durable.
    pub(crate) batches: u64,
    /// Bytes of these batches, headers included.
    pub(crate) bytes: u64,
    /// Events appended, durable or on their way.
    pub(crate) records: u64,
}

impl Tail {
    pub(super) fn new(writer: Writer) -> Self {
        let written = Written::default();
        Self { writer, written }
    }

    /// Appends an event that is about to be applied to `state`, with its body, and fills in where that went. A
    /// volatile one leaves no trace.
    #[inline]
    pub(super) fn append(&mut self, state: &QueueState, event: &mut Event, body: &[u8]) {
        if event.is_durable() {
            self.writer.append(|| state.base(), event, body);
            self.written.records += 1;
        }
    }

    /// Appends that nothing up to this segment is needed any more.
    pub(super) fn retire(&mut self, state: &QueueState, segment: SegmentNo) {
        self.writer.retire(|| state.base(), segment);
    }

    /// Appends that the log is complete.
    pub(super) fn seal(&mut self, state: &QueueState) {
        self.writer.seal(|| state.base());
    }

    /// What is to be made durable next, unless something is under way.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        self.writer.take_batch()
    }

    /// That batch is durable.
    pub(super) fn completed(&mut self, batch: SealedBatch) {
        self.writer.completed(batch.end);
        self.written.batches += 1;
        self.written.bytes += batch.bytes.len() as u64;
        self.writer.give_back(batch.into_bytes());
    }

    /// Everything up to here is durable.
    pub(super) fn durable(&self) -> Position {
        self.writer.durable()
    }

    /// Where the batch begins that is filled now, if something is in it.
    pub(super) fn open_batch(&self) -> Option<Position> {
        self.writer.open_batch()
    }

    /// The end of what was appended.
    pub(super) fn appended(&self) -> Position {
        self.writer.appended()
    }

    /// Bytes that wait to be written.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.writer.pending_bytes()
    }

    /// The oldest segment that is needed, durably.
    pub(super) fn oldest(&self) -> SegmentNo {
        self.writer.oldest_segment()
    }

    /// The segment that is written now.
    pub(super) fn active(&self) -> SegmentNo {
        self.writer.active_segment()
    }

    /// Segments from the one to the other.
    pub(super) fn in_use(&self) -> u32 {
        self.writer.segments_in_use()
    }

    /// Routes that a segment has room to name.
    pub(super) fn routes_max(&self) -> usize {
        self.writer.geometry().routes_max() as usize
    }

    /// Where the next batch begins, counted in bytes over all segments that there ever were.
    pub(super) fn length(&self) -> u64 {
        let segment_bytes = u64::from(self.writer.geometry().segment_bytes());
        let full = u64::from(self.active().0) * segment_bytes;
        full + u64::from(next_batch(self.writer.active_bytes()))
    }

    pub(super) fn written(&self) -> Written {
        self.written
    }
}
