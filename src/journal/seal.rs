//! The checksums of batches: computed by the driver that writes them, outside the queue's lock.

use super::layout::{BatchHeader, Generation, Position, SegmentHeader};
use super::limits::{BATCH_HEADER_BYTES, Geometry};
use super::replay::Start;
use super::writer::Batch;

/// Seals batches in the order they were taken: each names the one before.
#[derive(Debug)]
pub struct Sealer {
    generation: Generation,
    segment_bytes: u32,
    previous_end: Position,
    previous_crc: u32,
}

impl Sealer {
    /// A sealer that begins where the writer of the same `start` does.
    pub fn new(geometry: Geometry, start: &Start) -> Self {
        Self {
            generation: start.generation,
            segment_bytes: geometry.segment_bytes(),
            previous_end: start.previous_end,
            previous_crc: start.previous_crc,
        }
    }

    /// Fills in the batch's header. If the batch ends its segment, returns the next one's header: it
    /// must be durable before the batch is written, so that a log that says where it goes on always
    /// does.
    pub fn seal(&mut self, batch: &mut Batch) -> Option<SegmentHeader> {
        let (header, records) = batch.bytes.split_at_mut(BATCH_HEADER_BYTES as usize);
        let (bytes, crc) = BatchHeader {
            records_bytes: u32::try_from(records.len()).expect("segments are smaller than 4 GiB"),
            records: batch.records,
            segment: batch.segment,
            generation: self.generation,
            previous_crc: self.previous_crc,
            previous_end: self.previous_end,
            records_crc: crc32c::crc32c(records),
        }
        .encode();
        header.copy_from_slice(&bytes);
        self.previous_crc = crc;
        self.previous_end = batch.end;
        batch.rolls_to.map(|roll| SegmentHeader {
            segment: roll.next,
            generation: self.generation,
            oldest: roll.oldest,
            segment_bytes: self.segment_bytes,
            previous_end: batch.end,
            previous_crc: crc,
        })
    }
}
