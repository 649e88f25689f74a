//! Folds the batches of a log, whatever keeps them: files in slots, rows of a table, an array.
//!
//! Whoever keeps the log hands over its batches in order, each intact by itself. Here it is checked that
//! each was written behind the one before, and that the segments begin and end as a writer makes them; their
//! events go to a [`Fold`]. Nothing here knows where a batch came from, or what becomes of one that is
//! missing.

use super::layout::{BatchHeader, Generation, Newer, Position};
use super::limits::{BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::record::{Control, LogRecord, Records};
use crate::core::event::{Base, Event};
use crate::core::ids::SegmentNo;

/// What a log is folded into.
pub trait Fold {
    /// The state a segment begins with. The first one starts the fold; every later one is what the
    /// fold already has, and is to be compared with it.
    ///
    /// # Errors
    /// Says in words what contradicts what. The log counts as corrupt.
    fn base(&mut self, base: Base) -> Result<(), String>;

    /// The next event. An event about a task unknown to the fold is one whose task was moved on or
    /// finished later in the log, its beginning retired: it is to be passed over.
    ///
    /// # Errors
    /// As for [`Fold::base`].
    fn event(&mut self, event: Event) -> Result<(), String>;
}

/// A batch as it was read: its header is intact, and its records are those that were written.
#[derive(Clone, Copy, Debug)]
pub struct IntactBatch<'a> {
    /// Where it starts in its segment.
    pub offset: u32,
    /// Where its last record ends.
    pub end: u32,
    /// What the batch says of itself and of the one before.
    pub header: BatchHeader,
    /// The CRC the next batch chains to.
    pub crc: u32,
    records: &'a [u8],
}

impl<'a> IntactBatch<'a> {
    /// How many bytes it takes in its segment.
    pub(crate) fn bytes(&self) -> u32 {
        self.end.saturating_sub(self.offset)
    }

    /// The batch at the front of `bytes`, which stood at `offset` of its segment; `None` if none is there, or
    /// only a part of one.
    pub fn decode(bytes: &'a [u8], offset: u32) -> Option<Self> {
        let (header, crc) = BatchHeader::decode(bytes)?;
        Self::behind_header(header, crc, bytes, offset)
    }

    /// The same, for somebody who has decoded the header already.
    pub(super) fn behind_header(
        header: BatchHeader,
        crc: u32,
        bytes: &'a [u8],
        offset: u32,
    ) -> Option<Self> {
        let size = BATCH_HEADER_BYTES.checked_add(header.records_bytes)?;
        let end = offset.checked_add(size)?;
        let records = bytes.get(BATCH_HEADER_BYTES as usize..size as usize)?;
        (crc32c::crc32c(records) == header.records_crc).then_some(Self {
            offset,
            end,
            header,
            crc,
            records,
        })
    }

    /// Its records. Bodies are named by the segment that the header speaks of.
    pub fn records(&self) -> Records<'a> {
        Records::new(
            self.records,
            self.header.format,
            self.header.segment,
            self.offset.saturating_add(BATCH_HEADER_BYTES),
        )
    }
}

/// Where the next opening goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The segment it begins.
    pub segment: SegmentNo,
    /// The generation that this opening writes.
    pub generation: Generation,
    /// The oldest segment still needed.
    pub oldest: SegmentNo,
    /// Where the log ends so far.
    pub previous_end: Position,
    /// The CRC of its last batch.
    pub previous_crc: u32,
    /// A repair has cut off what followed, and nothing was written since.
    pub is_cut: bool,
}

/// Counts of what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Batches that were intact.
    pub batches: u64,
    /// Records of all kinds.
    pub records: u64,
    /// Bytes of batches, headers included.
    pub bytes: u64,
}

/// How a log ends, as far as it was folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnding {
    /// In the middle of things.
    Open,
    /// Its segment is full: it goes on in this one.
    Roll(SegmentNo),
    /// It was closed in order.
    Seal,
}

/// What is wrong with a batch that is intact by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct Flaw {
    /// Where in its segment.
    pub offset: u32,
    /// What is wrong, for people.
    pub what: String,
    /// Then it is not damaged: a newer program wrote it.
    pub newer: Option<Newer>,
}

/// See the module. Feed it every batch, oldest first.
#[derive(Clone, Debug)]
pub struct Replay {
    end: Position,
    crc: u32,
    /// Of the last batch, if there was one.
    generation: Option<Generation>,
    ending: LogEnding,
    retired: Option<SegmentNo>,
    counts: ReadCounts,
}

impl Replay {
    /// Of a log whose first batch was written behind this place and this CRC. For a log of which nothing
    /// was retired both are zero.
    pub fn behind(end: Position, crc: u32) -> Self {
        Self {
            end,
            crc,
            generation: None,
            ending: LogEnding::Open,
            retired: None,
            counts: ReadCounts::default(),
        }
    }

    /// Folds the next batch.
    ///
    /// # Errors
    /// The first [`Flaw`]; the fold is worth nothing then.
    pub fn batch(&mut self, batch: &IntactBatch<'_>, fold: &mut dyn Fold) -> Result<(), Flaw> {
        let flaw = |offset, what: String| Flaw {
            offset,
            what,
            newer: None,
        };
        self.check_place(batch)
            .map_err(|what| flaw(batch.offset, what))?;
        let mut records = 0_u32;
        for placed in batch.records() {
            let placed = placed.map_err(|error| Flaw {
                newer: error.newer(),
                ..flaw(
                    batch.offset,
                    format!("record {records} of the batch: {error}"),
                )
            })?;
            let first = batch.offset == SEGMENT_HEADER_BYTES && records == 0;
            self.record(placed.record, first, fold)
                .map_err(|what| flaw(placed.offset, what))?;
            records = records.saturating_add(1);
        }
        if records != batch.header.records {
            let what = format!("{records} records in a batch of {}", batch.header.records);
            return Err(flaw(batch.offset, what));
        }
        self.end = Position::new(batch.header.segment, batch.end);
        self.crc = batch.crc;
        self.generation = Some(batch.header.generation);
        let counts = &mut self.counts;
        counts.batches = counts.batches.saturating_add(1);
        counts.records = counts.records.saturating_add(records.into());
        counts.bytes = counts.bytes.saturating_add(batch.bytes().into());
        Ok(())
    }

    /// Whether the batch was written behind the last one, and may stand there.
    fn check_place(&self, batch: &IntactBatch<'_>) -> Result<(), String> {
        let header = batch.header;
        let chained = header.previous_end == self.end && header.previous_crc == self.crc;
        if !chained && !planted!(Bug::StaleBatchesFolded) {
            return Err(format!(
                "the batch was written behind another one: it names {}, before it stands {}",
                header.previous_end, self.end
            ));
        }
        if self.end.segment() == header.segment {
            return match self.ending {
                LogEnding::Open => Ok(()),
                LogEnding::Roll(_) | LogEnding::Seal => {
                    Err("a batch behind the end of the segment".to_owned())
                }
            };
        }
        let Some(generation) = self.generation else {
            return Ok(());
        };
        let follows = match self.ending {
            LogEnding::Roll(to) => header.segment == to,
            // Only an opening leaves a segment that does not say where the log goes on.
            LogEnding::Seal | LogEnding::Open => header.generation > generation,
        };
        match follows || planted!(Bug::StaleBatchesFolded) {
            true => Ok(()),
            false => Err(format!(
                "segment {} does not follow from {}",
                header.segment.0, self.end
            )),
        }
    }

    fn record(
        &mut self,
        record: LogRecord,
        first: bool,
        fold: &mut dyn Fold,
    ) -> Result<(), String> {
        if first != matches!(record, LogRecord::Base(_)) {
            return Err("a segment has one base, and begins with it".to_owned());
        }
        self.ending = LogEnding::Open;
        match record {
            LogRecord::Base(base) => fold.base(base)?,
            LogRecord::Event(event) => fold.event(event)?,
            LogRecord::Control(Control::Retired { segment }) => {
                self.retired = self.retired.max(Some(segment));
            }
            LogRecord::Control(Control::Roll { next }) => self.ending = LogEnding::Roll(next),
            LogRecord::Control(Control::Seal) => self.ending = LogEnding::Seal,
        }
        Ok(())
    }

    /// Where the log ends so far.
    pub fn end(&self) -> Position {
        self.end
    }

    /// The CRC of its last batch.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The opening that wrote the last batch, if there was one.
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// How it ends so far.
    pub fn ending(&self) -> LogEnding {
        self.ending
    }

    /// The oldest segment still needed, as far as the retirements say; zero if there were none.
    pub fn oldest(&self) -> SegmentNo {
        self.retired.map_or(SegmentNo(0), |segment| {
            SegmentNo(segment.0.saturating_add(1))
        })
    }

    /// What was folded.
    pub fn counts(&self) -> ReadCounts {
        self.counts
    }
}
