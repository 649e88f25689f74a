//! From batch to batch through one segment.

use super::super::layout::{BatchHeader, Generation, next_batch};
use super::super::limits::{BATCH_ALIGN_BYTES, BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::super::replay::IntactBatch;
use crate::core::ids::SegmentNo;

/// What is left of a batch that can't be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace {
    /// Its count of records, if a header or a witness tells.
    pub(super) records: Option<u32>,
    /// Its bytes, header included, likewise.
    pub(super) bytes: Option<u32>,
}

/// Steps through the intact batches of a segment's bytes and stops at the first that is none.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    segment: SegmentNo,
    generation: Generation,
    at: u32,
}

impl<'a> Walk<'a> {
    /// Over `bytes`, a whole segment file, which was written as `segment` in `generation`.
    pub fn new(bytes: &'a [u8], segment: SegmentNo, generation: Generation) -> Self {
        Self {
            bytes,
            segment,
            generation,
            at: SEGMENT_HEADER_BYTES,
        }
    }

    /// The newest opening that has written a batch of this segment into `bytes`, as far as batches say so.
    pub fn opening_of(bytes: &[u8], segment: SegmentNo) -> Option<Generation> {
        let starts =
            (SEGMENT_HEADER_BYTES as usize..bytes.len()).step_by(BATCH_ALIGN_BYTES as usize);
        let headers = starts.filter_map(|at| BatchHeader::decode(&bytes[at..]));
        let ours = headers.filter(|(header, _)| header.segment == segment);
        ours.map(|(header, _)| header.generation).max()
    }

    /// Where the next batch starts, or would.
    pub fn offset(&self) -> u32 {
        self.at
    }

    /// Over what stands between a stop and the end of the file, for somebody who wants to see what can
    /// still be read there: moves on to the next intact header and says where that is.
    pub fn skip_damage(&mut self) -> Option<u32> {
        self.at = self.behind()?;
        Some(self.at)
    }

    /// The intact header of this segment and generation at `offset`.
    fn header_at(&self, offset: u32) -> Option<(BatchHeader, u32)> {
        let (header, crc) = BatchHeader::decode(self.bytes.get(offset as usize..)?)?;
        let ours = header.segment == self.segment && header.generation == self.generation;
        let ours = ours || planted!(Bug::StaleBatchesFolded);
        ours.then_some((header, crc))
    }

    /// What stands where the next batch would, if it is no intact batch but the trace of one.
    pub(super) fn trace(&self) -> Option<Trace> {
        if let Some((header, _)) = self.header_at(self.at) {
            return Some(Trace {
                records: Some(header.records),
                bytes: Some(BATCH_HEADER_BYTES.saturating_add(header.records_bytes)),
            });
        }
        let bytes = self.bytes.get(self.at as usize..)?;
        BatchHeader::traces(bytes, self.segment, self.generation).then_some(Trace {
            records: None,
            bytes: None,
        })
    }

    /// The offset of the first intact batch header behind the place where the walk stopped. One that
    /// was written after what should stand there names a later place as durable; a copy of an earlier
    /// batch, inside somebody's body, does not.
    pub(super) fn behind(&self) -> Option<u32> {
        let size = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let mut offset = self.at.checked_add(BATCH_ALIGN_BYTES)?;
        while offset < size {
            if let Some((header, _)) = self.header_at(offset)
                && header.previous_end.segment() == self.segment
                && header.previous_end.offset() > self.at
            {
                return Some(offset);
            }
            offset = offset.checked_add(BATCH_ALIGN_BYTES)?;
        }
        None
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = IntactBatch<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut header, crc) = self.header_at(self.at)?;
        // Whatever it says: it stands in this segment.
        header.segment = self.segment;
        let bytes = self.bytes.get(self.at as usize..)?;
        let batch = IntactBatch::behind_header(header, crc, bytes, self.at)?;
        self.at = next_batch(batch.end);
        Some(batch)
    }
}
