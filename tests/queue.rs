//! The queue over real files: what a producer and a worker may rely on.

use std::time::Duration;

use leasebridge::core::event::{Next, PoisonCause};
use leasebridge::core::{Epoch, TaskState};
use leasebridge::env::{self, Env};
use leasebridge::queue::{
    Backoff, EnqueueError, Failure, FullBecause, LeaseError, QueueOptions, SafeTaskQueue,
    TaskOptions,
};

/// Small segments: a test that makes five of them should not wait for 80 MiB of zeros.
fn options(dir: &tempfile::TempDir) -> QueueOptions {
    QueueOptions {
        segment_bytes: 1 << 20,
        body_bytes_max: 64 << 10,
        log_bytes_max: 64 << 20,
        backoff: Backoff::Exponential,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        ..QueueOptions::new(dir.path())
    }
}

async fn open(dir: &tempfile::TempDir) -> SafeTaskQueue<String> {
    SafeTaskQueue::open(options(dir)).await.unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_command_goes_in_is_leased_and_is_done() {
    let dir = folder();
    let queue = open(&dir).await;
    let enqueued = queue
        .enqueue("alpha".into(), TaskOptions::default())
        .await
        .unwrap();
    assert!(!enqueued.duplicate);
    assert_eq!(queue.counts().ready, 1);
    let lease = queue.lease("default").await.unwrap();
    assert_eq!(
        (lease.value().as_str(), lease.delivery().epoch),
        ("alpha", Epoch::FIRST)
    );
    assert_eq!((queue.counts().ready, queue.counts().leased), (0, 1));
    lease.ack().await.unwrap();
    assert_eq!(queue.counts().pending(), 0);
    queue.close().await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_is_there_after_a_drop_without_close_and_what_was_done_is_not() {
    let dir = folder();
    let queue = open(&dir).await;
    for n in 0..50 {
        queue
            .enqueue(format!("c{n}"), TaskOptions::default())
            .await
            .unwrap();
    }
    let leases = queue.lease_batch("default", 20).await.unwrap();
    assert_eq!(leases.len(), 20);
    let replies = queue.ack_batch(leases).await.unwrap();
    assert!(replies.iter().all(Result::is_ok));
    drop(queue);
    let queue = reopen(&dir).await;
    assert_eq!(queue.counts().ready, 30);
    let values: Vec<String> = queue
        .lease_batch("default", 100)
        .await
        .unwrap()
        .iter()
        .map(|lease| lease.value().clone())
        .collect();
    let expected: Vec<String> = (20..50).map(|n| format!("c{n}")).collect();
    assert_eq!(values, expected);
}

/// A dropped queue lets go of its folder as soon as its threads have written what was pending.
async fn reopen(dir: &tempfile::TempDir) -> SafeTaskQueue<String> {
    for _ in 0..12_000 {
        match SafeTaskQueue::open(options(dir)).await {
            Ok(queue) => return queue,
            Err(error) if error.is_locked() => {
                Env::real().clock.sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the folder stayed locked");
}

#[tokio::test]
async fn a_held_lease_that_may_have_been_sent_is_in_doubt_after_a_crash_and_keeps_its_epoch() {
    let dir = folder();
    let queue = open(&dir).await;
    let id = queue
        .enqueue("x".into(), TaskOptions::default())
        .await
        .unwrap()
        .id;
    let lease = queue.lease("default").await.unwrap();
    lease.mark_sent().unwrap();
    // The crash: the lease is never dropped, so nothing is written for it.
    std::mem::forget(lease);
    queue.close().await.unwrap();
    let queue = reopen(&dir).await;
    let explained = queue.explain(id).await.unwrap().unwrap();
    assert_eq!(explained.history.unwrap().counts.in_doubt, 1);
    let lease = queue.lease("default").await.unwrap();
    assert_eq!(lease.delivery().epoch.get(), 2);
}

#[tokio::test]
async fn dropped_unsent_leases_go_back_to_their_place_free_of_charge() {
    let dir = folder();
    let queue = open(&dir).await;
    for name in ["a", "b"] {
        queue
            .enqueue(name.into(), TaskOptions::default())
            .await
            .unwrap();
    }
    let first = queue.lease("default").await.unwrap();
    let id = first.id();
    drop(first);
    let again = queue.lease("default").await.unwrap();
    assert_eq!((again.id(), again.value().as_str()), (id, "a"));
    let explained = queue.explain(id).await.unwrap().unwrap();
    assert_eq!((explained.retries, explained.in_doubt), (0, 0));
}

#[tokio::test]
async fn five_retries_then_poison_then_requeue_with_fresh_budgets() {
    let dir = folder();
    let queue = open(&dir).await;
    let id = queue
        .enqueue("x".into(), TaskOptions::default())
        .await
        .unwrap()
        .id;
    for attempt in 1..=6 {
        let lease = queue.lease("default").await.unwrap();
        assert_eq!(lease.delivery().epoch.get(), attempt);
        let next = lease.fail(Failure::Rejected("no".into())).await.unwrap();
        let poisoned = next == Next::Poison(PoisonCause::RetriesSpent);
        assert_eq!(poisoned, attempt == 6, "attempt {attempt}: {next:?}");
    }
    assert_eq!(queue.counts().poison, 1);
    queue.requeue(id).await.unwrap();
    let lease = queue.lease("default").await.unwrap();
    assert_eq!(lease.delivery().epoch.get(), 7);
    let explained = queue.explain(id).await.unwrap().unwrap();
    assert_eq!(explained.retries, 0);
    assert_eq!(explained.history.unwrap().counts.rejected, 6);
}

#[tokio::test]
async fn a_settled_lease_is_stale_and_changes_nothing() {
    let dir = folder();
    let queue = open(&dir).await;
    queue
        .enqueue("x".into(), TaskOptions::default())
        .await
        .unwrap();
    let lease = queue.lease("default").await.unwrap();
    let (id, delivery) = (lease.id(), lease.delivery());
    lease
        .fail(Failure::NotSent("link down".into()))
        .await
        .unwrap();
    let second = queue.lease("default").await.unwrap();
    assert_eq!(second.id(), id);
    assert!(second.delivery().epoch > delivery.epoch);
    second.move_to_poison("by hand").await.unwrap();
    assert!(matches!(queue.requeue(id).await, Ok(())));
    assert!(matches!(
        queue.requeue(id).await,
        Err(LeaseError::NotThere { .. })
    ));
}

#[tokio::test]
async fn a_key_names_its_first_command_for_good() {
    let dir = folder();
    let queue = open(&dir).await;
    let with_key = || TaskOptions::default().key("order-7");
    let first = queue.enqueue("ship".into(), with_key()).await.unwrap();
    let again = queue.enqueue("ship".into(), with_key()).await.unwrap();
    assert_eq!(
        (again.id, again.duplicate, again.state),
        (first.id, true, TaskState::Ready)
    );
    let other = queue.enqueue("sink".into(), with_key()).await;
    assert_eq!(other, Err(EnqueueError::KeyConflict { first: first.id }));
    queue.lease("default").await.unwrap().ack().await.unwrap();
    drop(queue);
    let queue = reopen(&dir).await;
    let late = queue.enqueue("ship".into(), with_key()).await.unwrap();
    assert_eq!(
        (late.id, late.duplicate, late.state),
        (first.id, true, TaskState::Done)
    );
}

#[tokio::test]
async fn a_full_queue_refuses_or_lets_wait_and_says_why() {
    let dir = folder();
    let queue = SafeTaskQueue::<String>::open(QueueOptions {
        capacity: 1,
        ..options(&dir)
    })
    .await
    .unwrap();
    queue
        .try_enqueue("a".into(), TaskOptions::default())
        .await
        .unwrap();
    let refused = queue.try_enqueue("b".into(), TaskOptions::default()).await;
    assert!(matches!(
        refused,
        Err(EnqueueError::Full {
            why: FullBecause::Capacity,
            ..
        })
    ));
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.enqueue("c".into(), TaskOptions::default()).await }
    });
    queue.lease("default").await.unwrap().ack().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(queue.lease("default").await.unwrap().value(), "c");
}

#[tokio::test]
async fn a_full_queue_tells_what_it_knows_and_refuses_for_good_what_never_fits() {
    let dir = folder();
    let queue = SafeTaskQueue::<String>::open(QueueOptions {
        capacity: 2,
        ..options(&dir)
    })
    .await
    .unwrap();
    let keyed = |name: &str| (name.to_owned(), TaskOptions::default().key(name));
    let batch = |names: &[&str]| {
        let named: Vec<_> = names.iter().copied().map(keyed).collect();
        queue.enqueue_batch(named)
    };
    let refused = batch(&["a", "b", "c"]).await;
    let (commands, capacity) = (3, 2);
    assert_eq!(
        refused.unwrap_err(),
        EnqueueError::BatchTooLarge { commands, capacity }
    );
    let first: Vec<_> = batch(&["a", "b"]).await.unwrap();
    // Known ones need no room, however many they are; one that is new does.
    for names in [["a", "b"].as_slice(), &["b"], &["a", "b", "a"]] {
        let known = batch(names).await.unwrap();
        assert!(known.iter().all(|one| one.as_ref().unwrap().duplicate));
    }
    let (value, options) = keyed("a");
    let known = queue.try_enqueue(value, options).await.unwrap();
    assert_eq!(
        (known.duplicate, known.id),
        (true, first[0].as_ref().unwrap().id)
    );
    let full = batch(&["a", "c"]).await.unwrap_err();
    assert!(matches!(full, EnqueueError::Full { .. }), "{full}");
}

#[tokio::test]
async fn an_expired_lease_is_redelivered_and_its_holder_hears_of_it() {
    let dir = folder();
    let options = QueueOptions {
        lease: Duration::from_millis(40),
        ..options(&dir)
    };
    let queue = SafeTaskQueue::<String>::open(options).await.unwrap();
    queue
        .enqueue("x".into(), TaskOptions::default())
        .await
        .unwrap();
    let first = queue.lease("default").await.unwrap();
    first.mark_sent().unwrap();
    env::timeout(&*Env::real().clock, Duration::from_secs(60), first.lost())
        .await
        .unwrap();
    let second = queue.lease("default").await.unwrap();
    assert_eq!(second.delivery().epoch.get(), 2);
    let stale = first.fail(Failure::Rejected("late".into())).await;
    assert!(matches!(
        stale,
        Err(LeaseError::Stale { current, .. }) if current == Epoch::new(2)
    ));
    second.ack().await.unwrap();
}

#[tokio::test]
async fn waiting_leasers_and_late_callers_hear_of_the_close() {
    let dir = folder();
    let queue = open(&dir).await;
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.lease("default").await.map(drop) }
    });
    tokio::task::yield_now().await;
    queue.close().await.unwrap();
    queue.close().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(LeaseError::Closed));
    let late = queue.enqueue("x".into(), TaskOptions::default()).await;
    assert_eq!(late, Err(EnqueueError::Closed));
}

/// Seen once in some hundred restarts: the clock's task ran before the opening had been decided, and what the dead process
/// held was "released", as if nobody could have executed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_dead_process_held_is_in_doubt_however_soon_the_next_one_looks_at_the_clock() {
    const OPENINGS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let queue = open(&dir).await;
    let id = queue
        .enqueue("x".into(), TaskOptions::default())
        .await
        .unwrap();
    let held = queue.lease("default").await.unwrap();
    // What a kill would leave: the lease is granted, and how it ended is told by nobody.
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    drop((held, queue));
    for opening in 0..OPENINGS {
        let dir = tempfile::tempdir().unwrap();
        copy(killed.path(), dir.path());
        let queue = open(&dir).await;
        let explained = queue.explain(id.id).await.unwrap().unwrap();
        let history = format!("{:?}", explained.history);
        assert!(
            history.contains("the bridge died"),
            "opening {opening}: {history}"
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a kill is played by copying what stands in the files"
)]
fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
