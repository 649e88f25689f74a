//! Which slots hold the log: from the head of each.

use super::super::layout::{BatchHeader, HeaderError, SegmentHeader, SlotNo};
use super::super::limits::{BATCH_ALIGN_BYTES, BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::RecoveryError;
use crate::core::ids::SegmentNo;

/// Bytes of a slot's file that a [`SlotHead`] takes from its front: the segment's header and the
/// first batch's.
pub const SLOT_HEAD_BYTES: usize = (SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES) as usize;

/// The front of a slot's file.
#[derive(Clone, Debug)]
pub struct SlotHead {
    /// The slot whose file it is.
    pub slot: SlotNo,
    /// Its first [`SLOT_HEAD_BYTES`] bytes, or fewer if the file is shorter.
    pub bytes: Vec<u8>,
}

/// A segment of the log and the slot it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedSegment {
    /// Where it lies.
    pub slot: SlotNo,
    /// What it says about itself.
    pub header: SegmentHeader,
}

/// What the heads of all slots say together.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The log: consecutive segments, oldest first, up to the newest.
    pub log: Vec<PlannedSegment>,
    /// All segments with a readable header that no later opening overruled, oldest first: the log, and
    /// before it segments that were retired or that a gap parts from it.
    pub segments: Vec<PlannedSegment>,
    /// Segments that a later opening overruled. Opening 3 made segment 8 ready and died before it wrote to
    /// it; opening 4 then begins a segment 8 of its own, and the one of opening 3 stands here. It holds no
    /// intact batch unless the log is damaged: give it to [`super::Judge::examine`].
    pub superseded: Vec<PlannedSegment>,
    /// Slots without a readable header in which a batch says it belongs to this segment.
    pub headless: Vec<(SlotNo, SegmentNo)>,
    /// Slots in whose head something was written and nothing can be read: to be read whole and given to
    /// [`Survey::claim`] before the survey is used.
    pub unclear: Vec<SlotNo>,
    /// Everything else: older segments, and slots that hold nothing.
    pub spares: Vec<SlotNo>,
    /// The oldest segment needed according to the newest header; retirements in the log may raise it.
    pub oldest: SegmentNo,
}

impl Survey {
    /// Orders the slots.
    ///
    /// # Errors
    /// [`RecoveryError::Newer`]. Damage is found only in the light of the whole log: see
    /// [`super::Judge::finish`].
    pub fn new(heads: &[SlotHead]) -> Result<Self, RecoveryError> {
        let mut segments = Vec::new();
        let mut headless = Vec::new();
        let mut unclear = Vec::new();
        let mut spares = Vec::new();
        for head in heads {
            let slot = head.slot;
            match SegmentHeader::decode(&head.bytes) {
                Ok(header) => segments.push(PlannedSegment { slot, header }),
                Err(HeaderError::Newer(what)) => {
                    return Err(RecoveryError::Newer { slot, what });
                }
                Err(error) => {
                    spares.push(slot);
                    let first = head.bytes.get(SEGMENT_HEADER_BYTES as usize..);
                    match first.and_then(BatchHeader::decode) {
                        Some((batch, _)) => headless.push((slot, batch.segment)),
                        None if error == HeaderError::Unreadable => unclear.push(slot),
                        None => {}
                    }
                }
            }
        }
        segments.sort_by_key(|planned| {
            let header = planned.header;
            (header.segment, header.generation, planned.slot)
        });
        let (segments, superseded) = supersede(segments);
        let oldest = segments
            .last()
            .map_or(SegmentNo(1), |last| last.header.oldest);
        let log_start = contiguous_from(&segments, oldest);
        spares.extend(segments[..log_start].iter().map(|planned| planned.slot));
        spares.sort();
        Ok(Self {
            log: segments[log_start..].to_vec(),
            segments,
            superseded,
            headless,
            unclear,
            spares,
            oldest,
        })
    }

    /// Looks in the whole of an unclear slot, `bytes`, for a batch that tells to which segment it belongs:
    /// damage that took a segment's header and its first batch must not pass for an empty slot.
    pub fn claim(&mut self, slot: SlotNo, bytes: &[u8]) {
        self.unclear.retain(|unclear| *unclear != slot);
        let starts =
            (SEGMENT_HEADER_BYTES as usize..bytes.len()).step_by(BATCH_ALIGN_BYTES as usize);
        // What an older life of the slot left behind has lower numbers: the newest is what counts.
        let newest = starts
            .filter_map(|at| {
                let batch = BatchHeader::decode(&bytes[at..]).map(|(batch, _)| batch);
                batch.or_else(|| BatchHeader::decode_witness(&bytes[at..]))
            })
            .map(|batch| batch.segment)
            .max();
        self.headless.extend(newest.map(|segment| (slot, segment)));
    }
}

/// Splits off the segments that a later opening has overruled: its first segment has their number or a
/// smaller one, because nothing was written to them.
fn supersede(segments: Vec<PlannedSegment>) -> (Vec<PlannedSegment>, Vec<PlannedSegment>) {
    let overruled = |planned: &PlannedSegment| {
        segments.iter().any(|other| {
            let (other_is, this_is) = (other.header, planned.header);
            let later = other_is.generation > this_is.generation;
            let twin = other_is.generation == this_is.generation && other.slot > planned.slot;
            (later && other_is.segment <= this_is.segment)
                || (twin && other_is.segment == this_is.segment)
        })
    };
    let (superseded, log) = segments.iter().copied().partition(overruled);
    (log, superseded)
}

/// Where the unbroken run of segments that ends with the newest begins, as an index.
fn contiguous_from(log: &[PlannedSegment], oldest: SegmentNo) -> usize {
    let mut start = log.len().saturating_sub(1);
    while let Some(before) = start.checked_sub(1)
        && log[start].header.segment > oldest
        && log[before].header.segment.0.checked_add(1) == Some(log[start].header.segment.0)
    {
        start = before;
    }
    start
}
