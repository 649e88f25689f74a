//! The tools: they look without touching, and repair keeps everything before the damage.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use leasebridge::core::ids::SegmentNo;
use leasebridge::queue::log::files::FolderOpenError;
use leasebridge::queue::log::files::tools::{self, Repair, SlotRole};
use leasebridge_sim::disk::{Drivers, OpNumber, SimDisk};
use leasebridge_sim::seed::Seed;

use super::log::{Known, Numbers, Session, contents, dir, written};

async fn repair(disk: &SimDisk) -> Option<Repair> {
    let repaired = tools::repair(disk, dir(), &mut Numbers::default()).await;
    repaired.expect("a damaged log is repaired")
}

async fn events(disk: &SimDisk) -> Numbers {
    let mut numbers = Numbers::default();
    let verified = tools::verify(disk, dir(), &mut numbers).await;
    verified.expect("a repaired log is whole");
    numbers
}

fn damaged_files(disk: &SimDisk) -> Vec<PathBuf> {
    let paths = disk.files().into_iter().map(|(path, _)| path);
    let is_damaged = |path: &PathBuf| path.to_string_lossy().contains("damaged-");
    paths.filter(is_damaged).collect()
}

/// Flips a bit of a slot and repairs; checks that the events before the damage are kept and that the
/// others are told of.
fn repaired_after(slot: u32, offset: u64) -> u64 {
    let (disk, drivers, known) = written();
    let all = known.lock().unwrap().appended;
    disk.flip_bit(&dir().join(format!("{slot:06}.seg")), offset, 2)
        .unwrap();
    let before = contents(&disk);
    let kept = drivers.block_on(async {
        let repaired = repair(&disk).await.expect("there is damage");
        let kept = events(&disk).await.next;
        let lost: Vec<u64> = repaired.lost.tasks.keys().map(|id| id.seq.0).collect();
        assert!(repaired.lost.tasks.values().all(|task| task.gone));
        let unreadable = repaired.lost.unreadable > 0 || offset < 4096;
        let missing = (kept..all).filter(|number| !lost.contains(number));
        assert!(unreadable || missing.count() == 0, "{repaired:?}");
        assert!(lost.iter().all(|number| *number >= kept));
        for path in &repaired.aside {
            let bytes = disk.bytes(path);
            let moved = before.iter().any(|(_, earlier)| *earlier == bytes);
            assert!(moved, "{path:?} is none of the files that were there");
        }
        assert_eq!(damaged_files(&disk).len(), repaired.aside.len());
        assert_eq!(repair(&disk).await, None);
        let (mut session, numbers) = Session::open(&disk, &known).await;
        assert_eq!(numbers.next, kept);
        session.append();
        session.flush().await.unwrap();
        drop(session);
        assert_eq!(events(&disk).await.next, kept + 1);
        kept
    });
    kept.unwrap()
}

#[test]
fn a_repair_keeps_what_stands_before_the_damage_and_lists_the_rest() {
    // In a batch, at the start of one, in the header: of the first segment, one inside, the last.
    assert_eq!(repaired_after(1, 4200), 0);
    let early = repaired_after(1, 9000);
    let middle = repaired_after(2, 9000);
    let later = repaired_after(3, 9000);
    assert!(0 < early && early < middle && middle < later);
    let first = repaired_after(3, 4100);
    let header = repaired_after(3, 20);
    assert!(middle < first && first <= later, "{middle} {first} {later}");
    assert_eq!(first, header);
    assert_eq!(repaired_after(1, 20), 0);
}

#[test]
fn a_repair_that_is_broken_off_anywhere_can_be_run_again() {
    for (slot, offset) in [(2, 9000), (2, 50)] {
        let expected = repaired_after(slot, offset);
        for number in 1.. {
            let (disk, drivers, _) = written();
            disk.flip_bit(&dir().join(format!("{slot:06}.seg")), offset, 2)
                .unwrap();
            disk.crash_at(OpNumber(disk.last_op().0 + number));
            let finished = drivers.block_on(repair(&disk)).is_some();
            for outcome in 0..4 {
                let drivers = Drivers::new();
                let disk = disk.fork(drivers.clone());
                disk.power_cut(Seed(outcome));
                let kept = drivers.block_on(async {
                    repair(&disk).await;
                    events(&disk).await.next
                });
                assert_eq!(kept, Some(expected), "operation {number}");
                assert!(!damaged_files(&disk).is_empty());
            }
            if finished {
                break;
            }
        }
    }
}

#[test]
fn a_repair_without_room_for_the_copy_changes_nothing() {
    let (disk, drivers, _) = written();
    disk.flip_bit(&dir().join("000002.seg"), 9000, 2).unwrap();
    let before = contents(&disk);
    let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
    disk.set_quota(Some(used + 100));
    let refused = drivers.block_on(async {
        let numbers = &mut Numbers::default();
        tools::repair(&disk, dir(), numbers).await
    });
    assert!(matches!(
        refused,
        Some(Err(FolderOpenError::NoSpace { .. }))
    ));
    assert_eq!(contents(&disk), before);
}

#[test]
fn looking_changes_nothing_and_tells_what_is_there() {
    let (disk, drivers, known) = written();
    let all = known.lock().unwrap().appended;
    let before = contents(&disk);
    let done = drivers.block_on(async {
        let inspection = tools::inspect(&disk, dir()).await.unwrap();
        assert!(!inspection.in_use);
        let log = inspection.slots.iter();
        let log: Vec<_> = log.filter(|slot| slot.role == SlotRole::Log).collect();
        let live = inspection.verdict.unwrap().segments;
        assert_eq!(log.len(), live.len());
        assert!(
            log[..log.len() - 1]
                .iter()
                .all(|slot| slot.fill_percent() > 70)
        );

        let mut lines = Vec::new();
        let dumped = tools::dump(&disk, dir(), &mut |line| lines.push(line)).await;
        dumped.unwrap();
        let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
        assert_eq!(of("enqueued") as u64, all);
        assert_eq!(of("base"), live.len());
        assert_eq!(of("roll"), live.len() - 1);
        assert_eq!(of("damage"), 0);
        assert_eq!(events(&disk).await.next, all);
    });
    assert!(done.is_some());
    assert_eq!(contents(&disk), before);
}

#[test]
fn a_dump_goes_on_behind_damage_and_says_where_it_is() {
    let (disk, drivers, known) = written();
    let all = known.lock().unwrap().appended;
    disk.flip_bit(&dir().join("000002.seg"), 9000, 2).unwrap();
    let mut lines = Vec::new();
    let dumped = drivers.block_on(tools::dump(&disk, dir(), &mut |line| lines.push(line)));
    let dumped = dumped.unwrap().unwrap();
    assert_eq!((dumped.damaged, dumped.in_use), (1, false));
    let damage: Vec<_> = lines
        .iter()
        .filter(|line| line["type"] == "damage")
        .collect();
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0]["segment"], 2);
    let enqueued = lines.iter().filter(|line| line["type"] == "enqueued");
    // One batch of seven is unreadable.
    assert_eq!(enqueued.count() as u64, all - 7);
}

#[test]
fn a_log_in_use_is_inspected_but_neither_verified_nor_repaired() {
    let (disk, drivers, known) = written();
    let done = drivers.block_on(async {
        let (session, _) = Session::open(&disk, &known).await;
        let inspection = tools::inspect(&disk, dir()).await.unwrap();
        assert!(inspection.in_use);
        let verified = tools::verify(&disk, dir(), &mut Numbers::default()).await;
        assert!(matches!(verified, Err(FolderOpenError::Locked { .. })));
        let repaired = tools::repair(&disk, dir(), &mut Numbers::default()).await;
        assert!(matches!(repaired, Err(FolderOpenError::Locked { .. })));
        drop(session);
    });
    assert!(done.is_some());
}

#[test]
fn a_file_that_contradicts_the_log_is_refused_and_taken_out() {
    let (disk, drivers, known) = written();
    let all = known.lock().unwrap().appended;
    // The same opening twice, as from a copied folder: one goes on, then both are in one place.
    let elsewhere = disk.fork(Drivers::new());
    elsewhere.restart_process();
    let other = Arc::new(Mutex::new(Known::default()));
    let other_drivers = Drivers::new();
    let done = other_drivers.block_on(async {
        let (mut session, _) = Session::open(&elsewhere, &other).await;
        session.append();
        session.flush().await.unwrap();
        let segment = session.writer.active_segment();
        drop(session);
        segment
    });
    let segment: SegmentNo = done.unwrap();
    let done = drivers.block_on(async {
        for _ in 0..2 {
            drop(Session::open(&disk, &known).await);
        }
        let (mut session, _) = Session::open(&disk, &known).await;
        session.append();
        session.flush().await.unwrap();
        assert_eq!(session.writer.active_segment(), segment);
        drop(session);
        let mut theirs = elsewhere.files().into_iter().map(|(path, _)| path);
        let newest = theirs.rfind(|path| path.extension().is_some());
        let bytes = elsewhere.bytes(&newest.unwrap()).unwrap();
        let intruder = leasebridge::env::Disk::open(&disk, &dir().join("000099.seg"), true).await;
        intruder.unwrap().write_at(0, &bytes).await.unwrap();
        let (refused, _) = Session::try_open(&disk, &known).await;
        assert!(matches!(refused, Err(FolderOpenError::Corrupt { .. })));
        let repaired = repair(&disk).await.unwrap();
        assert_eq!((repaired.cut, repaired.aside.len()), (None, 1));
        assert_eq!(events(&disk).await.next, all + 1);
    });
    assert!(done.is_some());
}
