//! The journal over a simulated disk: what was promised survives a crash at every single operation, and
//! what the disk breaks is reported, never passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use leasebridge::core::event::{Base, Enqueued, Event};
use leasebridge::core::ids::{BodyRef, RouteId, SegmentNo, Seq, TaskId};
use leasebridge::core::time::QueueMs;
use leasebridge::journal::{Fold, Writer};
use leasebridge::queue::storage::{
    self, DiskFailure, OpenError, Opened, ReadError, SegmentFiles, SpareError, StorageOptions,
};
use leasebridge_sim::disk::{Drivers, Fault, FaultRule, OpKind, OpNumber, SimDisk};
use leasebridge_sim::seed::Seed;

const SEGMENT_BYTES: u32 = 20 << 10;
const DIR: &str = "/queue";

const OPTIONS: StorageOptions = StorageOptions {
    segment_bytes: SEGMENT_BYTES,
    body_bytes_max: 512,
    log_bytes_max: 64 * SEGMENT_BYTES as u64,
};

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn body(number: u64) -> Vec<u8> {
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
struct Numbers {
    first: Option<u64>,
    next: u64,
    bodies: BTreeMap<u64, BodyRef>,
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
struct Known {
    /// Events from 0 up to here were appended.
    appended: u64,
    /// Events up to here were said to be durable.
    promised: u64,
    /// Events from here on are in segments that nobody has begun to retire.
    retained: u64,
}

/// An open log and what it promises.
struct Session {
    writer: Writer,
    files: Arc<SegmentFiles>,
    known: Arc<Mutex<Known>>,
    /// The first event of each segment.
    firsts: BTreeMap<SegmentNo, u64>,
}

impl Session {
    async fn open(disk: &SimDisk, known: &Arc<Mutex<Known>>) -> (Self, Numbers) {
        let (session, numbers) = Self::try_open(disk, known).await;
        (session.expect("the log opens"), numbers)
    }

    async fn try_open(
        disk: &SimDisk,
        known: &Arc<Mutex<Known>>,
    ) -> (Result<Self, OpenError>, Numbers) {
        let mut numbers = Numbers::default();
        let opened = storage::open(Arc::new(disk.clone()), dir(), OPTIONS, &mut numbers).await;
        let session = opened.map(|opened| {
            let Opened { writer, files, .. } = opened;
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
                writer,
                files,
                known: Arc::clone(known),
                firsts,
            }
        });
        (session, numbers)
    }

    fn append(&mut self) {
        let mut known = self.known.lock().unwrap();
        let number = known.appended;
        let mut event = numbered(number);
        let position = self
            .writer
            .append(|| base(number), &mut event, &body(number));
        self.firsts.entry(position.segment()).or_insert(number);
        known.appended += 1;
    }

    async fn flush(&mut self) -> Result<(), DiskFailure> {
        let appended = self.known.lock().unwrap().appended;
        while let Some(mut batch) = self.writer.take_batch() {
            self.files.write_batch(&mut batch).await?;
            self.writer.completed(batch.end);
            self.writer.give_back(batch.bytes);
        }
        self.known.lock().unwrap().promised = appended;
        Ok(())
    }

    async fn retire_oldest(&mut self) {
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
        self.files.retire(oldest).await.unwrap();
    }

    async fn seal(&mut self) {
        let number = self.known.lock().unwrap().appended;
        self.writer.seal(|| base(number));
        self.flush().await.unwrap();
    }
}

/// Three openings: sealed, dropped, and one that retires and recycles.
async fn workload(disk: &SimDisk, known: &Arc<Mutex<Known>>) {
    for opening in 0..3 {
        let (mut session, _) = Session::open(disk, known).await;
        if session.files.spares() == 0 {
            session.files.make_spare().await.unwrap();
        }
        for burst in 0..14_u64 {
            for _ in 0..burst % 9 + 1 {
                session.append();
            }
            session.flush().await.unwrap();
            while session.writer.segments_in_use() > 3 {
                session.retire_oldest().await;
            }
        }
        // One batch that goes over a segment's end and more.
        (0..70).for_each(|_| session.append());
        session.flush().await.unwrap();
        if opening == 0 {
            session.seal().await;
        }
    }
}

/// Opens what is left and compares it with what is known.
async fn check(disk: &SimDisk, before: &Known) -> (Session, Numbers) {
    let known = Arc::new(Mutex::new(before.clone()));
    let (session, numbers) = Session::open(disk, &known).await;
    let first = numbers.first.unwrap_or(0);
    assert!(
        first <= before.retained,
        "events {first}.. are left of {before:?}"
    );
    assert!(
        (before.promised..=before.appended).contains(&numbers.next),
        "events ..{} are left of {before:?}",
        numbers.next
    );
    for (number, place) in &numbers.bodies {
        let read = session.files.read_body(*place).await;
        if *number >= before.retained {
            assert_eq!(read.unwrap(), body(*number), "body {number}");
        }
    }
    for (path, bytes) in disk.files() {
        let is_slot = path.extension().is_some_and(|extension| extension == "seg");
        assert!(!is_slot || bytes == u64::from(SEGMENT_BYTES), "{path:?}");
    }
    (session, numbers)
}

/// What a crash left opens, keeps every promise, goes on, and survives the next power cut.
fn survives(crashed: &SimDisk, known: &Known, outcome: u64) {
    let drivers = Drivers::new();
    let disk = crashed.fork(drivers.clone());
    if outcome == 0 {
        disk.restart_process();
    } else {
        disk.power_cut(Seed(outcome));
    }
    let went_on = drivers.block_on(async {
        let (mut session, _) = check(&disk, known).await;
        (0..3).for_each(|_| session.append());
        if outcome.is_multiple_of(2) {
            session.flush().await.unwrap();
        }
        session.known.lock().unwrap().clone()
    });
    let known = went_on.expect("nothing crashes here");
    disk.power_cut(Seed(outcome + 100));
    let done = drivers.block_on(async { drop(check(&disk, &known).await) });
    assert!(done.is_some());
}

#[test]
fn a_crash_at_any_operation_takes_nothing_that_was_promised() {
    let mut number = 0;
    loop {
        number += 1;
        let drivers = Drivers::new();
        let disk = SimDisk::new(Seed(1), drivers.clone());
        disk.crash_at(OpNumber(number));
        let known = Arc::new(Mutex::new(Known::default()));
        let finished = drivers.block_on(workload(&disk, &known)).is_some();
        let known = known.lock().unwrap().clone();
        for outcome in 0..4 {
            survives(&disk, &known, outcome);
        }
        if finished {
            break;
        }
    }
    assert!(number > 150, "only {number} operations were crashed at");
}

/// A disk with a log of several segments on it, written and left without a seal.
fn written() -> (SimDisk, Drivers, Arc<Mutex<Known>>) {
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

fn contents(disk: &SimDisk) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let with_bytes = |(path, _): (PathBuf, u64)| {
        let bytes = disk.bytes(&path);
        (path, bytes)
    };
    disk.files().into_iter().map(with_bytes).collect()
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused_and_nothing_is_modified() {
    let (disk, drivers, known) = written();
    let path = dir().join("000002.seg");
    disk.flip_bit(&path, 9000, 3).unwrap();
    let before = contents(&disk);
    let error = drivers.block_on(async {
        let (session, _) = Session::try_open(&disk, &known).await;
        session.err().expect("a damaged log is refused")
    });
    let text = error.unwrap().to_string();
    for part in [
        "segment 2",
        "000002.seg",
        "at byte",
        "leasebridge journal inspect /queue",
        "leasebridge journal repair /queue",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(contents(&disk), before);
}

#[test]
fn a_log_is_open_once() {
    let (disk, drivers, known) = written();
    let done = drivers.block_on(async {
        let (session, _) = Session::open(&disk, &known).await;
        let before = contents(&disk);
        let (second, _) = Session::try_open(&disk, &known).await;
        assert!(matches!(second, Err(OpenError::Locked { .. })));
        assert_eq!(contents(&disk), before);
        drop(session);
        Session::open(&disk, &known).await;
    });
    assert!(done.is_some());
}

#[test]
fn a_full_disk_leaves_no_half_segment_and_gives_one_when_there_is_room_again() {
    let (disk, drivers, known) = written();
    let done = drivers.block_on(async {
        let (mut session, _) = Session::open(&disk, &known).await;
        let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
        let before = disk.files();
        disk.set_quota(Some(used + u64::from(SEGMENT_BYTES) / 2));
        for _ in 0..3 {
            let full = session.files.make_spare().await;
            assert!(matches!(full, Err(SpareError::NoSpace)), "{full:?}");
            assert_eq!(disk.files(), before);
        }
        session.append();
        session.flush().await.unwrap();
        disk.set_quota(None);
        session.files.make_spare().await.unwrap();
        assert_eq!(session.files.spares(), 1);
    });
    assert!(done.is_some());
}

#[test]
fn an_opening_on_a_full_disk_says_what_it_needs() {
    let drivers = Drivers::new();
    let disk = SimDisk::new(Seed(3), drivers.clone());
    disk.set_quota(Some(1000));
    let known = Arc::default();
    let error = drivers.block_on(async { Session::try_open(&disk, &known).await.0.err() });
    let needed = match error {
        Some(Some(OpenError::NoSpace { needed, .. })) => needed,
        other => panic!("{other:?}"),
    };
    assert_eq!(needed, u64::from(SEGMENT_BYTES));
    let slots = |(path, _): &(PathBuf, u64)| path.extension().is_some();
    assert!(!disk.files().iter().any(slots), "{:?}", disk.files());
}

#[test]
fn a_failed_sync_or_write_is_final_and_a_restart_keeps_every_promise() {
    for fault in [Fault::SyncError, Fault::WriteError, Fault::TornWrite] {
        for skipped in 0..12 {
            for outcome in 0..3 {
                fails_for_good(fault, skipped, outcome);
            }
        }
    }
}

fn fails_for_good(fault: Fault, skipped: u64, outcome: u64) {
    let (disk, drivers, known) = written();
    let done = drivers.block_on(async {
        let (mut session, _) = Session::open(&disk, &known).await;
        let from = disk.last_op().0 + 1 + skipped;
        let rule = FaultRule::new(fault).times(1);
        disk.add_fault(rule.ops(OpNumber(from), OpNumber(u64::MAX)));
        let failure = loop {
            (0..9).for_each(|_| session.append());
            if let Err(failure) = session.flush().await {
                break failure.to_string();
            }
        };
        for _ in 0..2 {
            let spare = session.files.make_spare().await.unwrap_err().to_string();
            assert_eq!(spare, failure);
            let retired = session.files.retire(SegmentNo(1)).await;
            assert_eq!(retired.unwrap_err().to_string(), failure);
            let read = session.files.read_body(BodyRef::default()).await;
            assert!(matches!(read, Err(ReadError::Failed(_))));
        }
    });
    assert!(done.is_some());
    let known = known.lock().unwrap().clone();
    survives(&disk, &known, outcome);
}

#[test]
fn a_read_error_passes_and_is_no_damage() {
    let (disk, drivers, known) = written();
    let done = drivers.block_on(async {
        let rule = disk.add_fault(FaultRule::new(Fault::ReadError));
        let (refused, _) = Session::try_open(&disk, &known).await;
        assert!(matches!(refused, Err(OpenError::Io { .. })));
        disk.enable_fault(rule, false);
        let (session, numbers) = Session::open(&disk, &known).await;
        let place = numbers.bodies[&5];
        disk.enable_fault(rule, true);
        let read = session.files.read_body(place).await;
        assert!(matches!(read, Err(ReadError::Io { .. })));
        disk.enable_fault(rule, false);
        assert_eq!(session.files.read_body(place).await.unwrap(), body(5));
    });
    assert!(done.is_some());
}

#[test]
fn a_segment_is_read_whole_or_not_at_all_and_a_retired_one_is_gone() {
    let (disk, drivers, known) = written();
    let done = drivers.block_on(async {
        let (mut session, numbers) = Session::open(&disk, &known).await;
        for segment in [1, 2].map(SegmentNo) {
            let records = session.files.read_segment(segment).await.unwrap();
            let here = numbers.bodies.iter();
            let here: Vec<_> = here.filter(|(_, body)| body.segment == segment).collect();
            assert_eq!(records.len(), here.len());
            for (record, (number, place)) in records.iter().zip(here) {
                assert_eq!(record.body, body(*number));
                let Event::Enqueued(enqueued) = &record.event else {
                    panic!("{record:?}");
                };
                assert_eq!((enqueued.id.seq, enqueued.body), (Seq(*number), *place));
            }
        }
        disk.flip_bit(&dir().join("000002.seg"), 12_000, 0).unwrap();
        let damaged = session.files.read_segment(SegmentNo(2)).await;
        assert!(matches!(damaged, Err(ReadError::Damaged { .. })));
        session.retire_oldest().await;
        let gone = session.files.read_segment(SegmentNo(1)).await;
        assert!(matches!(gone, Err(ReadError::Gone(SegmentNo(1)))));
        let gone = session.files.read_body(numbers.bodies[&0]).await;
        assert!(matches!(gone, Err(ReadError::Gone(SegmentNo(1)))));
    });
    assert!(done.is_some());
}

#[test]
fn segments_are_recycled_for_as_long_as_the_log_lives() {
    let drivers = Drivers::new();
    let disk = SimDisk::new(Seed(4), drivers.clone());
    let known = Arc::new(Mutex::new(Known::default()));
    let done = drivers.block_on(async {
        for _ in 0..5 {
            let (mut session, _) = Session::open(&disk, &known).await;
            for _ in 0..60 {
                (0..9).for_each(|_| session.append());
                session.flush().await.unwrap();
                while session.writer.segments_in_use() > 2 {
                    session.retire_oldest().await;
                }
            }
        }
        let now = known.lock().unwrap().clone();
        drop(check(&disk, &now).await);
    });
    assert!(done.is_some());
    let slots = disk.files().len() - 1;
    assert!(slots <= 5, "{slots} slot files");
    let made = disk.stats().ops[&OpKind::Create];
    assert!(made <= 6, "{made} files were made");
}
