//! What a batch leaves of itself in another page of its segment.
//!
//! Batches share pages: a page that goes bad at the end of a log may take many of them, and nothing stands
//! behind that could tell. So each is written together with a *witness*, at the segment's end: a copy of its
//! header. A batch is begun only when the one before is durable. So a witness proves how far the log went, and
//! only the last batch of all can be missing without contradicting one. Two places take turns: what tears the newest
//! leaves the one before.

use super::layout::{BatchHeader, Position, SegmentHeader};
use super::limits::{BATCH_HEADER_BYTES, WITNESS_PAGE_BYTES, WITNESS_SECTOR_BYTES};
use super::seal::SealedBatch;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Everything before this place was durable when the batch was written: where it was to begin.
    pub durable: Position,
    /// The batch's count of records.
    pub records: u32,
    /// Its bytes, header included.
    pub bytes: u32,
}

impl Witness {
    /// The bytes that go to [`Witness::place`] with the batch: in the same sync, and before it is called durable.
    pub fn of(batch: &SealedBatch) -> [u8; BATCH_HEADER_BYTES as usize] {
        batch.header().encode_witness()
    }

    /// Where the witness of a segment's batch with this count stands, in a segment of so many bytes.
    pub fn place(segment_bytes: u32, batch: u64) -> u32 {
        let sector = if batch.is_multiple_of(2) {
            0
        } else {
            WITNESS_SECTOR_BYTES
        };
        segment_bytes
            .saturating_sub(WITNESS_PAGE_BYTES)
            .saturating_add(sector)
    }

    /// The newest in `bytes`, a segment's whole file: the last batch that was begun, unless its write never
    /// arrived.
    pub(crate) fn newest(bytes: &[u8], header: &SegmentHeader) -> Option<Self> {
        let ours = |read: &BatchHeader| {
            read.segment == header.segment && read.generation == header.generation
        };
        let found = (0..2).filter_map(|batch| {
            let page = header.segment_bytes.checked_sub(WITNESS_PAGE_BYTES)?;
            let at = page.checked_add(Self::place(WITNESS_PAGE_BYTES, batch))?;
            BatchHeader::decode_witness(bytes.get(at as usize..)?).filter(ours)
        });
        found.max_by_key(|read| read.previous_end).map(|read| Self {
            durable: read.previous_end,
            records: read.records,
            bytes: BATCH_HEADER_BYTES.saturating_add(read.records_bytes),
        })
    }
}
