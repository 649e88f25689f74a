//! Slots in memory: what `queue::log::files` does with files, without the files.

use std::collections::BTreeMap;

use super::super::slots::{Judge, SLOT_HEAD_BYTES, SlotHead, Survey};
use super::super::*;
use crate::core::event::{Base, Event};
use crate::core::ids::{BodyRef, RouteId, SegmentNo, Seq, TaskId};
use crate::core::time::{QueueMs, SpanMs};
use crate::core::{JobId, JobKind, PoisonJob};

pub(super) const SEGMENT_BYTES: u32 = 20 << 10;

pub(super) fn geometry() -> Geometry {
    Geometry::new(limits::GeometryOptions {
        segment_bytes: SEGMENT_BYTES,
        body_bytes_max: 512,
    })
    .expect("the sizes of these tests fit")
}

/// A base that tells how many events went before it.
pub(super) fn base(events: usize) -> Base {
    Base {
        next_seq: Seq(events as u64),
        routes: vec![("a route".into(), events.is_multiple_of(2))],
        ahead: SpanMs(events as u64 % 3),
        jobs: (0..events % 4).map(a_job).collect(),
        ..Base::default()
    }
}

fn a_job(number: usize) -> PoisonJob {
    let number = number as u64;
    PoisonJob {
        id: JobId(1),
        kind: match number {
            0 => JobKind::Requeue,
            number => JobKind::Purge {
                release_key: number == 1,
            },
        },
        route: (number > 0).then_some(RouteId(0)),
        begun: QueueMs(number),
        total: 5,
        cursor: (number == 1).then_some(TaskId::default()),
        changed: number,
        ended: (number == 2).then_some(QueueMs(9)),
        stopped: number == 2,
    }
}

/// A log in memory, and a list of what was appended to it.
#[derive(Clone, Default)]
pub(super) struct Folder {
    pub(super) slots: BTreeMap<SlotNo, Vec<u8>>,
    pub(super) active: BTreeMap<SegmentNo, SlotNo>,
    spares: Vec<SlotNo>,
}

pub(super) struct OpenLog {
    pub(super) writer: Writer,
    sealer: Sealer,
    batches: u64,
}

/// Collects events and checks that each base counts them.
#[derive(Debug, Default)]
pub(super) struct Collect {
    pub(super) events: Vec<Event>,
    started: Option<usize>,
}

impl Fold for Collect {
    fn base(&mut self, base: Base) -> Result<(), String> {
        let before = usize::try_from(base.next_seq.0).unwrap();
        let first = *self.started.get_or_insert(before);
        if before == first + self.events.len() {
            Ok(())
        } else {
            Err(format!("{before} events are said to come before"))
        }
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        self.events.push(event);
        Ok(())
    }
}

impl Folder {
    /// Recovers without modifying anything.
    pub(super) fn recover(&self) -> Result<(Recovered, Collect), RecoveryError> {
        let heads: Vec<SlotHead> = self
            .slots
            .iter()
            .map(|(slot, bytes)| SlotHead {
                slot: *slot,
                bytes: bytes[..SLOT_HEAD_BYTES.min(bytes.len())].to_vec(),
            })
            .collect();
        let mut survey = Survey::new(&heads)?;
        while let Some(slot) = survey.unclear.first().copied() {
            survey.claim(slot, &self.slots[&slot]);
        }
        let mut judge = Judge::new(survey);
        let mut collect = Collect::default();
        while let Some(planned) = judge.next_segment() {
            judge.feed(&self.slots[&planned.slot], &mut collect)?;
        }
        for planned in judge.survey().superseded.clone() {
            judge.examine(planned, &self.slots[&planned.slot])?;
        }
        Ok((judge.finish()?, collect))
    }

    /// Recovers and begins a new opening.
    pub(super) fn open(&mut self) -> (OpenLog, Recovered, Collect) {
        let (recovered, collect) = self.recover().expect("the log is intact");
        let start = recovered.start;
        self.spares = recovered.spares.clone();
        self.active = recovered
            .segments
            .iter()
            .map(|live| (live.segment, live.slot))
            .collect();
        self.activate(SegmentHeader::opening(&start, SEGMENT_BYTES));
        self.spares.extend(recovered.abandoned.iter().copied());
        let log = OpenLog {
            writer: Writer::new(geometry(), &start),
            sealer: Sealer::new(&start),
            batches: 0,
        };
        (log, recovered, collect)
    }

    fn activate(&mut self, header: SegmentHeader) {
        let slot = self.spares.pop().unwrap_or_else(|| {
            let slot = SlotNo(self.slots.len() as u32 + 1);
            self.slots.insert(slot, vec![0; SEGMENT_BYTES as usize]);
            slot
        });
        self.slots.get_mut(&slot).unwrap()[..limits::SEGMENT_HEADER_BYTES as usize]
            .copy_from_slice(&header.encode());
        self.active.insert(header.segment, slot);
    }

    /// Writes the next batch; with `torn`, only so many bytes of it, its witness if that is odd, and never
    /// says completed.
    pub(super) fn write_one(&mut self, log: &mut OpenLog, torn: Option<usize>) -> bool {
        let Some(batch) = log.writer.take_batch() else {
            return false;
        };
        let batch = log.sealer.seal(batch);
        if let Some(header) = SegmentHeader::behind(&batch, SEGMENT_BYTES) {
            self.activate(header);
        }
        let slot = self.active[&batch.segment];
        // The last record of a batch may end in three zeros, which a zeroed file has already.
        let arrived = torn.map_or(batch.bytes.len(), |cut| cut % (batch.bytes.len() - 3));
        let at = batch.offset as usize;
        self.slots.get_mut(&slot).unwrap()[at..at + arrived]
            .copy_from_slice(&batch.bytes[..arrived]);
        log.batches += 1;
        if torn.is_none_or(|cut| cut % 2 == 1) {
            let at = Witness::place(SEGMENT_BYTES, log.batches) as usize;
            let witness = Witness::of(&batch);
            self.slots.get_mut(&slot).unwrap()[at..at + witness.len()].copy_from_slice(&witness);
        }
        if torn.is_none() {
            log.writer.completed(batch.end);
        }
        log.writer.give_back(batch.into_bytes());
        true
    }

    pub(super) fn write_all(&mut self, log: &mut OpenLog) {
        while self.write_one(log, None) {}
    }

    /// Retires a segment durably and makes its slot a spare.
    pub(super) fn retire(&mut self, log: &mut OpenLog, events: usize, segment: SegmentNo) {
        log.writer.retire(|| base(events), segment);
        self.write_all(log);
        let slot = self.active.remove(&segment).expect("it is active");
        self.spares.push(slot);
    }

    pub(super) fn body(&self, body: BodyRef) -> &[u8] {
        let bytes = &self.slots[&self.active[&body.segment]];
        &bytes[body.offset as usize..(body.offset + body.len) as usize]
    }
}
