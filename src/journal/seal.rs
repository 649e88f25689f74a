//! The checksums of batches: computed by the driver that writes them, outside the queue's lock.

use super::layout::{BatchHeader, FormatVersion, Generation, Position};
use super::limits::BATCH_HEADER_BYTES;
use super::replay::Start;
use super::writer::Batch;

/// A batch with its checksums: to be kept as it is.
#[derive(Debug)]
pub struct SealedBatch {
    batch: Batch,
    header: BatchHeader,
    crc: u32,
}

impl std::ops::Deref for SealedBatch {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        &self.batch
    }
}

impl SealedBatch {
    /// The opening that wrote it.
    pub fn generation(&self) -> Generation {
        self.header.generation
    }

    /// Where the batch before it ends.
    pub fn previous_end(&self) -> Position {
        self.header.previous_end
    }

    /// The CRC of that batch.
    pub fn previous_crc(&self) -> u32 {
        self.header.previous_crc
    }

    /// Its own CRC, which the next one names.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    pub(super) fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Its buffer, for [`super::Writer::give_back`].
    pub fn into_bytes(self) -> Vec<u8> {
        self.batch.bytes
    }
}

/// Seals batches in the order they were taken: each names the one before.
#[derive(Debug)]
pub struct Sealer {
    generation: Generation,
    previous_end: Position,
    previous_crc: u32,
}

impl Sealer {
    /// A sealer that begins where the writer of the same `start` does.
    pub fn new(start: &Start) -> Self {
        Self {
            generation: start.generation,
            previous_end: start.previous_end,
            previous_crc: start.previous_crc,
        }
    }

    /// Fills in the batch's header.
    pub fn seal(&mut self, mut batch: Batch) -> SealedBatch {
        let (header, records) = batch.bytes.split_at_mut(BATCH_HEADER_BYTES as usize);
        let sealed = BatchHeader {
            format: FormatVersion::WRITTEN,
            records_bytes: u32::try_from(records.len()).expect("segments are smaller than 4 GiB"),
            records: batch.records,
            segment: batch.segment,
            generation: self.generation,
            previous_crc: self.previous_crc,
            previous_end: self.previous_end,
            records_crc: crc32c::crc32c(records),
        };
        let (bytes, crc) = sealed.encode();
        header.copy_from_slice(&bytes);
        self.previous_crc = crc;
        self.previous_end = batch.end;
        SealedBatch {
            batch,
            header: sealed,
            crc,
        }
    }
}
