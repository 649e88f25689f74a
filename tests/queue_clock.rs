//! Time between two lives: a clock that moved too far while the log was closed is not believed at once.

mod queue_world;

use std::sync::Arc;
use std::time::Duration;

use leasebridge::core::event::PoisonCause;
use leasebridge::core::{TaskId, TaskState};
use leasebridge::env::{Wall, timeout};
use leasebridge::queue::{
    EnqueueError, Failure, Heard, LifecycleKind, QueueOptions, SafeTaskQueue, TaskOptions,
};
use leasebridge_sim::clock::{SimClock, TimeSource};
use leasebridge_sim::disk::{SimDisk, TokioSpawner};
use leasebridge_sim::host::WALL_START;
use leasebridge_sim::seed::Seed;
use queue_world::{life, open, options};

type Queue = SafeTaskQueue<String>;

const ROUTE: &str = "default";
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
const YEAR_MS: i64 = 365 * DAY_MS;

/// A clock whose wall time is that far from where it belongs.
fn clock(off_ms: i64) -> SimClock {
    let clock = SimClock::new(TimeSource::tokio(), WALL_START);
    clock.jump_wall_ms(off_ms);
    clock
}

fn by(clock: &SimClock, disk: &SimDisk, boot: u64) -> QueueOptions {
    let mut options = options(disk, boot);
    options.env.clock = Arc::new(clock.clone());
    options
}

fn keyed(key: &str) -> TaskOptions {
    TaskOptions::default().key(key.to_owned())
}

/// As a producer says it whose clock is right.
fn due_in_hours(hours: u64) -> TaskOptions {
    TaskOptions {
        deadline: Some(Wall::from_unix_ms(WALL_START.unix_ms() + hours * HOUR_MS)),
        ..TaskOptions::default()
    }
}

async fn put(queue: &Queue, name: &str, options: TaskOptions) -> TaskId {
    let kept = queue.enqueue(name.to_owned(), options).await;
    kept.expect("there is room").id
}

async fn execute(queue: &Queue) -> TaskId {
    let lease = queue.lease(ROUTE).await.expect("something waits");
    let id = lease.id();
    lease.ack().await.expect("it is held");
    id
}

async fn is_idle(queue: &Queue) -> bool {
    let clock = queue.env().clock.clone();
    let lease = timeout(&*clock, Duration::from_secs(30), queue.lease(ROUTE)).await;
    lease.is_err()
}

async fn pass(queue: &Queue, secs: u64) {
    queue.env().clock.sleep(Duration::from_secs(secs)).await;
}

/// One that was executed, one with a deadline in two hours, and one without.
async fn first_life(disk: &SimDisk) -> [TaskId; 3] {
    let queue = open(by(&clock(0), disk, 1)).await;
    let done = put(&queue, "done", keyed("done")).await;
    assert_eq!(execute(&queue).await, done);
    let dated = put(&queue, "dated", due_in_hours(2)).await;
    let plain = put(&queue, "plain", TaskOptions::default()).await;
    queue.close().await.expect("nothing is wrong with it");
    [done, dated, plain]
}

/// One start with the clock in 2099 forgot the dedupe window (executed twice) and expired a two-hour deadline.
#[test]
fn one_start_in_2099_forgets_and_expires_nothing() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let [done, dated, plain] = life(|| first_life(&disk)).expect("it ends");
    life(|| async {
        let clock = clock(73 * YEAR_MS);
        let queue = open(by(&clock, &disk, 2)).await;
        assert!(queue.status().clock_doubted);
        let again = queue
            .enqueue("done".to_owned(), keyed("done"))
            .await
            .unwrap();
        assert_eq!((again.id, again.duplicate), (done, true));
        // The first in line waits; those behind it run.
        assert_eq!(execute(&queue).await, plain);
        let late = put(&queue, "late", due_in_hours(1)).await;
        assert!(is_idle(&queue).await);
        assert_eq!(queue.status().clock_waiting, 2);
        for id in [dated, late] {
            assert_eq!(queue.task_state(id).unwrap(), Some(TaskState::Ready));
        }
        // Somebody sets it right.
        let mut feed = queue.subscribe();
        clock.jump_wall_ms(-73 * YEAR_MS);
        pass(&queue, 2).await;
        let Some(Heard::Event(told)) = feed.next().await else {
            panic!("it is told");
        };
        assert_eq!(told.kind, LifecycleKind::ClockSet);
        assert!(!queue.status().clock_doubted);
        assert_eq!(execute(&queue).await, dated);
        assert_eq!(execute(&queue).await, late);
        queue.close().await.unwrap();
    })
    .expect("it ends");
    // Nothing of 2099 is left.
    life(|| async {
        let queue = open(by(&clock(0), &disk, 3)).await;
        assert!(!queue.status().clock_doubted);
        let again = queue
            .enqueue("done".to_owned(), keyed("done"))
            .await
            .unwrap();
        assert!(again.duplicate);
    })
    .expect("it ends");
}

#[test]
fn a_clock_in_doubt_is_still_in_doubt_after_another_start() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let [_, dated, _] = life(|| first_life(&disk)).expect("it ends");
    for boot in 2..4 {
        life(|| async {
            let queue = open(by(&clock(73 * YEAR_MS), &disk, boot)).await;
            assert!(queue.status().clock_doubted);
            pass(&queue, 5).await;
            assert_eq!(queue.task_state(dated).unwrap(), Some(TaskState::Ready));
            queue.close().await.unwrap();
        })
        .expect("it ends");
    }
}

#[test]
fn an_operators_word_takes_time_forward() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let [done, dated, _] = life(|| first_life(&disk)).expect("it ends");
    life(|| async {
        // The machine was off for four months.
        let off = clock(120 * DAY_MS);
        let queue = open(by(&off, &disk, 2)).await;
        assert!(queue.status().clock_doubted);
        assert!(queue.accept_clock().await.unwrap());
        assert!(!queue.accept_clock().await.unwrap(), "it was not in doubt");
        pass(&queue, 1).await;
        let expired = Some(TaskState::Poison(PoisonCause::Expired));
        assert_eq!(queue.task_state(dated).unwrap(), expired);
        let again = put(&queue, "done", keyed("done")).await;
        assert_ne!(again, done, "its window is over");
        let late = queue.enqueue("late".to_owned(), due_in_hours(3)).await;
        assert!(matches!(late, Err(EnqueueError::DeadlinePassed)));
        queue.close().await.unwrap();
    })
    .expect("it ends");
    life(|| async {
        let queue = open(by(&clock(120 * DAY_MS), &disk, 3)).await;
        assert!(!queue.status().clock_doubted);
    })
    .expect("it ends");
}

#[test]
fn back_to_1970_nothing_is_executed_late_until_somebody_says_so() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let [_, dated, plain] = life(|| first_life(&disk)).expect("it ends");
    let back = -i64::try_from(WALL_START.unix_ms()).expect("a time of our days");
    life(|| async {
        let queue = open(by(&clock(back), &disk, 2)).await;
        assert!(queue.status().clock_doubted);
        assert_eq!(execute(&queue).await, plain);
        assert!(is_idle(&queue).await);
        assert!(queue.accept_clock().await.unwrap());
        assert_eq!(execute(&queue).await, dated);
        queue.close().await.unwrap();
    })
    .expect("it ends");
    // It was said once, and holds; a clock that is right again needs no word.
    for (boot, off) in [(3, back + 2 * DAY_MS), (4, 0)] {
        life(|| async {
            let queue = open(by(&clock(off), &disk, boot)).await;
            assert!(!queue.status().clock_doubted, "boot {boot}");
            put(&queue, "dated", due_in_hours(20_000)).await;
            execute(&queue).await;
            queue.close().await.unwrap();
        })
        .expect("it ends");
    }
}

#[test]
fn a_task_whose_wait_and_deadline_are_over_is_held_back_as_well() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let patient = |clock: &SimClock, boot| QueueOptions {
        backoff_max: Duration::from_secs(60),
        ..by(clock, &disk, boot)
    };
    let id = life(|| async {
        let queue = open(patient(&clock(0), 1)).await;
        let deadline = Wall::from_unix_ms(WALL_START.unix_ms() + 1_000);
        let dated = TaskOptions {
            deadline: Some(deadline),
            ..TaskOptions::default()
        };
        let id = put(&queue, "dated", dated).await;
        let spare_me = Failure::Unavailable {
            retry_after: Duration::from_secs(2),
            reason: "busy".into(),
        };
        let lease = queue.lease(ROUTE).await.unwrap();
        lease.fail(spare_me).await.unwrap();
        queue.close().await.unwrap();
        id
    })
    .expect("it ends");
    life(|| async {
        let queue = open(patient(&clock(73 * YEAR_MS), 2)).await;
        pass(&queue, 10).await;
        assert_eq!(queue.task_state(id).unwrap(), Some(TaskState::Ready));
        assert_eq!(queue.status().clock_waiting, 1);
        queue.accept_clock().await.unwrap();
        pass(&queue, 1).await;
        let expired = Some(TaskState::Poison(PoisonCause::Expired));
        assert_eq!(queue.task_state(id).unwrap(), expired);
    })
    .expect("it ends");
}

#[test]
fn what_a_machine_may_be_off_for_is_believed() {
    for (days, doubted) in [(89, false), (91, true), (-89, false), (-91, true)] {
        let disk = SimDisk::new(Seed(1), TokioSpawner);
        life(|| first_life(&disk)).expect("it ends");
        life(|| async {
            let queue = open(by(&clock(days * DAY_MS), &disk, 2)).await;
            assert_eq!(queue.status().clock_doubted, doubted, "{days} days");
        })
        .expect("it ends");
    }
}
