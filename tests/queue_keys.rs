//! What a key stands for: a command of one route, until its window passes or a purge lets it go.

mod queue_world;

use std::borrow::Cow;

use leasebridge::core::{TaskId, TaskState};
use leasebridge::queue::{Failure, QueueOptions, RouteMove, SafeTaskQueue, TaskOptions};
use leasebridge_sim::disk::{SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{SEGMENT_BYTES, life, open, options};

type Queue = SafeTaskQueue<String>;

/// Segments of the log.
const SEGMENTS: u64 = 12;

const ROUTE: &str = "default";

fn unforgiving(disk: &SimDisk, boot: u64) -> QueueOptions {
    QueueOptions {
        max_in_doubt: 0,
        max_retries: 0,
        log_bytes_max: SEGMENTS * u64::from(SEGMENT_BYTES),
        ..options(disk, boot)
    }
}

async fn put(queue: &Queue, route: &'static str, key: &str) -> (TaskId, bool, TaskState) {
    let options = TaskOptions {
        route: Cow::Borrowed(route),
        key: Some(key.to_owned()),
        ..TaskOptions::default()
    };
    let kept = queue.enqueue(format!("do {key}"), options).await;
    let kept = kept.expect("there is room");
    (kept.id, kept.duplicate, kept.state)
}

/// Enqueues under a key what ends in poison after one attempt.
async fn poisoned(queue: &Queue, key: &str, why: Failure) -> TaskId {
    let (id, known, _) = put(queue, ROUTE, key).await;
    assert!(!known);
    let lease = queue.lease(ROUTE).await.expect("it waits");
    assert_eq!(lease.id(), id);
    lease.fail(why).await.expect("it is held");
    let state = queue.task_state(id).expect("the log is ours");
    assert!(matches!(state, Some(TaskState::Poison(_))), "{state:?}");
    id
}

fn no() -> Failure {
    Failure::Rejected("no".into())
}

fn silence() -> Failure {
    Failure::InDoubt("silence".into())
}

/// Writes twice what the log has room for, so that all that stood in it was written anew.
async fn churn(queue: &Queue) {
    let written = || queue.status().journal.written_bytes;
    let until = written() + 2 * SEGMENTS * u64::from(SEGMENT_BYTES);
    while written() < until {
        let filler = "x".repeat(400);
        queue
            .enqueue(filler, TaskOptions::default())
            .await
            .expect("there is room");
        let lease = queue.lease(ROUTE).await.expect("it waits");
        lease.ack().await.expect("it is held");
    }
}

/// Told success, never run: a key whose command was refused and purged answered its next command with *duplicate*, and
/// nothing ran.
#[test]
fn a_purge_frees_the_key_of_what_was_certainly_not_executed() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let (first, second) = life(|| async {
        let queue = open(unforgiving(&disk, 1)).await;
        let first = poisoned(&queue, "order", no()).await;
        queue.purge(first).await.unwrap();
        let (second, known, _) = put(&queue, ROUTE, "order").await;
        assert!(!known && second != first);
        churn_around(&queue, second).await;
        queue.close().await.unwrap();
        (first, second)
    })
    .expect("it ends");
    life(|| async {
        let queue = open(unforgiving(&disk, 2)).await;
        assert_eq!(queue.task_state(first).unwrap(), None);
        let (again, known, state) = put(&queue, ROUTE, "order").await;
        assert_eq!((again, known, state), (second, true, TaskState::Done));
    })
    .expect("it ends");
}

/// Executes the task, and moves all that stands in the log's first segments.
async fn churn_around(queue: &Queue, id: TaskId) {
    let lease = queue.lease(ROUTE).await.expect("it waits");
    assert_eq!(lease.id(), id);
    lease.ack().await.expect("it is held");
    churn(queue).await;
}

#[test]
fn a_purge_leaves_the_key_of_what_may_have_been_executed_until_somebody_takes_that_upon_himself() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let ids = life(|| async {
        let queue = open(unforgiving(&disk, 1)).await;
        let kept = poisoned(&queue, "kept", silence()).await;
        queue.purge(kept).await.unwrap();
        let freed = poisoned(&queue, "freed", silence()).await;
        // A later answer doesn't take the doubt back, nor does a requeue.
        let later = poisoned(&queue, "later", silence()).await;
        queue.requeue(later).await.unwrap();
        let lease = queue.lease(ROUTE).await.unwrap();
        lease.fail(no()).await.unwrap();
        queue.purge(later).await.unwrap();
        churn(&queue).await;
        queue.close().await.unwrap();
        (kept, freed, later)
    });
    let (kept, freed, later) = ids.expect("it ends");
    life(|| async {
        let queue = open(unforgiving(&disk, 2)).await;
        for (key, id) in [("kept", kept), ("later", later)] {
            let told = put(&queue, ROUTE, key).await;
            assert_eq!(told, (id, true, TaskState::Removed), "{key}");
        }
        queue.purge_with_key(freed).await.unwrap();
        let (again, known, _) = put(&queue, ROUTE, "freed").await;
        assert!(!known && again != freed);
    })
    .expect("it ends");
}

#[test]
fn a_key_is_another_one_on_another_route() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    life(|| async {
        let queue = open(options(&disk, 1)).await;
        queue.define_route("lamps").await.unwrap();
        let (here, known, _) = put(&queue, ROUTE, "order").await;
        let (there, also_known, _) = put(&queue, "lamps", "order").await;
        assert!(!known && !also_known && here != there);
        for (route, id) in [(ROUTE, here), ("lamps", there)] {
            assert_eq!(put(&queue, route, "order").await.0, id);
            let found = queue.find_key(route, "order").unwrap();
            assert_eq!(found.map(|(id, _)| id), Some(id));
        }
        let mut anywhere = queue.find_key_anywhere("order").unwrap();
        anywhere.sort_unstable_by_key(|(id, _)| *id);
        let anywhere: Vec<_> = anywhere.into_iter().map(|(id, _)| id).collect();
        assert_eq!(anywhere, [here, there]);
        // It keeps its scope where it moves.
        let moved = queue.move_route("lamps", ROUTE, RouteMove::default());
        moved.await.unwrap();
        assert_eq!(put(&queue, "lamps", "order").await.0, there);
    })
    .expect("it ends");
}
