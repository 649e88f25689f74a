//! A queue whose log is rows: it crashes, compacts, waits for its table, and loses it to another.

#![expect(
    clippy::disallowed_methods,
    reason = "tokio's clock is paused here: what is waited for is simulated time"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasebridge::core::TaskId;
use leasebridge::queue::{
    EnqueueError, Lease, LeaseError, LogFailure, QueueOptions, SafeTaskQueue, TaskOptions,
    TaskQueueChannelAdapter,
};
use tokio::time::timeout;

use super::fixture::LogFixture;
use super::rows::RowFixture;

type Queue = SafeTaskQueue<String>;

/// A folder that is never made: nothing of this log is in files.
const NOWHERE: &str = "/nowhere/at/all";

/// Longer than anything here takes that is still going to happen; of paused time.
const LONG: Duration = Duration::from_secs(5);

/// Longer than any backoff or quarantine.
const FOR_EVER: Duration = Duration::from_secs(3600);

async fn open(fixture: &RowFixture) -> Queue {
    let options = QueueOptions {
        log: Some(fixture.store()),
        segment_bytes: 20 << 10,
        body_bytes_max: 512,
        log_bytes_max: 64 * (20 << 10),
        ..QueueOptions::new(NOWHERE)
    };
    Queue::open(options).await.unwrap()
}

async fn lease(queue: &Queue) -> Lease<String> {
    let lease = timeout(FOR_EVER, queue.lease("default")).await;
    lease.expect("something is ready").unwrap()
}

/// Everything that waits, acknowledged.
async fn rest(queue: &Queue) -> BTreeSet<String> {
    let mut rest = BTreeSet::new();
    while queue.counts().pending() > 0 {
        let lease = lease(queue).await;
        assert!(
            rest.insert(lease.value().clone()),
            "{} twice",
            lease.value()
        );
        lease.ack().await.unwrap();
    }
    rest
}

#[tokio::test(start_paused = true)]
async fn a_queue_in_rows_is_there_again_after_a_crash() {
    let fixture = RowFixture::default();
    let queue = open(&fixture).await;
    for n in 0..3 {
        let task = queue.enqueue(n.to_string(), TaskOptions::default().key(format!("k{n}")));
        task.await.unwrap();
    }
    let first = lease(&queue).await;
    let (second, epoch) = (lease(&queue).await, first.delivery().epoch);
    second.mark_sent().unwrap();
    first.ack().await.unwrap();
    fixture.kill();
    let queue = open(&fixture).await;
    let again = queue.enqueue("1".to_owned(), TaskOptions::default().key("k1"));
    assert!(again.await.unwrap().duplicate, "the key is remembered");
    let counts = queue.counts();
    assert_eq!((counts.ready + counts.delayed, counts.leased), (2, 0));
    tokio::time::sleep(LONG).await;
    let second = lease(&queue).await;
    assert_eq!(second.value(), "1");
    assert!(second.delivery().epoch > epoch);
    second.ack().await.unwrap();
    queue.close().await.unwrap();
    let queue = open(&fixture).await;
    assert_eq!(rest(&queue).await, BTreeSet::from(["2".to_owned()]));
    assert!(!Path::new(NOWHERE).exists());
}

#[tokio::test(start_paused = true)]
async fn old_rows_go_and_what_they_held_of_use_stays() {
    let fixture = RowFixture::default();
    let queue = open(&fixture).await;
    let stuck = "s".repeat(400);
    queue
        .enqueue(stuck.clone(), TaskOptions::default())
        .await
        .unwrap();
    let held = lease(&queue).await;
    for n in 0..600 {
        let body = format!("{n} {}", "v".repeat(300));
        queue.enqueue(body, TaskOptions::default()).await.unwrap();
        lease(&queue).await.ack().await.unwrap();
    }
    // Compaction has its own time.
    tokio::time::sleep(LONG).await;
    let segments = fixture.table().segments().len();
    assert!(segments < 8, "{segments} segments are left of twenty");
    fixture.kill();
    drop(held);
    let queue = open(&fixture).await;
    assert_eq!(rest(&queue).await, BTreeSet::from([stuck]));
}

fn is_in_doubt(error: &LeaseError) -> bool {
    matches!(error, LeaseError::InDoubt(failure) if is_fenced(failure))
}

fn is_fenced(failure: &LogFailure) -> bool {
    matches!(failure, LogFailure::Fenced(_))
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_has_lost_its_log_says_nothing_more() {
    let fixture = RowFixture::default();
    let old = open(&fixture).await;
    for n in 0..3 {
        let key = TaskOptions::default().key(format!("k{n}"));
        old.enqueue(n.to_string(), key).await.unwrap();
    }
    let (one, other) = (lease(&old).await, lease(&old).await);
    // At once, so that nothing has told the old one of it when it is asked.
    fixture.table().take_over();
    let duplicate = old.enqueue("0".to_owned(), TaskOptions::default().key("k0"));
    match duplicate.await {
        Err(EnqueueError::InDoubt(failure)) => assert!(is_fenced(&failure)),
        other => panic!("a duplicate is told from memory: {other:?}"),
    }
    let id = one.id();
    assert!(
        old.find_key("default", "k0")
            .is_err_and(|error| is_in_doubt(&error))
    );
    assert!(old.find_seq(id.seq).is_err_and(|error| is_in_doubt(&error)));
    assert!(old.task_state(id).is_err_and(|error| is_in_doubt(&error)));
    assert!(
        old.explain(id)
            .await
            .is_err_and(|error| is_in_doubt(&error))
    );
    assert!(
        old.poison("default", None, 9)
            .is_err_and(|error| is_in_doubt(&error))
    );
    for refused in [one.mark_sent(), one.extend().await.map(drop)] {
        match refused {
            Err(LeaseError::InDoubt(failure)) => assert!(is_fenced(&failure)),
            Err(LeaseError::Closed) => {}
            other => panic!("the lease goes on: {other:?}"),
        }
    }
    assert!(is_fenced(&old.failed().await));
    assert!(
        timeout(LONG, other.lost()).await.is_ok(),
        "what was leased is lost"
    );
    assert!(one.ack().await.is_err());
    assert!(old.lease("default").await.is_err());
    assert!(
        old.enqueue("3".to_owned(), TaskOptions::default())
            .await
            .is_err()
    );

    let new = open(&fixture).await;
    tokio::time::sleep(LONG).await;
    let all = ["0", "1", "2"].map(str::to_owned);
    assert_eq!(rest(&new).await, BTreeSet::from(all));
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_hears_that_its_log_is_lost_and_its_leases_end() {
    let fixture = RowFixture::default();
    let old = open(&fixture).await;
    old.enqueue("held".to_owned(), TaskOptions::default())
        .await
        .unwrap();
    let held = lease(&old).await;
    let new = open(&fixture).await;
    let lost = timeout(Duration::from_millis(1), held.lost()).await;
    assert!(lost.is_ok(), "nobody asked, and still it ends");
    let failed = timeout(Duration::from_millis(1), old.failed()).await;
    assert!(is_fenced(&failed.unwrap()));
    assert_eq!(new.counts().leased, 0);
}

#[tokio::test(start_paused = true)]
async fn while_the_table_is_away_nothing_is_told_and_nothing_is_lost() {
    let fixture = RowFixture::default();
    let queue = open(&fixture).await;
    let keyed = || TaskOptions::default().key("k");
    queue.enqueue("known".to_owned(), keyed()).await.unwrap();
    let held = lease(&queue).await;
    fixture.table().set_away(true);
    let told = queue.enqueue("known".to_owned(), keyed()).await;
    assert!(matches!(
        told,
        Err(EnqueueError::InDoubt(LogFailure::InDoubt(_)))
    ));
    assert!(held.mark_sent().is_err(), "it may be another's to send");
    assert!(held.extend().await.is_err(), "and to extend");
    assert!(queue.find_key("default", "k").is_err());
    let waiting = {
        let queue = queue.clone();
        tokio::spawn(async move {
            queue
                .enqueue("new".to_owned(), TaskOptions::default())
                .await
        })
    };
    tokio::time::sleep(LONG).await;
    assert!(!waiting.is_finished(), "nobody can know yet");
    assert!(timeout(LONG, queue.failed()).await.is_err(), "it may pass");
    fixture.table().set_away(false);
    waiting.await.unwrap().unwrap();
    assert!(
        queue
            .enqueue("known".to_owned(), keyed())
            .await
            .unwrap()
            .duplicate
    );
    held.mark_sent().unwrap();
    held.ack().await.unwrap();
    queue.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leases_are_not_kept_while_the_table_is_away() {
    let fixture = RowFixture::default();
    let queue = open(&fixture).await;
    queue
        .enqueue("kept".to_owned(), TaskOptions::default())
        .await
        .unwrap();
    let lasts = queue.options().lease;
    let mut adapter = TaskQueueChannelAdapter::create(queue.clone(), 1, false).unwrap();
    let kept = adapter.next().await.unwrap().unwrap();
    tokio::time::sleep(3 * lasts).await;
    assert!(!kept.is_lost(), "it is kept for as long as it is held");
    fixture.table().set_away(true);
    tokio::time::sleep(3 * lasts).await;
    assert!(kept.is_lost(), "nobody may prolong it");
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_stays_closed_when_another_has_its_log() {
    let fixture = RowFixture::default();
    let old = open(&fixture).await;
    old.enqueue("left".to_owned(), TaskOptions::default())
        .await
        .unwrap();
    old.close().await.unwrap();
    let new = open(&fixture).await;
    let late = old.enqueue("late".to_owned(), TaskOptions::default()).await;
    assert_eq!(late.unwrap_err(), EnqueueError::Closed);
    assert_eq!(old.close().await, Ok(()));
    assert_eq!(rest(&new).await, BTreeSet::from(["left".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out_and_one_that_never_comes_is_in_doubt() {
    for done in [false, true] {
        let fixture = RowFixture::default();
        let queue = open(&fixture).await;
        fixture.table().lose_answers(2, done);
        queue
            .enqueue("once".to_owned(), TaskOptions::default())
            .await
            .unwrap();
        fixture.break_append(done);
        let doubtful = queue
            .enqueue("maybe".to_owned(), TaskOptions::default())
            .await;
        assert!(matches!(
            doubtful,
            Err(EnqueueError::InDoubt(LogFailure::InDoubt(_)))
        ));
        assert!(matches!(queue.failed().await, LogFailure::InDoubt(_)));
        fixture.bury(0);
        let queue = open(&fixture).await;
        let mut found = BTreeSet::from(["once".to_owned()]);
        if done {
            found.insert("maybe".to_owned());
        }
        assert_eq!(rest(&queue).await, found);
    }
}

/// What a client was told, by the command's text.
#[derive(Debug, Default)]
struct Told {
    accepted: BTreeMap<String, TaskId>,
    acked: BTreeSet<String>,
    /// Asked to be acknowledged and not answered: may be either.
    acking: BTreeSet<String>,
}

async fn work(queue: &Queue, told: &Mutex<Told>) {
    for n in 0..12 {
        let name = n.to_string();
        let accepted = queue.enqueue(name.clone(), TaskOptions::default()).await;
        told.lock()
            .unwrap()
            .accepted
            .insert(name, accepted.unwrap().id);
        if n % 2 == 1 {
            let lease = lease(queue).await;
            let name = lease.value().clone();
            told.lock().unwrap().acking.insert(name.clone());
            lease.ack().await.unwrap();
            told.lock().unwrap().acked.insert(name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_crashed_at_any_use_of_its_table_keeps_what_it_promised() {
    let mut crashes = 0;
    for operation in 1.. {
        for way in 0..2 {
            let fixture = RowFixture::default();
            let queue = open(&fixture).await;
            fixture.die_at(operation, way);
            let told = Arc::new(Mutex::new(Told::default()));
            let finished = timeout(LONG, work(&queue, &told)).await.is_ok();
            fixture.kill();
            drop(queue);
            let queue = open(&fixture).await;
            let found = rest(&queue).await;
            let told = told.lock().unwrap();
            for name in told.accepted.keys() {
                let gone = told.acked.contains(name);
                let either = told.acking.contains(name) && !gone;
                assert!(
                    either || found.contains(name) != gone,
                    "{name}: {told:?} {found:?}"
                );
            }
            if finished {
                assert!(crashes > 30, "only {crashes} crashes");
                return;
            }
            crashes += 1;
        }
    }
}
