//! A crash at every operation.

use std::sync::{Arc, Mutex};

use leasebridge_sim::disk::{Drivers, OpNumber, SimDisk};
use leasebridge_sim::seed::Seed;

use super::log::{Known, Numbers, SEGMENT_BYTES, Session, body};

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
pub(crate) async fn check(disk: &SimDisk, before: &Known) -> (Session, Numbers) {
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
pub(crate) fn survives(crashed: &SimDisk, known: &Known, outcome: u64) {
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
