//! Finds the batches of a surveyed log, segment by segment, has them folded, and judges what is no batch.

use super::super::layout::{FormatVersion, Generation, SegmentHeader, SlotNo};
use super::super::limits::SEGMENT_HEADER_BYTES;
use super::super::replay::{Flaw, Fold, LogEnding, Replay, Start};
use super::super::witness::Witness;
use super::walk::{Trace, Walk};
use super::{
    Corruption, LastBatch, LiveSegment, PlannedSegment, Recovered, RecoveryError, Survey, Torn,
};
use crate::core::ids::SegmentNo;

/// See the module. Feed it every segment of [`Survey::log`] in order, let it examine every
/// [`Survey::superseded`] one, and ask it to [`Judge::finish`].
#[derive(Debug)]
pub struct Judge {
    survey: Survey,
    /// How many segments of the log were fed.
    fed: usize,
    live: Vec<LiveSegment>,
    /// What was folded so far.
    replay: Replay,
    /// Set where the log was cut; no segment behind it may hold a batch.
    cut: Option<LogCut>,
    /// Whether a batch of a version was found that makes marks.
    needs_mark: bool,
    last_batch: Option<LastBatch>,
}

/// Where the intact part of the log ends before its segment does.
#[derive(Clone, Copy, Debug)]
struct LogCut {
    planned: PlannedSegment,
    offset: u32,
    /// What was being written there, if anything.
    trace: Option<Trace>,
}

impl PlannedSegment {
    fn refuse(&self, flaw: Flaw) -> RecoveryError {
        match flaw.newer {
            Some(what) => RecoveryError::Newer {
                slot: self.slot,
                what,
            },
            None => self.corrupt(flaw.offset, flaw.what).into(),
        }
    }

    pub(crate) fn corrupt(&self, offset: u32, what: impl Into<String>) -> Corruption {
        Corruption {
            segment: self.header.segment,
            slot: Some(self.slot),
            offset,
            what: what.into(),
        }
    }
}

impl Judge {
    /// Of the log that `survey` found.
    pub fn new(survey: Survey) -> Self {
        let first = survey.log.first().map(|first| first.header);
        let replay = first.map_or_else(
            || Replay::behind(Default::default(), 0),
            |first| Replay::behind(first.previous_end, first.previous_crc),
        );
        Self {
            fed: 0,
            live: Vec::with_capacity(survey.log.len()),
            replay,
            cut: None,
            needs_mark: false,
            last_batch: None,
            survey,
        }
    }

    /// The segment to feed next.
    pub fn next_segment(&self) -> Option<PlannedSegment> {
        self.survey.log.get(self.fed).copied()
    }

    /// What the heads said.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Folds the next segment, of which `bytes` is the whole file.
    ///
    /// # Errors
    /// The first damage, or the first that only a newer program understands; the fold is worth nothing then.
    ///
    /// # Panics
    /// When no segment is left.
    pub fn feed(&mut self, bytes: &[u8], fold: &mut dyn Fold) -> Result<(), RecoveryError> {
        let planned = self.next_segment().expect("fed only what is planned");
        self.fed = self.fed.saturating_add(1);
        let follower = self.next_segment().map(|next| next.header);
        if let Some(cut) = self.cut {
            return Ok(self.feed_behind_cut(cut, planned, bytes)?);
        }
        self.check_link(planned)?;
        let header = planned.header;
        let size = bytes.len().min(header.segment_bytes as usize);
        let bytes = &bytes[..size];
        let mut walk = Walk::new(bytes, header.segment, header.generation);
        let mut end = SEGMENT_HEADER_BYTES;
        let mut records = 0_u32;
        loop {
            if follower.is_some_and(|next| next.previous_end == self.replay.end()) {
                self.check_handover(planned, end, follower)?;
                break;
            }
            let Some(batch) = walk.next() else {
                check_whole(planned, &walk, size)?;
                let witness = Witness::newest(bytes, &header);
                self.end_early(planned, &walk, witness, follower)?;
                break;
            };
            self.replay
                .batch(&batch, fold)
                .map_err(|flaw| planned.refuse(flaw))?;
            self.last_batch = Some(LastBatch {
                slot: planned.slot,
                offset: batch.offset,
                bytes: batch.bytes(),
            });
            self.needs_mark |= batch.header.format >= FormatVersion::Two;
            records = records.saturating_add(batch.header.records);
            end = batch.end;
        }
        self.live.push(LiveSegment {
            segment: header.segment,
            slot: planned.slot,
            generation: header.generation,
            end,
            records,
        });
        Ok(())
    }

    /// A segment goes on where the one before it ended.
    fn check_link(&self, planned: PlannedSegment) -> Result<(), Corruption> {
        let header = planned.header;
        let end = self.replay.end();
        if header.previous_end != end || header.previous_crc != self.replay.crc() {
            let what = format!(
                "its header says that the log before it ends at {}, but that ends at {end}",
                header.previous_end
            );
            return Err(planned.corrupt(0, what));
        }
        Ok(())
    }

    /// The segment ended where the next one's header says; how it ended has to fit too.
    fn check_handover(
        &self,
        planned: PlannedSegment,
        end: u32,
        follower: Option<SegmentHeader>,
    ) -> Result<(), Corruption> {
        let Some(next) = follower else { return Ok(()) };
        let rolled = next.generation == planned.header.generation;
        let fits = match self.replay.ending() {
            LogEnding::Roll(to) => to == next.segment,
            LogEnding::Seal | LogEnding::Open => !rolled,
        };
        if fits {
            Ok(())
        } else {
            Err(planned.corrupt(end, "it ends otherwise than the next segment's header says"))
        }
    }

    /// No intact batch stands where the walk has come to. At the end of the log that is how it ends.
    fn end_early(
        &mut self,
        planned: PlannedSegment,
        walk: &Walk<'_>,
        witness: Option<Witness>,
        follower: Option<SegmentHeader>,
    ) -> Result<(), Corruption> {
        let offset = walk.offset();
        let ended = self.replay.ending() != LogEnding::Open;
        let ends_here = self.replay.end().segment() == planned.header.segment;
        if ended && ends_here && follower.is_some() {
            let what = "the segment ends before the place that the next one's header names";
            return Err(planned.corrupt(offset, what));
        }
        if let Some(behind) = walk.behind() {
            let what = format!("a bad batch: an intact one stands behind it at byte {behind}");
            return Err(planned.corrupt(offset, what));
        }
        if let Some(witness) = witness
            && witness.durable > self.replay.end()
        {
            let what = format!(
                "a bad batch: a later one was written when the log was durable up to {}",
                witness.durable
            );
            return Err(planned.corrupt(offset, what));
        }
        if let Some(next) = follower {
            let in_flight = next.generation == planned.header.generation
                && self.fed.checked_add(1) == Some(self.survey.log.len());
            if !in_flight {
                let what = format!(
                    "a bad batch: the log goes on, segment {} follows from {}",
                    next.segment.0, next.previous_end
                );
                return Err(planned.corrupt(offset, what));
            }
        }
        self.cut = Some(LogCut {
            planned,
            offset,
            trace: self.trace(walk, witness),
        });
        Ok(())
    }

    /// What is known of a batch that was to stand where the walk has come to.
    fn trace(&self, walk: &Walk<'_>, witness: Option<Witness>) -> Option<Trace> {
        match witness {
            Some(witness) if witness.durable == self.replay.end() => Some(Trace {
                records: Some(witness.records),
                bytes: Some(witness.bytes),
            }),
            _ => walk.trace(),
        }
    }

    /// The header of a next segment is written before the batch that leads there. If that batch was
    /// torn, nothing can have been written behind the header.
    fn feed_behind_cut(
        &mut self,
        cut: LogCut,
        planned: PlannedSegment,
        bytes: &[u8],
    ) -> Result<(), Corruption> {
        let header = planned.header;
        let mut walk = Walk::new(bytes, header.segment, header.generation);
        let witness = Witness::newest(bytes, &header);
        let was_led_here = witness.is_some_and(|witness| witness.durable > self.replay.end());
        if walk.next().is_some() || walk.behind().is_some() || was_led_here {
            let what = format!(
                "a bad batch: the log goes on in segment {} (file {})",
                header.segment.0, planned.slot
            );
            return Err(cut.planned.corrupt(cut.offset, what));
        }
        Ok(())
    }

    /// Looks at a segment that was overruled by a later opening: it must never have been reached. To
    /// be called when all of the log was fed.
    ///
    /// # Errors
    /// When it holds log nevertheless.
    pub fn examine(&self, planned: PlannedSegment, bytes: &[u8]) -> Result<(), Corruption> {
        let header = planned.header;
        if header.segment < self.floor() {
            return Ok(());
        }
        let mut walk = Walk::new(bytes, header.segment, header.generation);
        if walk.next().is_some() {
            let what = format!(
                "it holds log of opening {}, and a later opening began at or before it",
                header.generation.0
            );
            return Err(planned.corrupt(SEGMENT_HEADER_BYTES, what));
        }
        Ok(())
    }

    /// The oldest segment still needed.
    fn floor(&self) -> SegmentNo {
        self.survey.oldest.max(self.replay.oldest())
    }

    /// The verdict, when everything was fed and examined.
    ///
    /// # Errors
    /// When a segment that is needed is missing or has lost its header, and when no opening can follow.
    ///
    /// # Panics
    /// When segments are left to feed.
    pub fn finish(self) -> Result<Recovered, Corruption> {
        assert_eq!(self.fed, self.survey.log.len(), "everything was fed");
        let floor = self.floor();
        self.check_complete(floor)?;
        let (next, generation) = self.successor(floor)?;
        let newest = self.survey.log.last().map(|last| last.header);
        let written = self.replay.generation();
        let is_cut = newest.is_some_and(|newest| {
            newest.is_cut && written.is_none_or(|written| written < newest.generation)
        });
        let mut live = self.live;
        live.retain(|segment| (floor..next).contains(&segment.segment));
        let mut abandoned = Vec::new();
        let mut spares = self.survey.spares;
        // What a later opening overruled has its successor on the disk already.
        spares.extend(self.survey.superseded.iter().map(|planned| planned.slot));
        for planned in &self.survey.log {
            let segment = planned.header.segment;
            if segment >= next {
                abandoned.push(planned.slot);
            } else if segment < floor {
                spares.push(planned.slot);
            }
        }
        Ok(Recovered {
            start: Start {
                segment: next,
                generation,
                oldest: floor,
                previous_end: self.replay.end(),
                previous_crc: self.replay.crc(),
                is_cut,
            },
            segments: live,
            spares,
            abandoned,
            newest: newest.map(|newest| (newest.segment, newest.generation)),
            written,
            needs_mark: self.needs_mark,
            last_batch: self.last_batch,
            torn: self.cut.and_then(torn),
            sealed: self.replay.ending() == LogEnding::Seal,
            counts: self.replay.counts(),
        })
    }

    /// The segment that the next opening begins, and that opening's generation.
    fn successor(&self, floor: SegmentNo) -> Result<(SegmentNo, Generation), Corruption> {
        let headers = || self.survey.log.iter().chain(&self.survey.superseded);
        let Some(newest) = headers().max_by_key(|planned| planned.header.generation) else {
            return Ok((SegmentNo(1), Generation::default().next()));
        };
        // A last segment with nothing in it was never reached: the next opening takes its number.
        let next = match self.live.last() {
            None => Some(1),
            Some(last) if last.end == SEGMENT_HEADER_BYTES => Some(last.segment.0),
            Some(last) => last.segment.0.checked_add(1),
        };
        // The writer counts on from these numbers and from one to the other. Its own never get there.
        let generation = newest.header.generation;
        match next.map(SegmentNo) {
            Some(next) if next >= floor && generation < Generation(u32::MAX) => {
                Ok((next, generation.next()))
            }
            _ => {
                let what = "no segment can follow: its numbers contradict each other";
                Err(newest.corrupt(0, what))
            }
        }
    }

    fn check_complete(&self, floor: SegmentNo) -> Result<(), Corruption> {
        let missing = |segment: SegmentNo, slot: Option<SlotNo>, what: &str| Corruption {
            segment,
            slot,
            offset: 0,
            what: what.to_owned(),
        };
        for (slot, segment) in &self.survey.headless {
            if *segment >= floor {
                let what = "the header is unreadable, and the segment is needed";
                return Err(missing(*segment, Some(*slot), what));
            }
        }
        if let Some(first) = self.survey.log.first()
            && first.header.segment > floor
        {
            let absent = SegmentNo(first.header.segment.0.saturating_sub(1));
            return Err(missing(
                absent,
                None,
                "no file holds this segment, and it is needed",
            ));
        }
        if let LogEnding::Roll(next) = self.replay.ending()
            && self.survey.log.last().map(|last| last.header.segment) < Some(next)
        {
            let what = "the log goes on in this segment, and no file holds it";
            return Err(missing(next, None, what));
        }
        Ok(())
    }
}

/// A file is made at its full size before it holds a segment: one that is shorter has lost what is missing.
fn check_whole(planned: PlannedSegment, walk: &Walk<'_>, found: usize) -> Result<(), Corruption> {
    let made = planned.header.segment_bytes;
    match found < made as usize {
        false => Ok(()),
        true => {
            let what = format!("the file ends at byte {found}, and was made with {made} bytes");
            Err(planned.corrupt(walk.offset(), what))
        }
    }
}

fn torn(cut: LogCut) -> Option<Torn> {
    cut.trace.map(|trace| Torn {
        segment: cut.planned.header.segment,
        slot: cut.planned.slot,
        offset: cut.offset,
        records: trace.records,
        bytes: trace.bytes,
    })
}
