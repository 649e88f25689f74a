//! The times that a queue tells of are those that passed.

mod queue_world;

use std::time::Duration;

use leasebridge::env::Mono;
use leasebridge::observe::QueueStatus;
use leasebridge::queue::{QueueOptions, SafeTaskQueue, TaskOptions};
use leasebridge_sim::disk::{Fault, FaultRule, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{life, open, options};

/// Of each operation of the disk; a lease outlives a few of them.
const SLOW: Duration = Duration::from_secs(2);

/// What a run comes to.
#[derive(Debug, PartialEq)]
struct Told {
    before: QueueStatus,
    after: QueueStatus,
    /// By the clock of whoever waited: two commits that overlap, and one lease.
    commits: [Duration; 2],
    held: Duration,
}

async fn put(queue: SafeTaskQueue<String>, name: &str) -> Duration {
    let clock = queue.env().clock.clone();
    let asked = clock.now();
    let kept = queue.enqueue(name.to_owned(), TaskOptions::default()).await;
    kept.unwrap();
    clock.now().saturating_since(asked)
}

async fn told() -> Told {
    let clock = options(&SimDisk::new(Seed(5), TokioSpawner), 0).env.clock;
    let disk = SimDisk::new(Seed(5), TokioSpawner).with_clock(clock.clone());
    let queue = open(options(&disk, 0)).await;
    let before = queue.status();
    disk.add_fault(FaultRule::new(Fault::Slow {
        min: SLOW,
        max: SLOW,
    }));
    let first = tokio::spawn(put(queue.clone(), "first"));
    clock.sleep(SLOW / 4).await;
    // Its batch is begun while the one before is on its way.
    let second = put(queue.clone(), "second").await;
    let commits = [first.await.unwrap(), second];
    let asked: Mono = clock.now();
    let lease = queue.lease("default").await.unwrap();
    clock.sleep(Duration::from_secs(7)).await;
    let held = clock.now().saturating_since(asked);
    let acked = lease.ack();
    acked.await.unwrap();
    let after = queue.status();
    Told {
        before,
        after,
        commits,
        held,
    }
}

#[test]
fn commits_and_leases_took_as_long_as_they_were_waited_for() {
    let told = life(told).unwrap();
    let [before, after] = [&told.before, &told.after];
    assert_eq!(before.commit_wait.count(), before.journal.syncs);
    assert_eq!(after.commit_wait.count(), after.journal.syncs);
    assert_eq!(after.journal.syncs - before.journal.syncs, 4);
    let waited = after.commit_wait.sum_us() - before.commit_wait.sum_us();
    let [first, second] = told.commits;
    assert!(second > first, "it waited for the one before as well");
    // The grant and the acknowledgement were alone, as the first was.
    let expected = first + second + 2 * first;
    assert_eq!(Duration::from_micros(waited), expected);
    let leases = &after.routes[0].lease_to_settle;
    assert_eq!(leases.count(), 1);
    let told_ms = u128::from(leases.sum_us() / 1_000);
    assert!(told_ms.abs_diff(told.held.as_millis()) <= 1, "{told_ms} ms");
    assert_eq!(leases.quantile(0.5), leases.quantile(1.0));
    assert!(leases.quantile(0.5) > Some(told.held));
}

#[test]
fn a_simulated_run_tells_the_same_each_time() {
    assert_eq!(life(told), life(told));
}

#[test]
fn the_whole_of_a_queue_is_the_sum_of_its_routes() {
    let told = life(|| async {
        let disk = SimDisk::new(Seed(5), TokioSpawner);
        let queue = open(options(&disk, 0)).await;
        queue.define_route("other").await.unwrap();
        for (route, key) in [("default", "a"), ("other", "b"), ("other", "a")] {
            let options = TaskOptions {
                route: route.into(),
                key: Some(key.into()),
                ..TaskOptions::default()
            };
            let _kept_or_conflict = queue.enqueue("x".into(), options).await;
        }
        let lease = queue.lease("other").await.unwrap();
        lease.move_to_poison("no").await.unwrap();
        let _held = queue.lease("default").await.unwrap();
        let status = queue.status();
        (status, queue.counts())
    });
    let (status, counts) = told.unwrap();
    assert_eq!(status.counts, counts);
    let sum = |count: fn(&leasebridge::core::LaneTotals) -> u64| -> u64 {
        status.routes.iter().map(|route| count(&route.totals)).sum()
    };
    assert_eq!(status.totals.enqueued, sum(|totals| totals.enqueued));
    assert_eq!(status.totals.granted, 2);
    assert_eq!((status.totals.poisoned, status.counts.leased), (1, 1));
    assert_eq!(status.keys, status.totals.enqueued);
    assert_eq!((status.cache.hits, status.cache.misses), (2, 0));
    assert!(status.feed.events >= 5 && status.feed.listeners == 0);
    assert!(status.journal.segments_in_use <= status.journal.segments);
}

#[test]
fn the_keys_of_finished_tasks_have_a_share_of_the_log_until_they_are_forgotten() {
    let disk = SimDisk::new(Seed(5), TokioSpawner);
    let shares = life(|| async {
        let window = Duration::from_secs(60);
        let queue = open(QueueOptions {
            dedupe_window: window,
            ..options(&disk, 0)
        });
        let queue = queue.await;
        let share = || queue.status().journal.key_bytes;
        let clock = queue.env().clock.clone();
        for name in ["a", "b", "c"] {
            let keyed = TaskOptions {
                key: Some(name.to_owned()),
                ..TaskOptions::default()
            };
            queue.enqueue(name.to_owned(), keyed).await.unwrap();
        }
        let alive = share();
        let mut done = Vec::new();
        for _ in 0..2 {
            queue.lease("default").await.unwrap().ack().await.unwrap();
            done.push(share());
        }
        clock.sleep(window * 2).await;
        // The window is looked at when time does something else: a lease runs out.
        let held = queue.lease("default").await.unwrap();
        clock.sleep(window).await;
        drop(held);
        (alive, done, share())
    });
    let (alive, done, forgotten) = shares.expect("it ends");
    assert_eq!((alive, forgotten), (0, 0));
    assert!(done[0] > 0 && done[1] == 2 * done[0], "{done:?}");
}
