//! Which bytes of a folder of slots are the log, judged without I/O. Only a log in files has slots.
//!
//! [`Survey`] reads the heads of all slots and says which hold the log; whoever has the files reads
//! those in order and feeds them to a [`Judge`], which finds their batches, has them folded by a
//! [`Replay`](super::Replay) and at the end says what was found and where the log goes on. Nothing is
//! modified by any of it.
//!
//! What may be wrong without harm is exactly one thing: the last batch of a log that was not sealed
//! may be torn, because it was in flight when the power went. Everything else that does not decode is
//! corruption: it is reported with its place, and nothing is skipped. That it was the last one, the
//! [witnesses](super::Witness) say; that the log's end is there at all, its [mark](super::Mark).

mod judge;
mod survey;
mod walk;

use super::layout::{Generation, Newer, SegmentHeader, SlotNo};
use super::replay::{ReadCounts, Start};
use super::seal::SealedBatch;
use crate::core::ids::SegmentNo;

pub use judge::Judge;
pub use survey::{PlannedSegment, SLOT_HEAD_BYTES, SlotHead, Survey};
pub use walk::Walk;

impl SegmentHeader {
    /// Of the segment that an opening begins.
    pub fn opening(start: &Start, segment_bytes: u32) -> Self {
        Self {
            segment: start.segment,
            generation: start.generation,
            oldest: start.oldest,
            segment_bytes,
            previous_end: start.previous_end,
            previous_crc: start.previous_crc,
            // Until its first batch is durable, which says so in a record.
            is_cut: start.is_cut,
        }
    }

    /// Of the segment that the log goes on in, if the batch ends its own. It must be durable before the
    /// batch is written, so that a log that says where it goes on always does.
    pub fn behind(batch: &SealedBatch, segment_bytes: u32) -> Option<Self> {
        batch.rolls_to.map(|roll| Self {
            segment: roll.next,
            generation: batch.generation(),
            oldest: roll.oldest,
            segment_bytes,
            previous_end: batch.end,
            previous_crc: batch.crc(),
            is_cut: false,
        })
    }
}

/// Damage that recovery will not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {}{} at byte {offset}: {what}", segment.0, slot_words(*slot))]
pub struct Corruption {
    /// The damaged segment.
    pub segment: SegmentNo,
    /// The file it lies in, if there is one.
    pub slot: Option<SlotNo>,
    /// Where in it.
    pub offset: u32,
    /// What is wrong.
    pub what: String,
}

fn slot_words(slot: Option<SlotNo>) -> String {
    slot.map_or_else(String::new, |slot| format!(" (file {slot})"))
}

/// Why a log is not recovered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The log is damaged somewhere before its end.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// Written by a later version of this program.
    #[error("file {slot} is of {what}")]
    Newer {
        /// The file that says so.
        slot: SlotNo,
        /// What it says.
        what: Newer,
    },
}

/// The last batch of a log that was not sealed, if it can't be read: as a rule it was in flight when the process
/// or the power went. Rot in a batch that nothing followed looks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment that it was written to.
    pub segment: SegmentNo,
    /// The file it lies in.
    pub slot: SlotNo,
    /// Where the batch starts: the log is cut here.
    pub offset: u32,
    /// Its count of records, if its header or its witness arrived.
    pub records: Option<u32>,
    /// Its bytes, header included, likewise.
    pub bytes: Option<u32>,
}

/// Where the last intact batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// The file that it stands in.
    pub slot: SlotNo,
    /// Where in it.
    pub offset: u32,
    /// Bytes, header included.
    pub bytes: u32,
}

/// A segment that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSegment {
    /// Its number within the log.
    pub segment: SegmentNo,
    /// Where it lies.
    pub slot: SlotNo,
    /// The opening that wrote it.
    pub generation: Generation,
    /// Where its last batch ends.
    pub end: u32,
    /// Records up to there.
    pub records: u32,
}

/// What a whole log amounted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the next opening goes on.
    pub start: Start,
    /// The segments still needed, oldest first.
    pub segments: Vec<LiveSegment>,
    /// Slots that hold nothing needed.
    pub spares: Vec<SlotNo>,
    /// Slots of a segment that was begun and never reached: spares as soon as the next opening's
    /// header is durable elsewhere, and not before.
    pub abandoned: Vec<SlotNo>,
    /// The newest segment that has a header, and the opening that wrote that.
    pub newest: Option<(SegmentNo, Generation)>,
    /// The opening that wrote the last batch.
    pub written: Option<Generation>,
    /// Whether a batch was found that was written only after a [mark](super::Mark) was made.
    pub needs_mark: bool,
    /// The last batch of the log. It reads well, but its sync may never have succeeded: a process that died
    /// while the machine went on leaves it in the page cache. So it is written again as it is, and synced,
    /// before anything is built on it.
    pub last_batch: Option<LastBatch>,
    /// The batch that was cut, if one was.
    pub torn: Option<Torn>,
    /// Whether the last close was in order.
    pub sealed: bool,
    /// What was read.
    pub counts: ReadCounts,
}

impl Recovered {
    /// Whether no opening has left anything: there was no log.
    pub fn is_new(&self) -> bool {
        self.newest.is_none() && self.counts.batches == 0
    }
}
