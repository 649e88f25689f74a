//! A log over a simulated disk, and what the outside knows about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use leasebridge::core::event::{Base, Carried, Enqueued, Event};
use leasebridge::core::ids::{BodyRef, RouteId, SegmentNo, Seq, TaskId};
use leasebridge::core::time::QueueMs;
use leasebridge::env::DiskLock;
use leasebridge::journal::{Fold, Geometry, GeometryOptions, Recovered, Sealer, Writer};
use leasebridge::queue::log::files::{
    self, DiskFailure, FolderOpenError, NewLog, Opened, SegmentFiles,
};
use leasebridge_sim::disk::{Drivers, SimDisk};
use leasebridge_sim::seed::Seed;

pub(crate) const SEGMENT_BYTES: u32 = 20 << 10;
const DIR: &str = "/queue";

fn geometry() -> Geometry {
    let options = GeometryOptions {
        segment_bytes: SEGMENT_BYTES,
        body_bytes_max: 512,
    };
    Geometry::new(options).expect("the sizes fit")
}

pub(crate) fn dir() -> &'static Path {
    Path::new(DIR)
}

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

/// A state that knows how many events went before.
fn base(events: u64) -> Base {
    Base {
        next_seq: Seq(events),
        ..Base::default()
    }
}

/// Folds numbered events: they have to come in order, without a gap.
#[derive(Default)]
pub(crate) struct Numbers {
    pub(crate) first: Option<u64>,
    pub(crate) next: u64,
    pub(crate) bodies: BTreeMap<u64, BodyRef>,
}

impl Fold for Numbers {
    fn base(&mut self, base: Base) -> Result<(), String> {
        if self.first.is_none() {
            self.first = Some(base.next_seq.0);
            self.next = base.next_seq.0;
        }
        if self.next == base.next_seq.0 {
            Ok(())
        } else {
            Err(format!("base {} after {}", base.next_seq.0, self.next))
        }
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        let Event::Enqueued(enqueued) = event else {
            return Err(format!("invented: {event:?}"));
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
    /// Events up to here were said to be durable.
    pub(crate) promised: u64,
    /// Events from here on are in segments that nobody has begun to retire.
    pub(crate) retained: u64,
}

/// An open log and what it promises.
pub(crate) struct Session {
    pub(crate) writer: Writer,
    sealer: Sealer,
    pub(crate) files: SegmentFiles,
    /// What the opening found.
    pub(crate) recovered: Recovered,
    _lock: Arc<dyn DiskLock>,
    pub(crate) known: Arc<Mutex<Known>>,
    /// The first event of each segment.
    firsts: BTreeMap<SegmentNo, u64>,
}

impl Session {
    pub(crate) async fn open(disk: &SimDisk, known: &Arc<Mutex<Known>>) -> (Self, Numbers) {
        let (session, numbers) = Self::try_open(disk, known).await;
        (session.expect("the log opens"), numbers)
    }

    pub(crate) async fn try_open(
        disk: &SimDisk,
        known: &Arc<Mutex<Known>>,
    ) -> (Result<Self, FolderOpenError>, Numbers) {
        let mut numbers = Numbers::default();
        let disk = Arc::new(disk.clone());
        let opened = files::open(disk, dir(), geometry(), NewLog::Begin, &mut numbers).await;
        let session = opened.map(|opened| {
            let Opened {
                files,
                start,
                lock,
                report,
            } = opened;
            let mut firsts = BTreeMap::new();
            for (number, body) in &numbers.bodies {
                firsts.entry(body.segment).or_insert(*number);
            }
            let mut known_now = known.lock().unwrap();
            // What was recovered is durable, promised or not.
            known_now.appended = numbers.next;
            known_now.promised = numbers.next;
            drop(known_now);
            Self {
                writer: Writer::new(geometry(), &start),
                sealer: Sealer::new(&start),
                files,
                recovered: report.recovered,
                _lock: lock,
                known: Arc::clone(known),
                firsts,
            }
        });
        (session, numbers)
    }

    pub(crate) fn append(&mut self) {
        let mut known = self.known.lock().unwrap();
        let number = known.appended;
        let mut event = numbered(number);
        let position = self
            .writer
            .append(|| base(number), &mut event, &body(number));
        self.firsts.entry(position.segment()).or_insert(number);
        known.appended += 1;
    }

    pub(crate) async fn flush(&mut self) -> Result<(), DiskFailure> {
        let appended = self.known.lock().unwrap().appended;
        while let Some(batch) = self.writer.take_batch() {
            let batch = self.sealer.seal(batch);
            self.files.write_batch(&batch).await?;
            self.writer.completed(batch.end);
            self.writer.give_back(batch.into_bytes());
        }
        self.known.lock().unwrap().promised = appended;
        Ok(())
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
        self.flush().await.unwrap();
        self.files.recycle(oldest).await.unwrap();
    }

    pub(crate) async fn seal(&mut self) {
        let number = self.known.lock().unwrap().appended;
        self.writer.seal(|| base(number));
        self.flush().await.unwrap();
    }
}

/// A disk with a log of several segments on it, written and left without a seal.
pub(crate) fn written() -> (SimDisk, Drivers, Arc<Mutex<Known>>) {
    let drivers = Drivers::new();
    let disk = SimDisk::new(Seed(2), drivers.clone());
    let known = Arc::new(Mutex::new(Known::default()));
    let done = drivers.block_on(async {
        let (mut session, _) = Session::open(&disk, &known).await;
        for _ in 0..40 {
            (0..7).for_each(|_| session.append());
            session.flush().await.unwrap();
        }
    });
    assert!(done.is_some());
    (disk, drivers, known)
}

pub(crate) fn contents(disk: &SimDisk) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let with_bytes = |(path, _): (PathBuf, u64)| {
        let bytes = disk.bytes(&path);
        (path, bytes)
    };
    disk.files().into_iter().map(with_bytes).collect()
}
