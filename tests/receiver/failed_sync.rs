//! What an inbox's file shows after a sync that failed may stand in the page cache alone: it is answered from only
//! once it is on the disk.

use bytes::Bytes;
use leasebridge::receiver::store::{InboxRecord, StoredInbox};
use leasebridge::receiver::{EffectFile, EffectLog, FileStore, InboxStore};
use leasebridge_sim::disk::{Fault, FaultRule, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;

use crate::stored::{command, delivery, env};

/// Each failing sync draws what of the write will never reach the disk, each power cut what of the rest is left.
const SEEDS: u64 = 32;

const PATH: &str = "/inbox";

fn fail_the_next_sync(disk: &SimDisk) {
    disk.add_fault(FaultRule::new(Fault::SyncError).times(1));
}

/// What a new process finds.
async fn effects(disk: &SimDisk) -> StoredInbox {
    let log = EffectFile::new(&env(disk), PATH).unwrap();
    let (_, stored) = log.load().await.unwrap();
    log.close().await;
    stored
}

async fn records(disk: &SimDisk) -> StoredInbox {
    let store = FileStore::new(&env(disk), PATH).unwrap();
    let (_, stored) = store.load().await.unwrap();
    store.close().await;
    stored
}

/// Runs a check that says whether what was not synced was shown: it must be, now and then.
async fn for_all_seeds(check: impl AsyncFn(u64) -> bool) {
    let mut shown = 0;
    for seed in 0..SEEDS {
        shown += u64::from(check(seed).await);
    }
    assert!(0 < shown, "the page cache never has it");
}

#[tokio::test]
async fn an_effect_that_was_shown_outlives_a_power_cut() {
    for_all_seeds(what_is_shown_is_kept).await;
}

/// Says whether the effect whose sync failed was there.
async fn what_is_shown_is_kept(seed: u64) -> bool {
    let disk = SimDisk::new(Seed(seed), TokioSpawner);
    let log = EffectFile::new(&env(&disk), PATH).unwrap();
    log.load().await.unwrap();
    log.append(vec![command(1)]).await.unwrap();
    fail_the_next_sync(&disk);
    log.append(vec![command(2)]).await.unwrap_err();
    disk.restart_process();
    let shown = effects(&disk).await.done;
    disk.power_cut(Seed(seed));
    assert_eq!(effects(&disk).await.done, shown, "seed {seed}");
    shown.contains(delivery(2).task)
}

#[tokio::test]
async fn a_record_that_was_shown_outlives_a_power_cut() {
    for_all_seeds(what_is_recorded_is_kept).await;
}

/// Says whether the record whose sync failed was there.
async fn what_is_recorded_is_kept(seed: u64) -> bool {
    let disk = SimDisk::new(Seed(seed), TokioSpawner);
    let store = FileStore::new(&env(&disk), PATH).unwrap();
    store.load().await.unwrap();
    let done = |seq| InboxRecord::Finished(delivery(seq), Ok(Bytes::from(vec![7; 700])));
    store.append(vec![done(1)]).await.unwrap();
    fail_the_next_sync(&disk);
    store.append(vec![done(2)]).await.unwrap_err();
    disk.restart_process();
    let shown = records(&disk).await.tasks;
    disk.power_cut(Seed(seed));
    let left = records(&disk).await.tasks;
    assert!(
        left == shown,
        "seed {seed}: {} of {}",
        left.len(),
        shown.len()
    );
    shown.len() == 2
}
