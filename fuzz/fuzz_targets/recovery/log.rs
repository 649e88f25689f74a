//! A log in memory as a folder of files holds it, and a note of everything that was written.

use std::collections::BTreeMap;

use leasebridge::core::event::{
    Base, Doubt, Enqueued, Event, Isolation, LeaseOutcome, LeaseTimes, LifeImage, Next,
    PoisonCause, Removal, Settled, TaskImage, TransportKind,
};
use leasebridge::core::ids::{
    BodyRef, DeliveryId, Epoch, Fingerprint, KeyHash, Origin, RouteId, SegmentNo, Seq, TaskId,
};
use leasebridge::core::time::QueueMs;
use leasebridge::journal::limits::SEGMENT_HEADER_BYTES;
use leasebridge::journal::slots::{Judge, SLOT_HEAD_BYTES, SlotHead, Survey};
use leasebridge::journal::{
    Fold, Generation, Geometry, GeometryOptions, Position, Recovered, RecoveryError, Sealer,
    SegmentHeader, SlotNo, Witness, Writer,
};

use super::Choices;

/// Bytes of a slot: hardly more than the smallest possible, for many segments of few events.
const SEGMENT_BYTES: u32 = 20 << 10;

/// Bytes of the largest body: twenty such events fill a segment.
const BODY_BYTES_MAX: u32 = 512;

/// The contents of a folder.
pub type Slots = BTreeMap<SlotNo, Vec<u8>>;

/// A batch that stands in a slot.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub segment: SegmentNo,
    pub slot: SlotNo,
    pub offset: usize,
    pub len: usize,
    /// Events written before its first.
    pub before: usize,
    /// Events written when its last was.
    pub behind: usize,
}

/// See the module.
#[derive(Default)]
pub struct Log {
    pub slots: Slots,
    pub written: Vec<Event>,
    /// Every batch that still stands in its slot, in the log's order.
    pub batches: Vec<Placed>,
    /// The oldest segment that is needed.
    pub oldest: SegmentNo,
    /// The last opening's.
    pub generation: Generation,
    /// Whether the last batch is a seal: nothing was written since the log was closed in order.
    pub sealed: bool,
    /// Events in batches so far.
    placed: usize,
    ends: Vec<Position>,
    active: BTreeMap<SegmentNo, SlotNo>,
    spares: Vec<SlotNo>,
}

/// An opening of a log.
pub struct Opening {
    writer: Writer,
    sealer: Sealer,
    batches: u64,
}

/// What recovery folded.
#[derive(Debug, Default)]
pub struct Found {
    /// Events before the first.
    pub from: usize,
    pub events: Vec<Event>,
    started: bool,
}

impl Fold for Found {
    fn base(&mut self, base: Base) -> Result<(), String> {
        let before = usize::try_from(base.next_seq.0).expect("the log was written here");
        if !self.started {
            self.started = true;
            self.from = before;
        }
        let events = self.from + self.events.len();
        (before == events)
            .then_some(())
            .ok_or_else(|| format!("a base of {before} events behind {events}"))
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        self.events.push(event);
        Ok(())
    }
}

/// Recovers a folder as an opening does.
pub fn recover(slots: &Slots, fold: &mut dyn Fold) -> Result<Recovered, RecoveryError> {
    let heads: Vec<SlotHead> = slots
        .iter()
        .map(|(slot, bytes)| SlotHead {
            slot: *slot,
            bytes: bytes[..bytes.len().min(SLOT_HEAD_BYTES)].to_vec(),
        })
        .collect();
    let mut survey = Survey::new(&heads)?;
    while let Some(slot) = survey.unclear.first().copied() {
        survey.claim(slot, &slots[&slot]);
    }
    let mut judge = Judge::new(survey);
    while let Some(planned) = judge.next_segment() {
        judge.feed(&slots[&planned.slot], fold)?;
    }
    for planned in judge.survey().superseded.clone() {
        judge.examine(planned, &slots[&planned.slot])?;
    }
    Ok(judge.finish()?)
}

fn geometry() -> Geometry {
    Geometry::new(GeometryOptions {
        segment_bytes: SEGMENT_BYTES,
        body_bytes_max: BODY_BYTES_MAX,
    })
    .expect("the sizes fit")
}

/// A base that tells how many events went before it.
fn base(events: usize) -> Base {
    Base {
        next_seq: Seq(events as u64),
        routes: vec![("a route".into(), events.is_multiple_of(2))],
        ..Base::default()
    }
}

impl Log {
    /// Begins the next opening of what was recovered.
    pub fn open(&mut self, recovered: &Recovered) -> Opening {
        let start = &recovered.start;
        let whole = |slot: &SlotNo, slots: &Slots| slots[slot].len() == SEGMENT_BYTES as usize;
        self.spares.clone_from(&recovered.spares);
        self.spares.retain(|slot| whole(slot, &self.slots));
        let live = recovered.segments.iter();
        self.active = live.map(|live| (live.segment, live.slot)).collect();
        self.activate(&SegmentHeader::opening(start, SEGMENT_BYTES));
        let abandoned = recovered.abandoned.iter().copied();
        let abandoned: Vec<_> = abandoned.filter(|slot| whole(slot, &self.slots)).collect();
        self.spares.extend(abandoned);
        self.oldest = start.oldest;
        self.generation = start.generation;
        Opening {
            writer: Writer::new(geometry(), start),
            sealer: Sealer::new(start),
            batches: 0,
        }
    }

    fn activate(&mut self, header: &SegmentHeader) {
        let slot = self.spares.pop().unwrap_or_else(|| {
            let last = self.slots.keys().last().map_or(0, |slot| slot.0);
            let slot = SlotNo(last + 1);
            self.slots.insert(slot, vec![0; SEGMENT_BYTES as usize]);
            slot
        });
        let bytes = self.slots.get_mut(&slot).expect("spares are slots");
        bytes[..SEGMENT_HEADER_BYTES as usize].copy_from_slice(&header.encode());
        self.batches.retain(|batch| batch.slot != slot);
        self.active.insert(header.segment, slot);
    }

    /// Forgets all events but the first `count`, as a recovery did, and what stood where.
    pub fn truncate(&mut self, count: usize) {
        self.written.truncate(count);
        self.ends.truncate(count);
        self.placed = count;
        self.batches.clear();
    }

    /// Appends an event that the fuzzer chooses.
    pub fn append(&mut self, opening: &mut Opening, choices: &mut Choices<'_>) {
        let (mut event, body) = event(choices, self.written.len());
        let events = self.written.len();
        let end = opening.writer.append(|| base(events), &mut event, &body);
        self.ends.push(end);
        self.written.push(event);
    }

    /// Closes the log in order.
    pub fn seal(&mut self, opening: &mut Opening) {
        opening.writer.seal(|| base(self.written.len()));
        self.flush(opening);
        self.sealed = true;
    }

    /// Retires the oldest segment if that is allowed, and lets its slot be used anew.
    pub fn retire(&mut self, opening: &mut Opening) {
        let oldest = opening.writer.oldest_segment().max(SegmentNo(1));
        if oldest >= opening.writer.active_segment() {
            return;
        }
        let events = self.written.len();
        opening.writer.retire(|| base(events), oldest);
        self.flush(opening);
        self.oldest = opening.writer.oldest_segment();
        self.spares.extend(self.active.remove(&oldest));
    }

    /// Writes everything that was appended.
    pub fn flush(&mut self, opening: &mut Opening) {
        while let Some(batch) = opening.writer.take_batch() {
            let batch = opening.sealer.seal(batch);
            if let Some(header) = SegmentHeader::behind(&batch, SEGMENT_BYTES) {
                self.activate(&header);
            }
            let slot = self.active[&batch.segment];
            let offset = batch.offset as usize;
            let bytes = self
                .slots
                .get_mut(&slot)
                .expect("active segments have slots");
            bytes[offset..offset + batch.bytes.len()].copy_from_slice(&batch.bytes);
            opening.batches += 1;
            let place = Witness::place(SEGMENT_BYTES, opening.batches) as usize;
            let witness = Witness::of(&batch);
            bytes[place..place + witness.len()].copy_from_slice(&witness);
            let behind = self.ends.partition_point(|end| *end <= batch.end);
            self.batches.push(Placed {
                segment: batch.segment,
                slot,
                offset,
                len: batch.bytes.len(),
                before: self.placed,
                behind,
            });
            self.placed = behind;
            self.sealed = false;
            opening.writer.completed(batch.end);
            opening.writer.give_back(batch.into_bytes());
        }
    }
}

/// The event of this `number`, so that no two are alike, and its body.
fn event(choices: &mut Choices<'_>, number: usize) -> (Event, Vec<u8>) {
    let number = number as u64;
    let id = TaskId {
        seq: Seq(number),
        origin: Origin(7),
    };
    let at = QueueMs(u64::from(choices.edgy()));
    let delivery = DeliveryId {
        task: id,
        epoch: Epoch::new(choices.edgy()).unwrap_or(Epoch::FIRST),
    };
    let route = RouteId(choices.edgy());
    let kind = choices.byte();
    let flag = kind & 16 != 0;
    let body = vec![kind; choices.below(BODY_BYTES_MAX as usize + 1)];
    let placed = BodyRef::default();
    let key = flag.then_some((KeyHash(u128::MAX - u128::from(number)), Fingerprint(number)));
    let lease = LeaseTimes::default();
    let small = match kind % 10 {
        0 => Event::Granted {
            delivery,
            at,
            lease,
        },
        1 => Event::Settled(settled(choices, delivery, at, flag)),
        2 => Event::Removed {
            id,
            at,
            why: match (flag, kind & 32 != 0) {
                (true, _) => Removal::Purged,
                (false, true) => Removal::PurgedWithKey,
                (false, false) => Removal::Drained,
            },
        },
        3 => Event::RouteDefined {
            route,
            name: number.to_string().into(),
        },
        4 => Event::Requeued { id, at },
        5 => {
            let image = Box::new(image(id, at, route, key));
            let body_at = placed;
            let event = if flag {
                Event::Restored {
                    image,
                    body: body_at,
                }
            } else {
                Event::Moved {
                    image,
                    body: body_at,
                }
            };
            return (event, body);
        }
        _ => {
            let deadline = flag.then_some(at);
            let enqueued = Enqueued {
                id,
                at,
                route,
                deadline,
                key,
                carried: Default::default(),
                body: placed,
            };
            return (Event::Enqueued(enqueued), body);
        }
    };
    (small, Vec::new())
}

fn settled(choices: &mut Choices<'_>, delivery: DeliveryId, at: QueueMs, flag: bool) -> Settled {
    Settled {
        delivery,
        at,
        outcome: if flag {
            LeaseOutcome::Rejected
        } else {
            LeaseOutcome::InDoubt(Doubt::NoAnswer)
        },
        charged: flag,
        isolation: Isolation::Route,
        next: if flag {
            Next::Delayed(at)
        } else {
            Next::Poison(PoisonCause::Refused)
        },
        sends: choices.byte(),
        transport: flag.then_some(TransportKind::Grpc),
        error: flag.then(|| "no".into()),
    }
}

fn image(
    id: TaskId,
    at: QueueMs,
    route: RouteId,
    key: Option<(KeyHash, Fingerprint)>,
) -> TaskImage {
    TaskImage {
        id,
        route,
        enqueued_at: at,
        deadline: None,
        key,
        carried: Default::default(),
        epoch: Epoch::new(3),
        life: LifeImage::Delayed(at),
        budgets: Default::default(),
        isolation: Isolation::None,
        history: None,
    }
}
