//! A full disk and a process without descriptors come back by themselves: an inbox waits for them, answers nothing
//! meanwhile, and what it records then is there once.

use std::sync::Arc;

use bytes::Bytes;
use leasebridge::core::{IdRange, Origin, Seq};
use leasebridge::receiver::store::InboxRecord;
use leasebridge::receiver::{EffectFile, EffectLog, FileStore, InboxStore};
use leasebridge_sim::disk::{Fault, FaultRule, OpKind, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;

use crate::stored::{command, delivery, env};

/// Each draws which writes find no room, and how much of them.
const SEEDS: u64 = 16;

const PATH: &str = "/inbox";

/// Commands of one batch: several writes, each with a sync of its own.
const COMMANDS: u64 = 900;

/// Records that make a file worth copying once they are settled.
const RECORDS: u64 = 7_000;

fn done(seq: u64) -> InboxRecord {
    InboxRecord::Finished(delivery(seq), Ok(Bytes::from(vec![7; 700])))
}

fn settled(first: u64, last: u64) -> InboxRecord {
    InboxRecord::Settled(IdRange::new(Origin(7), Seq(first), Seq(last)).unwrap())
}

/// Strikes writes alone: what is cut off a file needs no room.
fn writes(fault: Fault) -> FaultRule {
    FaultRule::new(fault).on(OpKind::Write)
}

#[tokio::test]
async fn effects_wait_for_room_and_each_is_written_once() {
    for seed in 0..SEEDS {
        let disk = SimDisk::new(Seed(seed), TokioSpawner);
        let log = EffectFile::new(&env(&disk), PATH).unwrap();
        log.load().await.unwrap();
        let full = writes(Fault::NoSpace).one_in(2).times(6);
        let full = disk.add_fault(full);
        log.append((0..COMMANDS).map(command).collect())
            .await
            .unwrap();
        assert!(disk.struck_by(full) > 0, "seed {seed}");
        log.close().await;
        disk.disable_faults();
        disk.power_cut(Seed(seed));
        let lines = disk.bytes(PATH.as_ref()).unwrap();
        let lines = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(
            lines,
            COMMANDS + 1,
            "seed {seed}: one line each, and the first"
        );
        let log = EffectFile::new(&env(&disk), PATH).unwrap();
        let (_, stored) = log.load().await.unwrap();
        assert!((0..COMMANDS).all(|seq| stored.done.contains(delivery(seq).task)));
    }
}

#[tokio::test]
async fn records_wait_for_room_and_are_there_then() {
    for seed in 0..SEEDS {
        let disk = SimDisk::new(Seed(seed), TokioSpawner);
        let store = FileStore::new(&env(&disk), PATH).unwrap();
        store.load().await.unwrap();
        for seq in 0..8 {
            disk.add_fault(writes(Fault::NoSpace).one_in(2).times(3));
            store.append(vec![done(seq)]).await.unwrap();
        }
        store.close().await;
        disk.disable_faults();
        disk.power_cut(Seed(seed));
        let store = FileStore::new(&env(&disk), PATH).unwrap();
        let (_, stored) = store.load().await.unwrap();
        assert_eq!(stored.tasks.len(), 8, "seed {seed}");
    }
}

#[tokio::test]
async fn who_closes_it_doesnt_wait_for_room() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let store = Arc::new(FileStore::new(&env(&disk), PATH).unwrap());
    store.load().await.unwrap();
    store.append(vec![done(1)]).await.unwrap();
    let full = disk.add_fault(writes(Fault::NoSpace));
    let waiting = Arc::clone(&store);
    let waiting = tokio::spawn(async move { waiting.append(vec![done(2)]).await });
    while disk.struck_by(full) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    store.close().await;
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("write to"), "{error}");
    disk.disable_faults();
    disk.restart_process();
    let store = FileStore::new(&env(&disk), PATH).unwrap();
    let (_, stored) = store.load().await.unwrap();
    assert_eq!(stored.tasks.len(), 1, "what was recorded, and nothing else");
}

#[tokio::test]
async fn without_room_for_a_copy_the_file_grows_on_and_is_copied_later() {
    for (fault, kind) in [
        (Fault::NoFiles, OpKind::Create),
        (Fault::NoSpace, OpKind::Write),
    ] {
        let disk = SimDisk::new(Seed(3), TokioSpawner);
        let store = FileStore::new(&env(&disk), PATH).unwrap();
        store.load().await.unwrap();
        store.close().await;
        // The first file is a copy, too: only from now on the fault knows the two apart.
        let store = FileStore::new(&env(&disk), PATH).unwrap();
        store.load().await.unwrap();
        let none = disk.add_fault(FaultRule::new(fault).path_suffix(".new").on(kind));
        let size = || disk.bytes(PATH.as_ref()).unwrap().len();
        store
            .append((1..=RECORDS).map(done).collect())
            .await
            .unwrap();
        let whole = size();
        store.append(vec![settled(1, RECORDS - 1)]).await.unwrap();
        assert!(disk.struck_by(none) > 0, "{fault:?}");
        assert!(size() > whole, "{fault:?}: it was copied all the same");
        disk.disable_faults();
        let more = RECORDS + 1..=2 * RECORDS;
        store.append(more.map(done).collect()).await.unwrap();
        store
            .append(vec![settled(RECORDS + 1, 2 * RECORDS)])
            .await
            .unwrap();
        assert!(size() < whole, "{fault:?}: it was never copied");
        store.close().await;
        disk.power_cut(Seed(4));
        let store = FileStore::new(&env(&disk), PATH).unwrap();
        let (_, stored) = store.load().await.unwrap();
        let left: Vec<_> = stored.tasks.iter().map(|(task, ..)| task.seq.0).collect();
        assert_eq!(left, [RECORDS], "{fault:?}");
    }
}
