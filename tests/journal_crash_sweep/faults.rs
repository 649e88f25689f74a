//! What a disk breaks is reported, never passed over.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use leasebridge::core::event::Event;
use leasebridge::core::ids::{BodyRef, SegmentNo, Seq};
use leasebridge::queue::log::files::{FolderOpenError, FolderReadError, SpareError};
use leasebridge_sim::disk::{Drivers, Fault, FaultRule, OpKind, OpNumber, SimDisk};
use leasebridge_sim::seed::Seed;

use super::crashes::{check, survives};
use super::log::{Known, SEGMENT_BYTES, Session, body, contents, dir, written};

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
        "leasebridge journal salvage /queue",
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
        assert!(matches!(second, Err(FolderOpenError::Locked { .. })));
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
        Some(Some(FolderOpenError::NoSpace { needed, .. })) => needed,
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
            let retired = session.files.recycle(SegmentNo(1)).await;
            assert_eq!(retired.unwrap_err().to_string(), failure);
            let read = session.files.read_body(BodyRef::default()).await;
            assert!(matches!(read, Err(FolderReadError::Failed(_))));
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
        assert!(matches!(refused, Err(FolderOpenError::Io { .. })));
        disk.enable_fault(rule, false);
        let (session, numbers) = Session::open(&disk, &known).await;
        let place = numbers.bodies[&5];
        disk.enable_fault(rule, true);
        let read = session.files.read_body(place).await;
        assert!(matches!(read, Err(FolderReadError::Io { .. })));
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
            let records = session.files.read_whole(segment).await.unwrap();
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
        let damaged = session.files.read_whole(SegmentNo(2)).await;
        assert!(matches!(damaged, Err(FolderReadError::Damaged { .. })));
        session.retire_oldest().await;
        let gone = session.files.read_whole(SegmentNo(1)).await;
        assert!(matches!(gone, Err(FolderReadError::Gone(SegmentNo(1)))));
        let gone = session.files.read_body(numbers.bodies[&0]).await;
        assert!(matches!(gone, Err(FolderReadError::Gone(SegmentNo(1)))));
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
    // Beside the lock and the mark.
    let slots = disk.files().len() - 2;
    assert!(slots <= 5, "{slots} slot files");
    let made = disk.stats().ops[&OpKind::Create];
    assert!(made <= 7, "{made} files were made");
}

/// A disk that breaks its word may lose anything: what is left is still told as it was, or refused.
#[test]
fn a_lying_or_misdirecting_disk_never_makes_anything_up() {
    let mut refused = 0;
    for fault in [Fault::SyncLies, Fault::MisdirectedWrite] {
        for seed in 0..60 {
            let drivers = Drivers::new();
            let disk = SimDisk::new(Seed(seed), drivers.clone());
            let rule = disk.add_fault(FaultRule::new(fault).one_in(9));
            let known = Arc::new(Mutex::new(Known::default()));
            let opened = drivers.block_on(async {
                let (session, _) = Session::try_open(&disk, &known).await;
                let Ok(mut session) = session else { return };
                for _ in 0..25 {
                    (0..7).for_each(|_| session.append());
                    session.flush().await.unwrap();
                }
            });
            assert!(opened.is_some());
            disk.enable_fault(rule, false);
            disk.power_cut(Seed(seed));
            let appended = known.lock().unwrap().appended;
            let looked = drivers.block_on(async {
                let (session, numbers) = Session::try_open(&disk, &known).await;
                let Ok(session) = session else { return false };
                assert!(numbers.next <= appended);
                for (number, place) in &numbers.bodies {
                    let read = session.files.read_body(*place).await;
                    assert_eq!(read.unwrap(), body(*number));
                }
                true
            });
            refused += u32::from(looked == Some(false));
        }
    }
    assert!(refused > 0, "no damage was ever found");
}
