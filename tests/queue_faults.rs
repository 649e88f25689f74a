//! The queue on a disk that fails, fills up or rots, and with callers that go away.

mod queue_world;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use leasebridge::core::{Epoch, TaskId, TaskState};
use leasebridge::env::{self, Disk};
use leasebridge::journal::Newer;
use leasebridge::observe::JournalStatus;
use leasebridge::queue::log::{self, files};
use leasebridge::queue::{
    EnqueueError, Failure, FullBecause, LeaseError, OpenError, QueueOptions, SafeTaskQueue,
    TaskOptions,
};
use leasebridge_sim::disk::{Fault, FaultRule, OpNumber, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{DIR, SEGMENT_BYTES, life, open, options, pause};

type Queue = SafeTaskQueue<String>;

/// Where the CRC of a segment's header stands: it covers everything before it.
const SEGMENT_CRC_AT: usize = 4092;

fn disk() -> SimDisk {
    SimDisk::new(Seed(3), TokioSpawner)
}

fn plain() -> TaskOptions {
    TaskOptions::default()
}

fn journal(queue: &Queue) -> JournalStatus {
    queue.status().journal
}

async fn settle(queue: &Queue) {
    for _ in 0..50 {
        pause(&*queue.env().clock).await;
    }
}

async fn within<F: Future>(queue: &Queue, operation: F) -> F::Output {
    let clock = queue.env().clock.clone();
    let done = env::timeout(&*clock, Duration::from_secs(600), operation).await;
    done.expect("it ends")
}

fn contents(disk: &SimDisk) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let with_bytes = |(path, _): (PathBuf, u64)| {
        let bytes = disk.bytes(&path);
        (path, bytes)
    };
    disk.files().into_iter().map(with_bytes).collect()
}

/// What was promised before the disk failed.
#[derive(Default)]
struct Promised {
    accepted: Vec<String>,
    done: Vec<String>,
    /// Asked for, and never answered for certain.
    doubtful: BTreeSet<String>,
}

/// Works until the disk fails, and looks at what the queue says from then on.
async fn works_until_it_fails(disk: SimDisk, fault: Fault, skipped: u64) -> Promised {
    let queue = open(options(&disk, 0)).await;
    let mut promised = Promised::default();
    for n in 0..6 {
        let name = format!("early {n}");
        queue.enqueue(name.clone(), plain()).await.unwrap();
        promised.accepted.push(name);
    }
    let held = queue.lease("default").await.unwrap();
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.failed().await }
    });
    settle(&queue).await;
    let from = disk.last_op().0 + 1 + skipped;
    let rule = FaultRule::new(fault).times(1);
    disk.add_fault(rule.ops(OpNumber(from), OpNumber(u64::MAX)));
    let failure = loop {
        let name = format!("late {} {}", promised.accepted.len(), "y".repeat(400));
        promised.doubtful.insert(name.clone());
        match queue.enqueue(name.clone(), plain()).await {
            Ok(_) => {
                promised.doubtful.remove(&name);
                promised.accepted.push(name);
            }
            Err(EnqueueError::InDoubt(failure)) => break failure,
            // The keeper of segments may have failed between two commands.
            Err(EnqueueError::Closed) => {
                promised.doubtful.remove(&name);
                break within(&queue, queue.failed()).await;
            }
            Err(other) => panic!("{other}"),
        }
        let Ok(lease) = queue.lease("default").await else {
            continue;
        };
        let name = lease.value().clone();
        promised.doubtful.insert(name.clone());
        if lease.ack().await.is_ok() {
            promised.doubtful.remove(&name);
            promised.done.push(name);
        }
    };
    assert_eq!(within(&queue, waiting).await.unwrap(), failure);
    after_the_failure(&queue, held).await;
    assert_eq!(queue.close().await, Err(failure));
    promised
}

/// No promise, no grant, no wait for ever.
async fn after_the_failure(queue: &Queue, held: leasebridge::queue::Lease<String>) {
    for _ in 0..2 {
        let late = queue.try_enqueue("late".into(), plain()).await;
        assert_eq!(late, Err(EnqueueError::Closed));
        let late = within(queue, queue.enqueue("late".into(), plain())).await;
        assert_eq!(late, Err(EnqueueError::Closed));
        let late = within(queue, queue.lease("default")).await.map(drop);
        assert!(matches!(late, Err(LeaseError::InDoubt(_))), "{late:?}");
    }
    assert!(queue.requeue(held.id()).await.is_err());
    assert!(held.is_lost());
    within(queue, held.lost()).await;
    assert!(held.extend().await.is_err());
    assert!(held.mark_sent().is_err());
    assert!(held.ack().await.is_err());
}

async fn keeps(disk: SimDisk, promised: &Promised) {
    let queue = open(options(&disk, 1)).await;
    let mut found = BTreeSet::new();
    while queue.counts().pending() > 0 {
        let leases = within(&queue, queue.lease_batch("default", 100)).await;
        let leases = leases.unwrap();
        for lease in &leases {
            assert!(found.insert(lease.value().clone()), "twice");
        }
        queue.ack_batch(leases).await.unwrap();
    }
    for name in &promised.done {
        assert!(!found.contains(name), "{name} was done");
    }
    for name in &promised.accepted {
        let free = promised.done.contains(name) || promised.doubtful.contains(name);
        assert!(free || found.contains(name), "{name} is lost");
    }
    for name in &found {
        let known = promised.accepted.contains(name) || promised.doubtful.contains(name);
        assert!(known, "{name} was never asked for");
    }
}

#[test]
fn a_failing_disk_ends_all_promises_and_a_restart_keeps_those_made() {
    for fault in [Fault::SyncError, Fault::WriteError, Fault::TornWrite] {
        for skipped in 0..60 {
            let disk = disk();
            let failing = disk.clone();
            let promised = life(|| works_until_it_fails(failing, fault, skipped));
            let promised = promised.expect("nobody waits for ever on a failed journal");
            for outcome in 0..2 {
                let after = disk.fork(TokioSpawner);
                after.power_cut(Seed(outcome));
                let kept = life(|| keeps(after, &promised));
                assert!(kept.is_some(), "{fault:?} after {skipped}");
            }
        }
    }
}

/// Enqueues until the queue is full for want of disk; says how many were accepted.
async fn fill(queue: &Queue) -> u64 {
    let mut accepted = 0;
    loop {
        let body = format!("{accepted} {}", "z".repeat(480));
        match queue.try_enqueue(body, plain()).await {
            Ok(_) => accepted += 1,
            Err(EnqueueError::Full { why, .. }) => {
                assert_eq!(why, FullBecause::Disk);
                return accepted;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// From full to empty and on: grants, settlements and compaction live on the reserve.
async fn fills_and_drains(queue: &Queue) {
    for _ in 0..3 {
        let accepted = fill(queue).await;
        assert!(accepted > 0, "room came back");
        assert!(journal(queue).full);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.enqueue("waiting".into(), plain()).await }
        });
        let mut left = queue.counts().pending();
        while left > 0 {
            let leases = within(queue, queue.lease_batch("default", 7)).await;
            // Half are given back once: more records for the reserve to take.
            for lease in leases.unwrap() {
                if lease.delivery().epoch == Epoch::FIRST {
                    lease.release().await.unwrap();
                } else {
                    lease.ack().await.unwrap();
                    left -= 1;
                }
            }
        }
        within(queue, waiting).await.unwrap().unwrap();
        let last = within(queue, queue.lease("default")).await.unwrap();
        last.ack().await.unwrap();
        settle(queue).await;
    }
}

#[test]
fn a_full_disk_refuses_commands_and_nothing_else_and_room_comes_back() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        settle(&queue).await;
        let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
        disk.set_quota(Some(used + 4 * u64::from(SEGMENT_BYTES)));
        fills_and_drains(&queue).await;
        assert_eq!(queue.counts().pending(), 0);
        queue.close().await.unwrap();
    });
    assert!(done.is_some());
}

#[test]
fn a_small_share_of_the_disk_is_kept_to() {
    let disk = disk();
    let log_bytes_max = 10 * u64::from(SEGMENT_BYTES);
    let done = life(|| async {
        let queue = open(QueueOptions {
            log_bytes_max,
            ..options(&disk, 0)
        })
        .await;
        fills_and_drains(&queue).await;
        assert!(journal(&queue).log_bytes <= log_bytes_max);
        queue.close().await.unwrap();
    });
    assert!(done.is_some());
    let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
    // The segments keep to it; the mark of the log's end stands beside them.
    const MARK_BYTES: u64 = 8192;
    assert_eq!(used, log_bytes_max + MARK_BYTES);
}

/// A backlog that is appended faster than it is written must not be admitted against the same spares
/// again and again: on a full disk the journal would run out of segments and die.
#[test]
fn commands_that_come_faster_than_the_disk_writes_leave_the_reserve_alone() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        settle(&queue).await;
        let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
        disk.set_quota(Some(used));
        fill(&queue).await;
        while queue.counts().pending() > 0 {
            queue.lease("default").await.unwrap().ack().await.unwrap();
        }
        // Full as it was, it looks for room once somebody waits for it.
        within(&queue, queue.enqueue("first".into(), plain()))
            .await
            .unwrap();
        let mut together = Vec::new();
        for n in 0..500 {
            let queue = queue.clone();
            let body = format!("{n} {}", "w".repeat(480));
            together.push(tokio::spawn(async move {
                queue.try_enqueue(body, plain()).await
            }));
        }
        let mut accepted = 0;
        for reply in together {
            match reply.await.unwrap() {
                Ok(_) => accepted += 1,
                Err(EnqueueError::Full { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert!(accepted > 0);
        while queue.counts().pending() > 0 {
            let lease = within(&queue, queue.lease("default")).await.unwrap();
            lease.ack().await.unwrap();
        }
        queue.close().await.unwrap();
    });
    assert!(done.is_some());
}

/// Where a text stands on the disk.
fn find(disk: &SimDisk, text: &str) -> (PathBuf, u64) {
    for (path, bytes) in contents(disk) {
        let bytes = bytes.unwrap_or_default();
        let found = bytes
            .windows(text.len())
            .position(|at| at == text.as_bytes());
        if let Some(at) = found {
            return (path, at as u64);
        }
    }
    panic!("{text} is nowhere");
}

#[test]
fn a_body_that_rots_goes_to_poison_with_the_reason_and_its_neighbours_flow() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            cache_bytes: 0,
            ..options(&disk, 0)
        })
        .await;
        let mut ids = Vec::new();
        for name in ["first", "rotten", "last"] {
            let enqueued = queue.enqueue(name.into(), plain()).await.unwrap();
            ids.push(enqueued.id);
        }
        let (path, at) = find(&disk, "rotten");
        disk.flip_bit(&path, at + 2, 1).unwrap();
        let leases = queue.lease_batch("default", 3).await.unwrap();
        let values: Vec<&String> = leases.iter().map(|lease| lease.value()).collect();
        assert_eq!(values, ["first", "last"]);
        settle(&queue).await;
        let poison = queue.poison("default", None, 10).unwrap().0;
        assert_eq!(poison, [ids[1]]);
        let explained = queue.explain(ids[1]).await.unwrap().unwrap();
        assert_eq!(explained.value, None);
        let history = explained.history.unwrap();
        let error = history.attempts().last().unwrap().error.clone().unwrap();
        assert!(error.contains("can't be read"), "{error}");
        queue.ack_batch(leases).await.unwrap();
        // Alone at the head, it doesn't keep a caller from the next one.
        queue.requeue(ids[1]).await.unwrap();
        queue.enqueue("next".into(), plain()).await.unwrap();
        let next = within(&queue, queue.lease("default")).await.unwrap();
        assert_eq!(next.value(), "next");
    });
    assert!(done.is_some());
}

async fn written(disk: &SimDisk) {
    let queue = open(options(disk, 0)).await;
    for n in 0..60 {
        let body = format!("{n} {}", "v".repeat(480));
        queue.enqueue(body, plain()).await.unwrap();
    }
    queue.close().await.unwrap();
}

async fn refused(disk: &SimDisk) -> files::FolderOpenError {
    let before = contents(disk);
    let error = match Queue::open(options(disk, 1)).await {
        Err(OpenError::Log(log::LogOpenError::Files(error))) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(contents(disk), before, "nothing is modified");
    error
}

#[test]
fn a_rotten_old_segment_is_refused_and_nothing_is_modified() {
    let disk = disk();
    let done = life(|| async {
        written(&disk).await;
        let (path, at) = find(&disk, "3 vvv");
        disk.flip_bit(&path, at, 0).unwrap();
        let error = refused(&disk).await;
        assert!(
            matches!(error, files::FolderOpenError::Corrupt { .. }),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("leasebridge journal salvage /queue"),
            "{text}"
        );
        disk.flip_bit(&path, at, 0).unwrap();
        let queue = open(options(&disk, 2)).await;
        assert_eq!(queue.counts().ready, 60);
    });
    assert!(done.is_some());
}

#[test]
fn a_folder_is_open_once() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        settle(&queue).await;
        let error = refused(&disk).await;
        assert!(
            matches!(error, files::FolderOpenError::Locked { .. }),
            "{error}"
        );
        queue.close().await.unwrap();
        // Closed, though its handle still lives.
        Queue::open(options(&disk, 1)).await.unwrap();
        drop(queue);
    });
    assert!(done.is_some());
}

#[test]
fn a_log_of_a_newer_version_is_refused_with_the_version() {
    let disk = disk();
    let done = life(|| async {
        written(&disk).await;
        let path = Path::new(DIR).join("000002.seg");
        let mut header = disk.bytes(&path).unwrap();
        header.truncate(SEGMENT_CRC_AT);
        header[8..12].copy_from_slice(&77_u32.to_le_bytes());
        let crc = crc32c::crc32c(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        let file = disk.open(&path, false).await.unwrap();
        file.write_at(0, &header).await.unwrap();
        file.sync().await.unwrap();
        let error = refused(&disk).await;
        assert!(
            matches!(
                error,
                files::FolderOpenError::Newer {
                    what: Newer::Version(77),
                    ..
                }
            ),
            "{error}"
        );
    });
    assert!(done.is_some());
}

/// What lives is estimated by bodies alone. Long histories made compaction write a log anew for ever, because it
/// looked twice as large as what lived.
#[test]
fn a_log_of_long_histories_comes_to_rest() {
    const TASKS: usize = 600;
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            segment_bytes: 256 << 10,
            log_bytes_max: 64 << 20,
            max_retries: 100,
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(1),
            ..options(&disk, 0)
        })
        .await;
        let batch = (0..TASKS).map(|n| (format!("{n}"), plain()));
        queue.enqueue_batch(batch).await.unwrap();
        let mut failed = 0;
        while failed < 30 * TASKS {
            let leases = queue.lease_batch("default", TASKS).await.unwrap();
            failed += leases.len();
            let why = || Failure::Rejected("n".repeat(200));
            let endings = leases.into_iter().map(|lease| (lease, why()));
            queue.fail_batch(endings).await.unwrap();
        }
        // No clock here: time stands still while anything has work to do, and for ever if that never ends.
        let mut before = journal(&queue).records;
        for _ in 0..20 {
            for _ in 0..500 {
                tokio::task::yield_now().await;
            }
            let now = journal(&queue).records;
            if now == before {
                return;
            }
            before = now;
        }
        panic!("compaction never rests: {before} records");
    });
    assert!(done.is_some());
}

#[test]
fn one_stuck_task_never_pins_the_log() {
    const ROUNDS: usize = 200;
    const BATCH: usize = 1000;
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            segment_bytes: 256 << 10,
            log_bytes_max: 64 << 20,
            ..options(&disk, 0)
        })
        .await;
        queue.define_route("stuck").await.unwrap();
        let stuck = TaskOptions::route("stuck").key("stuck");
        let id = queue.enqueue("stuck".into(), stuck).await.unwrap().id;
        let mut segments = 0;
        for _ in 0..ROUNDS {
            let batch = (0..BATCH).map(|n| (format!("{n}"), plain()));
            queue.enqueue_batch(batch).await.unwrap();
            let leases = queue.lease_batch("default", BATCH).await.unwrap();
            assert_eq!(leases.len(), BATCH);
            queue.ack_batch(leases).await.unwrap();
            segments = segments.max(journal(&queue).segments);
        }
        assert!(segments <= 12, "{segments} segments");
        drop(queue);
        let queue = open(QueueOptions {
            segment_bytes: 256 << 10,
            log_bytes_max: 64 << 20,
            ..options(&disk, 1)
        })
        .await;
        let lease = queue.lease("stuck").await.unwrap();
        assert_eq!((lease.id(), lease.value().as_str()), (id, "stuck"));
        assert_eq!(lease.key(), Some("stuck"));
    });
    assert!(done.is_some());
}

#[test]
fn a_backlog_larger_than_the_cache_is_read_back_in_order() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            cache_bytes: 2000,
            ..options(&disk, 0)
        })
        .await;
        let body = |n: usize| format!("{n} {}", "u".repeat(400 + n));
        for n in 0..90 {
            queue.enqueue(body(n), plain()).await.unwrap();
        }
        let mut n = 0;
        while n < 90 {
            for lease in queue.lease_batch("default", 11).await.unwrap() {
                assert_eq!(*lease.value(), body(n));
                n += 1;
                lease.ack().await.unwrap();
            }
        }
    });
    assert!(done.is_some());
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all_when_there_is_no_room() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            capacity: 10,
            ..options(&disk, 0)
        })
        .await;
        let batch = |count: usize| (0..count).map(|n| (format!("{n}"), plain()));
        queue.enqueue_batch(batch(8)).await.unwrap();
        let records = journal(&queue).records;
        let refused = queue.enqueue_batch(batch(3)).await;
        let Err(EnqueueError::Full { why, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(why, FullBecause::Capacity);
        assert_eq!(queue.counts().pending(), 8);
        assert_eq!(journal(&queue).records, records);
        let replies = queue.enqueue_batch(batch(2)).await.unwrap();
        assert!(replies.iter().all(Result::is_ok));
        // Senseless ones are refused by themselves, at their places.
        queue.lease_batch("default", 5).await.map(drop).unwrap();
        let leases = queue.lease_batch("default", 10).await.unwrap();
        queue.ack_batch(leases).await.unwrap();
        let nowhere = TaskOptions::route("nowhere");
        let mixed = [
            ("q".repeat(600), plain()),
            ("good".to_owned(), plain()),
            ("lost".to_owned(), nowhere),
            ("fine".to_owned(), plain()),
        ];
        let replies = queue.enqueue_batch(mixed).await.unwrap();
        assert!(matches!(replies[0], Err(EnqueueError::BodyTooLarge { .. })));
        assert!(replies[1].is_ok() && replies[3].is_ok());
        assert!(matches!(replies[2], Err(EnqueueError::UnknownRoute(_))));
    });
    assert!(done.is_some());
}

/// Polls `operation` at most so often, then drops it.
async fn polled<F: Future>(operation: F, polls_max: usize) -> Option<F::Output> {
    let mut operation = pin!(operation);
    let mut polls = 0;
    poll_fn(|context| {
        if polls == polls_max {
            return Poll::Ready(None);
        }
        polls += 1;
        let polled = operation.as_mut().poll(context).map(Some);
        if polled.is_pending() && polls == polls_max {
            return Poll::Ready(None);
        }
        polled
    })
    .await
}

/// A disk on which everything takes a few turns, so that there are many points at which to go away.
fn slow_disk() -> SimDisk {
    let disk = disk();
    let slow = Fault::Slow {
        min: Duration::ZERO,
        max: Duration::ZERO,
    };
    disk.add_fault(FaultRule::new(slow));
    disk
}

async fn pending_of(queue: &Queue, id: TaskId) -> Option<TaskState> {
    settle(queue).await;
    queue.task_state(id).unwrap()
}

#[test]
fn a_lease_future_dropped_anywhere_leaves_the_task_in_its_place() {
    let disk = slow_disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            cache_bytes: 0,
            ..options(&disk, 0)
        })
        .await;
        let id = queue.enqueue("x".into(), plain()).await.unwrap().id;
        let mut dropped = 0;
        for polls in 0.. {
            let leased = polled(queue.lease("default"), polls).await;
            if let Some(lease) = leased {
                lease.unwrap().ack().await.unwrap();
                break;
            }
            dropped += 1;
            assert_eq!(pending_of(&queue, id).await, Some(TaskState::Ready));
            let explained = queue.explain(id).await.unwrap().unwrap();
            assert_eq!((explained.retries, explained.in_doubt), (0, 0));
        }
        assert!(dropped >= 3, "{dropped} points");
    });
    assert!(done.is_some());
}

/// The wake that a leaser took with it when it went away reaches the next one.
#[test]
fn a_leaser_that_goes_away_takes_no_wake_with_it() {
    let disk = slow_disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        for polls in 0..8 {
            let mut first = Box::pin(queue.lease("default"));
            let polled = poll_fn(|context| Poll::Ready(first.as_mut().poll(context)));
            assert!(polled.await.is_pending());
            let second = tokio::spawn({
                let queue = queue.clone();
                async move { queue.lease("default").await.unwrap().ack().await }
            });
            pause(&*queue.env().clock).await;
            queue.enqueue("x".into(), plain()).await.unwrap();
            for _ in 0..polls {
                let polled = poll_fn(|context| Poll::Ready(first.as_mut().poll(context)));
                if polled.await.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(first);
            within(&queue, second).await.unwrap().unwrap();
            settle(&queue).await;
            assert_eq!(queue.counts().pending(), 0);
        }
    });
    assert!(done.is_some());
}

#[test]
fn an_enqueue_dropped_anywhere_is_kept_once_or_not_at_all() {
    let disk = slow_disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        for polls in 0.. {
            let options = plain().key(format!("key {polls}"));
            let name = format!("x {polls}");
            let enqueued = polled(queue.enqueue(name.clone(), options.clone()), polls).await;
            settle(&queue).await;
            let again = queue.enqueue(name.clone(), options).await.unwrap();
            assert_eq!(queue.counts().pending(), 1);
            let lease = queue.lease("default").await.unwrap();
            assert_eq!((lease.value(), lease.id()), (&name, again.id));
            lease.ack().await.unwrap();
            if enqueued.is_some() {
                assert!(polls >= 2);
                break;
            }
        }
    });
    assert!(done.is_some());
}

#[test]
fn an_enqueue_dropped_while_it_waits_for_room_leaves_nothing() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            capacity: 1,
            ..options(&disk, 0)
        })
        .await;
        queue.enqueue("first".into(), plain()).await.unwrap();
        let clock = queue.env().clock.clone();
        let waiting = queue.enqueue("second".into(), plain());
        let waited = env::timeout(&*clock, Duration::from_secs(5), waiting).await;
        assert!(waited.is_err());
        queue.lease("default").await.unwrap().ack().await.unwrap();
        settle(&queue).await;
        assert_eq!(queue.counts().pending(), 0);
    });
    assert!(done.is_some());
}

#[test]
fn an_ack_dropped_anywhere_is_done_or_gives_the_task_back() {
    let disk = slow_disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        for polls in 0.. {
            let id = queue.enqueue("x".into(), plain()).await.unwrap().id;
            let lease = queue.lease("default").await.unwrap();
            let acked = polled(lease.ack(), polls).await;
            let state = pending_of(&queue, id).await;
            let expected = if polls == 0 {
                Some(TaskState::Ready)
            } else {
                None
            };
            assert_eq!(state, expected, "after {polls} polls");
            if polls == 0 {
                queue.lease("default").await.unwrap().ack().await.unwrap();
            }
            if acked.is_some() {
                break;
            }
        }
    });
    assert!(done.is_some());
}
