//! A folder of slots in memory: today's writer without files.

use std::collections::BTreeMap;

use leasebridge::core::QueueState;
use leasebridge::core::event::{Base, Event};
use leasebridge::core::ids::{BodyRef, SegmentNo};
use leasebridge::journal::limits::SEGMENT_HEADER_BYTES;
use leasebridge::journal::slots::{Judge, SLOT_HEAD_BYTES, SlotHead, Survey};
use leasebridge::journal::{
    Fold, Geometry, GeometryOptions, Recovered, RecoveryError, Sealer, SegmentHeader, SlotNo,
    Start, Writer,
};

use crate::queue_world::{BODY_BYTES_MAX, SEGMENT_BYTES};
use crate::story::Log;

#[derive(Default)]
pub(crate) struct Folder {
    pub(crate) slots: BTreeMap<SlotNo, Vec<u8>>,
    active: BTreeMap<SegmentNo, SlotNo>,
    spares: Vec<SlotNo>,
    open: Option<(Writer, Sealer)>,
}

/// The fold of the queue itself.
#[derive(Default)]
pub(crate) struct Folded(pub(crate) Option<QueueState>);

impl Fold for Folded {
    fn base(&mut self, base: Base) -> Result<(), String> {
        match &self.0 {
            None => self.0 = Some(QueueState::from_base(base)),
            Some(state) if state.base() == base => {}
            Some(_) => return Err("another base".to_owned()),
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        let state = self.0.as_mut().ok_or("no base")?;
        state.replay(&event).map_err(|error| error.to_string())
    }
}

impl Folder {
    pub(crate) fn of(slots: BTreeMap<SlotNo, Vec<u8>>) -> Self {
        Self {
            slots,
            ..Self::default()
        }
    }

    pub(crate) fn recover(&mut self) -> Result<(Recovered, QueueState), RecoveryError> {
        let head = |(slot, bytes): (&SlotNo, &Vec<u8>)| SlotHead {
            slot: *slot,
            bytes: bytes[..SLOT_HEAD_BYTES].to_vec(),
        };
        let heads: Vec<SlotHead> = self.slots.iter().map(head).collect();
        let mut judge = Judge::new(Survey::new(&heads)?);
        let mut folded = Folded::default();
        while let Some(planned) = judge.next_segment() {
            judge.feed(&self.slots[&planned.slot], &mut folded)?;
        }
        let recovered = judge.finish()?;
        let live = recovered.segments.iter();
        self.active = live.map(|live| (live.segment, live.slot)).collect();
        Ok((recovered, folded.0.unwrap_or_default()))
    }

    pub(crate) fn body(&self, body: BodyRef) -> &[u8] {
        let slot = &self.slots[&self.active[&body.segment]];
        &slot[body.offset as usize..][..body.len as usize]
    }

    fn activate(&mut self, header: &SegmentHeader) {
        let slot = self.spares.pop().unwrap_or_else(|| {
            let slot = SlotNo(self.slots.len() as u32 + 1);
            self.slots.insert(slot, vec![0; SEGMENT_BYTES as usize]);
            slot
        });
        let bytes = self.slots.get_mut(&slot).expect("it is one of ours");
        bytes[..SEGMENT_HEADER_BYTES as usize].copy_from_slice(&header.encode());
        self.active.insert(header.segment, slot);
    }

    fn writer(&mut self) -> &mut Writer {
        &mut self.open.as_mut().expect("the log is open").0
    }

    /// Writes down what was appended, a batch each time.
    fn write(&mut self) {
        let (mut writer, mut sealer) = self.open.take().expect("the log is open");
        while let Some(batch) = writer.take_batch() {
            let batch = sealer.seal(batch);
            if let Some(header) = SegmentHeader::behind(&batch, SEGMENT_BYTES) {
                self.activate(&header);
            }
            let slot = self.active[&batch.segment];
            let bytes = self.slots.get_mut(&slot).expect("it is one of ours");
            bytes[batch.offset as usize..][..batch.bytes.len()].copy_from_slice(&batch.bytes);
            writer.completed(batch.end);
        }
        self.open = Some((writer, sealer));
    }
}

fn geometry() -> Geometry {
    Geometry::new(GeometryOptions {
        segment_bytes: SEGMENT_BYTES,
        body_bytes_max: BODY_BYTES_MAX,
    })
    .expect("the sizes fit")
}

impl Log for Folder {
    fn open(&mut self) {
        let (recovered, _) = self.recover().expect("the log is intact");
        let start: Start = recovered.start;
        self.spares = recovered.spares;
        self.activate(&SegmentHeader::opening(&start, SEGMENT_BYTES));
        let writer = Writer::new(geometry(), &start);
        self.open = Some((writer, Sealer::new(&start)));
    }

    fn append(&mut self, state: &QueueState, event: &mut Event, body: &[u8]) {
        self.writer().append(|| state.base(), event, body);
        self.write();
    }

    fn retire(&mut self, state: &QueueState, segment: SegmentNo) {
        let active = self.writer().active_segment();
        assert!(segment < active, "the story has filled segment {active:?}");
        self.writer().retire(|| state.base(), segment);
        self.write();
        let slot = self.active.remove(&segment).expect("it is part of the log");
        self.spares.push(slot);
    }

    fn close(&mut self, state: &QueueState) {
        self.writer().seal(|| state.base());
        self.write();
    }
}
