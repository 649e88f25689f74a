//! A process that writes numbered events to a log, and what the outside knows of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use leasebridge::core::event::{Base, Carried, Enqueued, Event};
use leasebridge::core::ids::{BodyRef, RouteId, SegmentNo, Seq, TaskId};
use leasebridge::core::time::QueueMs;
use leasebridge::journal::{Fold, Geometry, GeometryOptions, Sealer, Start, Writer};
use leasebridge::queue::log::{Log, LogFailure, LogOpenError, LogOptions, LogStore, Tenure};

/// Small, so that a few dozen events fill a segment.
const SEGMENT_BYTES: u32 = 20 << 10;

/// How the suite keeps its logs.
pub(crate) fn options() -> LogOptions {
    let geometry = Geometry::new(GeometryOptions {
        segment_bytes: SEGMENT_BYTES,
        body_bytes_max: 512,
    });
    LogOptions {
        geometry: geometry.expect("the sizes fit"),
        segments_max: 64,
    }
}

/// The body of the event with that number; no two in a row are alike.
pub(crate) fn body(number: u64) -> Vec<u8> {
    vec![number as u8; 200 + (number * 37 % 150) as usize]
}

fn numbered(number: u64) -> Event {
    Event::Enqueued(Enqueued {
        id: TaskId {
            seq: Seq(number),
            ..TaskId::default()
        },
        at: QueueMs(number),
        route: RouteId(0),
        deadline: None,
        key: None,
        carried: Carried::default(),
        body: BodyRef::default(),
    })
}

/// A state that knows how many events went before it.
fn base(events: u64) -> Base {
    Base {
        next_seq: Seq(events),
        ..Base::default()
    }
}

/// Folds numbered events: they have to come in order, without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The first that is left.
    pub(crate) first: Option<u64>,
    /// One behind the last.
    pub(crate) next: u64,
    pub(crate) bodies: BTreeMap<u64, BodyRef>,
}

impl Fold for Numbers {
    fn base(&mut self, base: Base) -> Result<(), String> {
        if self.first.is_none() {
            self.first = Some(base.next_seq.0);
            self.next = base.next_seq.0;
        }
        match self.next == base.next_seq.0 {
            true => Ok(()),
            false => Err(format!("a base of {} after {}", base.next_seq.0, self.next)),
        }
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        let Event::Enqueued(enqueued) = event else {
            return Err(format!("nobody wrote {event:?}"));
        };
        if enqueued.id.seq.0 != self.next {
            return Err(format!("{} after {}", enqueued.id.seq.0, self.next));
        }
        self.bodies.insert(self.next, enqueued.body);
        self.next += 1;
        Ok(())
    }
}

/// What the outside knows about the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Events from 0 up to here were appended.
    pub(crate) appended: u64,
    /// Events up to here were confirmed, or were found by an opening.
    pub(crate) confirmed: u64,
    /// Events from here on are in segments that nobody has begun to retire.
    pub(crate) retained: u64,
}

/// Shared with whoever looks on while the process lives, and after it has died.
pub(crate) type Knowledge = Arc<Mutex<Known>>;

/// An open log.
pub(crate) struct Session {
    pub(crate) writer: Writer,
    sealer: Sealer,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) start: Start,
    _tenure: Box<dyn Tenure>,
    pub(crate) known: Knowledge,
    /// The first event of each segment.
    firsts: BTreeMap<SegmentNo, u64>,
}

impl Session {
    pub(crate) async fn open(store: &dyn LogStore, known: &Knowledge) -> (Self, Numbers) {
        let opened = Self::try_open(store, known).await;
        opened.unwrap_or_else(|error| panic!("the log does not open: {error}"))
    }

    pub(crate) async fn try_open(
        store: &dyn LogStore,
        known: &Knowledge,
    ) -> Result<(Self, Numbers), LogOpenError> {
        let mut numbers = Numbers::default();
        let opened = store.open(options(), &mut numbers).await?;
        let mut firsts = BTreeMap::new();
        for (number, body) in &numbers.bodies {
            firsts.entry(body.segment).or_insert(*number);
        }
        {
            let mut known = known.lock().unwrap();
            known.appended = numbers.next;
            known.confirmed = numbers.next;
        }
        let session = Self {
            writer: Writer::new(options().geometry, &opened.start),
            sealer: Sealer::new(&opened.start),
            log: opened.log,
            start: opened.start,
            _tenure: opened.tenure,
            known: Arc::clone(known),
            firsts,
        };
        Ok((session, numbers))
    }

    pub(crate) fn append(&mut self, count: u64) {
        for _ in 0..count {
            let number = self.known.lock().unwrap().appended;
            let (mut event, body) = (numbered(number), body(number));
            let position = self.writer.append(|| base(number), &mut event, &body);
            self.firsts.entry(position.segment()).or_insert(number);
            self.known.lock().unwrap().appended += 1;
        }
    }

    /// Makes everything appended durable.
    pub(crate) async fn flush(&mut self) -> Result<(), LogFailure> {
        let appended = self.known.lock().unwrap().appended;
        while let Some(batch) = self.writer.take_batch() {
            let batch = self.sealer.seal(batch);
            self.log.append(&batch).await?;
            self.writer.completed(batch.end);
            self.writer.give_back(batch.into_bytes());
        }
        self.known.lock().unwrap().confirmed = appended;
        Ok(())
    }

    /// Writes and confirms so many events.
    pub(crate) async fn write(&mut self, count: u64) {
        self.append(count);
        self.flush().await.expect("nothing breaks here");
    }

    /// Writes until so many segments are in use.
    pub(crate) async fn fill(&mut self, segments: u32) {
        while self.writer.segments_in_use() < segments {
            self.write(9).await;
        }
    }

    pub(crate) async fn retire_oldest(&mut self) {
        let oldest = self.writer.oldest_segment();
        let next = self.firsts.range(SegmentNo(oldest.0 + 1)..).next();
        let retained = next.map(|(_, first)| *first);
        let number = {
            let mut known = self.known.lock().unwrap();
            known.retained = retained.unwrap_or(known.appended);
            known.appended
        };
        self.writer.retire(|| base(number), oldest);
        self.flush().await.expect("nothing breaks here");
        let retired = self.log.retire(oldest).await;
        retired.expect("nothing breaks here");
    }

    pub(crate) async fn seal(&mut self) {
        let number = self.known.lock().unwrap().appended;
        self.writer.seal(|| base(number));
        self.flush().await.expect("nothing breaks here");
    }

    /// Reads every body that is left, and compares it with what was written.
    pub(crate) async fn check_bodies(&self, numbers: &Numbers) {
        let retained = self.known.lock().unwrap().retained;
        let (wanted, places): (Vec<u64>, Vec<BodyRef>) = numbers
            .bodies
            .iter()
            .filter(|(number, _)| **number >= retained)
            .unzip();
        let read = self.log.read_bodies(&places).await;
        assert_eq!(read.len(), wanted.len());
        for (number, read) in wanted.iter().zip(read) {
            let read = read.unwrap_or_else(|error| panic!("body {number}: {error}"));
            assert_eq!(read, body(*number), "body {number}");
        }
    }
}
