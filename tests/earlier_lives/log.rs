//! Over the queue on a simulated disk, with the product's inbox beside it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use leasebridge::core::{DeliveryId, SendNumber, TaskId};
use leasebridge::env::Disk;
use leasebridge::queue::log::files::tools::{self, AnyEvents};
use leasebridge::queue::{Lease, QueueOptions, SafeTaskQueue, TaskOptions};
use leasebridge::receiver::InboxLimits;
use leasebridge::receiver::inbox::{Decision, Inbox, LinkId, Waiter};
use leasebridge_sim::disk::{SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;

use super::queue_world::{DIR, life, open, options};
use super::{contains, left};

type Queue = SafeTaskQueue<String>;

async fn put(queue: &Queue, text: &str) -> TaskId {
    let enqueued = queue.enqueue(text.to_owned(), TaskOptions::default()).await;
    enqueued.unwrap().id
}

async fn take(queue: &Queue) -> Lease<String> {
    queue.lease("default").await.unwrap()
}

/// Executes a command, as an endpoint does.
fn execute(inbox: &mut Inbox, delivery: DeliveryId) {
    let waiter = Waiter {
        delivery,
        send: SendNumber::FIRST,
        link: LinkId(1),
    };
    let Decision::Run(run) = inbox.on_command(waiter) else {
        panic!("{delivery} runs for the first time");
    };
    assert!(inbox.on_start(delivery.task, run));
    let result = Ok(Bytes::from_static(&[7; 64]));
    inbox.on_finished(delivery.task, run, &result);
}

/// What a life may leave behind that was executed: as many as are executed in one, and what stays in poison.
const INBOX_MAX: usize = 5;

/// No life announces what leaves in it; half of them end without closing.
#[test]
fn two_thousand_openings_leave_the_inbox_small_and_what_lives_elsewhere_alone() {
    let disk = SimDisk::new(Seed(3), TokioSpawner);
    let mut inbox = Inbox::new(InboxLimits {
        entries_max: 100,
        result_bytes_max: 1 << 20,
        settled_ranges_max: 1_000_000,
        tombstones_per_link: 10,
    });
    let mut elsewhere = BTreeSet::new();
    let mut in_poison = None;
    for boot in 0..2_000 {
        let lived = life(|| async {
            let queue = open(options(&disk, boot)).await;
            for range in left(&queue).await {
                let alive = in_poison.into_iter().chain(elsewhere.iter().copied());
                for id in alive {
                    assert!(!contains(&[range], id), "opening {boot}: {id} is announced");
                }
                assert!(inbox.on_settled(range).is_some());
            }
            assert!(inbox.len() <= INBOX_MAX, "{} in {boot}", inbox.len());
            for number in 0..3 {
                put(&queue, &format!("{boot}-{number}")).await;
                let lease = take(&queue).await;
                execute(&mut inbox, lease.delivery());
                if in_poison.is_none() {
                    in_poison = Some(lease.id());
                    lease
                        .move_to_poison("for a person to look at")
                        .await
                        .unwrap();
                } else if number == 2 {
                    let id = lease.id();
                    lease.move_to_poison("nobody wants it").await.unwrap();
                    queue.purge(id).await.unwrap();
                } else {
                    lease.ack().await.unwrap();
                }
            }
            if boot % 40 == 1 {
                put(&queue, "goes elsewhere").await;
                let drained = queue.drain("default", 1).await.unwrap();
                let gone = drained.commit().await.unwrap();
                elsewhere.extend(gone.iter().map(|task| task.id()));
            }
            match boot % 2 {
                0 => queue.close().await.unwrap(),
                _ => disk.kill(),
            }
        });
        lived.expect("no life gets stuck");
        disk.restart_process();
    }
    assert_eq!(elsewhere.len(), 50);
    assert!(inbox.result_bytes() <= INBOX_MAX * 64);
}

/// Fills segments until the one that was written when it began is gone.
async fn retire_all(queue: &Queue) {
    for _ in 0..400 {
        put(queue, &"x".repeat(400)).await;
        take(queue).await.ack().await.unwrap();
    }
}

#[test]
fn drained_ids_are_never_announced_however_often_the_log_is_rewritten_until_they_come_back() {
    let disk = SimDisk::new(Seed(3), TokioSpawner);
    let moved = || {
        leasebridge::coverage::snapshot()
            .get("origins_moved")
            .copied()
    };
    let before = moved();
    let (drained, ids) = life(|| async {
        let queue = open(options(&disk, 0)).await;
        let mut ids = Vec::new();
        for number in 0..9 {
            ids.push(put(&queue, &format!("command {number}")).await);
        }
        // The first three are done, the next three drained, the last three wait.
        for _ in 0..3 {
            take(&queue).await.ack().await.unwrap();
        }
        let drained = queue.drain("default", 3).await.unwrap();
        let drained = drained.commit().await.unwrap();
        queue.close().await.unwrap();
        (drained, ids)
    })
    .expect("it ends");
    for boot in 1..4 {
        disk.restart_process();
        life(|| async {
            let queue = open(options(&disk, boot)).await;
            let left = left(&queue).await;
            for (number, id) in ids.iter().enumerate() {
                assert_eq!(contains(&left, *id), number < 3, "{id} in opening {boot}");
            }
            // Those that wait stay at the front, and are given back.
            let waiting = [take(&queue).await, take(&queue).await, take(&queue).await];
            retire_all(&queue).await;
            for lease in waiting {
                lease.release().await.unwrap();
            }
            queue.close().await.unwrap();
        })
        .expect("it ends");
    }
    assert!(moved() > before, "compaction wrote the openings anew");
    disk.restart_process();
    life(|| async {
        let queue = open(options(&disk, 4)).await;
        let back = queue.restore(&drained).await.unwrap();
        assert!(back.iter().all(Result::is_ok), "{back:?}");
        for _ in 0..6 {
            take(&queue).await.ack().await.unwrap();
        }
        // What was executed in an earlier life is known to be: its endpoint was told.
        queue.close().await.unwrap();
    })
    .expect("it ends");
    disk.restart_process();
    life(|| async {
        let queue = open(options(&disk, 5)).await;
        let left = left(&queue).await;
        assert!(ids.iter().all(|id| contains(&left, *id)), "{left:?}");
        let again = queue.restore(&drained).await.unwrap();
        assert!(again.iter().all(Result::is_err), "{again:?}");
    })
    .expect("it ends");
}

/// Two lives: in the first one some are done, in the second one the next ones, and one is drained.
fn two_lives(disk: &SimDisk) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for boot in 0..2 {
        let more = life(|| async {
            let queue = open(options(disk, boot)).await;
            let mut ids = Vec::new();
            // So few that a life is one segment.
            for number in 0..30 {
                ids.push(put(&queue, &format!("{boot}-{number} {}", "x".repeat(20))).await);
            }
            for _ in 0..20 {
                take(&queue).await.ack().await.unwrap();
            }
            let drained = queue.drain("default", 1).await.unwrap();
            drained.commit().await.unwrap();
            disk.kill();
            ids
        });
        disk.restart_process();
        ids.extend(more.expect("it ends"));
    }
    ids
}

/// The newest segment's file, and where its last records begin.
fn newest(disk: &SimDisk) -> (std::path::PathBuf, u64) {
    let files = disk.files().into_iter();
    let segments = files.filter(|(path, _)| path.extension().is_some_and(|end| end == "seg"));
    let number = |path: &Path| {
        let bytes = disk.bytes(path).unwrap();
        u32::from_le_bytes(bytes[12..16].try_into().unwrap())
    };
    let (path, _) = segments.max_by_key(|(path, _)| number(path)).unwrap();
    let bytes = disk.bytes(&path).unwrap();
    // Behind what is left of it the last page holds the witnesses.
    let records = &bytes[..bytes.len() - 4096];
    let end = records.iter().rposition(|byte| *byte != 0).unwrap();
    (path, end as u64)
}

#[test]
fn behind_the_cut_of_a_repair_nothing_is_announced() {
    let disk = SimDisk::new(Seed(3), TokioSpawner);
    let ids = two_lives(&disk);
    let (path, end) = newest(&disk);
    // In the middle of what the second life wrote last: whole batches stand behind it.
    disk.flip_bit(&path, end - 2_000, 3).unwrap();
    life(|| async {
        let repaired = tools::repair(&disk, Path::new(DIR), &mut AnyEvents).await;
        let cut = repaired.unwrap().expect("it was damaged");
        assert!(cut.lost.records > 0);
        let queue = open(options(&disk, 2)).await;
        let left = left(&queue).await;
        let next = put(&queue, "the first behind the cut").await.seq;
        for id in &ids {
            let lives = queue.explain(*id).await.unwrap().is_some();
            let may_be_told = !lives && id.seq < next;
            assert!(may_be_told || !contains(&left, *id), "{id}: {left:?}");
        }
        assert!(!left.is_empty(), "what is before the cut is as it was");
        queue.close().await.unwrap();
    })
    .expect("it ends");
}

#[test]
fn a_salvaged_log_announces_nothing_of_what_came_before() {
    let disk = SimDisk::new(Seed(3), TokioSpawner);
    let ids = two_lives(&disk);
    let (path, end) = newest(&disk);
    disk.flip_bit(&path, end - 2_000, 3).unwrap();
    for boot in 2..4 {
        disk.restart_process();
        life(|| async {
            let rescued = Path::new("/rescued");
            if boot == 2 {
                let reading: Arc<dyn Disk> = Arc::new(disk.clone());
                let salvaged = tools::salvage(&reading, Path::new(DIR), rescued).await;
                assert!(salvaged.unwrap().is_written);
            }
            let options = QueueOptions {
                dir: rescued.into(),
                ..options(&disk, boot)
            };
            let queue = open(options).await;
            let left = left(&queue).await;
            assert!(!ids.iter().any(|id| contains(&left, *id)), "{left:?}");
            // Of its own lives it does.
            assert_eq!(left.is_empty(), boot == 2);
            let id = put(&queue, "new").await;
            loop {
                let lease = take(&queue).await;
                let is_new = lease.id() == id;
                lease.ack().await.unwrap();
                if is_new {
                    break;
                }
            }
            queue.close().await.unwrap();
        })
        .expect("it ends");
    }
}
