//! Who waits for the queue is woken when there is something to be had, and not kept waiting by others.

mod queue_world;

use std::sync::Arc;
use std::time::Duration;

use leasebridge::core::event::{Isolation, Next};
use leasebridge::core::{LaneCounts, TaskId};
use leasebridge::env;
use leasebridge::queue::{
    Backoff, EnqueueError, Failure, Heard, LeaseError, LifecycleEvent, LifecycleFeed,
    LifecycleKind, QueueOptions, SafeTaskQueue, TaskOptions,
};
use leasebridge_sim::disk::{Fault, FaultRule, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{life, open, options, pause};

type Queue = SafeTaskQueue<String>;

fn disk() -> SimDisk {
    SimDisk::new(Seed(5), TokioSpawner)
}

fn plain() -> TaskOptions {
    TaskOptions::default()
}

async fn put(queue: &Queue, name: &str) -> TaskId {
    queue.enqueue(name.into(), plain()).await.unwrap().id
}

async fn within<F: Future>(queue: &Queue, operation: F) -> F::Output {
    let clock = queue.env().clock.clone();
    let done = env::timeout(&*clock, Duration::from_secs(600), operation).await;
    done.expect("it ends")
}

/// A leaser that waits, and what it gets.
fn leaser(queue: &Queue) -> tokio::task::JoinHandle<leasebridge::queue::Lease<String>> {
    let queue = queue.clone();
    tokio::spawn(async move { queue.lease("default").await.unwrap() })
}

/// Makes the oldest task one that must fly alone in its route: twice in doubt, in company, uncharged.
async fn isolate(queue: &Queue, id: TaskId) {
    for _ in 0..2 {
        let lease = within(queue, queue.lease("default")).await.unwrap();
        assert_eq!(lease.id(), id);
        lease
            .fail(Failure::InDoubt("silence".into()))
            .await
            .unwrap();
    }
    let explained = queue.explain(id).await.unwrap().unwrap();
    assert_eq!(explained.isolation, Isolation::Route);
    for _ in 0..20 {
        pause(&*queue.env().clock).await;
    }
}

/// Two ways in which a leaser was left asleep beside a ready task: nobody woke it when the company of one
/// that must fly alone had landed, nor when the one that had flown alone was done.
#[test]
fn a_task_that_must_fly_alone_leaves_no_leaser_asleep() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        let company = {
            put(&queue, "company").await;
            queue.lease("default").await.unwrap()
        };
        let alone = put(&queue, "alone").await;
        isolate(&queue, alone).await;
        let waiting = leaser(&queue);
        pause(&*queue.env().clock).await;
        company.ack().await.unwrap();
        let flying = within(&queue, waiting).await.unwrap();
        assert_eq!(flying.id(), alone);
        put(&queue, "next").await;
        put(&queue, "after that").await;
        let waiting = [leaser(&queue), leaser(&queue)];
        pause(&*queue.env().clock).await;
        assert_eq!(queue.counts().leased, 1);
        flying.ack().await.unwrap();
        for waiting in waiting {
            within(&queue, waiting).await.unwrap().ack().await.unwrap();
        }
    });
    assert!(done.is_some());
}

/// A leaser that waits for its own grant to be durable must not sit on the wake of another.
#[test]
fn a_leaser_on_its_way_keeps_nobody_waiting() {
    let done = life(|| async {
        let clock = options(&disk(), 0).env.clock;
        let disk = disk().with_clock(clock.clone());
        let queue = open(options(&disk, 0)).await;
        put(&queue, "first").await;
        let slow = Fault::Slow {
            min: Duration::from_secs(10),
            max: Duration::from_secs(10),
        };
        disk.add_fault(FaultRule::new(slow));
        let _first = leaser(&queue);
        pause(&*clock).await;
        let _second = leaser(&queue);
        pause(&*clock).await;
        let _enqueued = tokio::spawn({
            let queue = queue.clone();
            async move { put(&queue, "second").await }
        });
        pause(&*clock).await;
        pause(&*clock).await;
        assert_eq!(queue.counts().leased, 2, "both share the next sync");
    });
    assert!(done.is_some());
}

#[test]
fn one_wake_for_many_tasks_reaches_all_leasers() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        queue.pause("default").await.unwrap();
        for n in 0..6 {
            put(&queue, &n.to_string()).await;
        }
        let waiting: Vec<_> = (0..6).map(|_| leaser(&queue)).collect();
        pause(&*queue.env().clock).await;
        assert_eq!(queue.counts().leased, 0);
        queue.resume("default").await.unwrap();
        for waiting in waiting {
            within(&queue, waiting).await.unwrap().ack().await.unwrap();
        }
    });
    assert!(done.is_some());
}

#[test]
fn whoever_waits_for_room_is_woken_by_what_makes_it() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            capacity: 1,
            ..options(&disk, 0)
        })
        .await;
        let clock = queue.env().clock.clone();
        for makes_room in 0..4 {
            put(&queue, "first").await;
            let lease = queue.lease("default").await.unwrap();
            let waiting = tokio::spawn({
                let queue = queue.clone();
                async move { put(&queue, "second").await }
            });
            pause(&*clock).await;
            let before = clock.now();
            match makes_room {
                0 => lease.ack().await.unwrap(),
                1 => drop(lease.fail(Failure::Refused("never".into())).await.unwrap()),
                2 => lease.move_to_poison("by hand").await.unwrap(),
                _ => {
                    drop(lease);
                    let drained = queue.drain("default", 1).await.unwrap();
                    drop(drained.commit().await.unwrap());
                }
            }
            waiting.await.unwrap();
            let waited = clock.now().saturating_since(before);
            assert!(
                waited < Duration::from_millis(50),
                "woken, not by the clock"
            );
            queue.lease("default").await.unwrap().ack().await.unwrap();
        }
    });
    assert!(done.is_some());
}

#[test]
fn a_drain_waits_for_nothing_and_takes_back_what_is_not_committed() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        assert!(queue.drain("default", 5).await.unwrap().tasks().is_empty());
        let first = put(&queue, "a").await;
        put(&queue, "b").await;
        queue.pause("default").await.unwrap();
        let drained = within(&queue, queue.drain("default", 5)).await.unwrap();
        assert!(
            drained.tasks().is_empty(),
            "a paused route is not leased from"
        );
        queue.resume("default").await.unwrap();
        let drained = queue.drain("default", 1).await.unwrap();
        assert_eq!(drained.tasks()[0].id(), first);
        drop(drained);
        let lease = queue.lease("default").await.unwrap();
        assert_eq!((lease.id(), lease.delivery().epoch.get()), (first, 2));
        let explained = queue.explain(first).await.unwrap().unwrap();
        assert_eq!((explained.retries, explained.in_doubt), (0, 0));
    });
    assert!(done.is_some());
}

#[test]
fn what_is_drained_keeps_all_it_had_and_waits_for_room_where_it_goes() {
    let (from, to) = (disk(), disk());
    let done = life(|| async {
        let old = open(QueueOptions {
            max_retries: 3,
            ..options(&from, 0)
        })
        .await;
        let with_key = plain().key("k");
        let keyed = old
            .enqueue("keyed".into(), with_key.clone())
            .await
            .unwrap()
            .id;
        for name in ["b", "c"] {
            put(&old, name).await;
        }
        let lease = old.lease("default").await.unwrap();
        lease.fail(Failure::Rejected("no".into())).await.unwrap();
        pause(&*old.env().clock).await;
        while old.counts().ready < 3 {
            pause(&*old.env().clock).await;
        }
        let before = old.explain(keyed).await.unwrap().unwrap();
        let drained = old.drain("default", 10).await.unwrap();
        let tasks = drained.commit().await.unwrap();
        assert_eq!((tasks.len(), old.counts()), (3, LaneCounts::default()));

        let new = open(QueueOptions {
            capacity: 2,
            ..options(&to, 9)
        })
        .await;
        let restoring = tokio::spawn({
            let (new, tasks) = (new.clone(), tasks.clone());
            async move { new.restore(&tasks).await.unwrap() }
        });
        pause(&*new.env().clock).await;
        assert_eq!(new.counts().ready, 2, "and the third waits for room");
        let after = new.explain(keyed).await.unwrap().unwrap();
        assert_eq!((after.retries, after.enqueued_at), (1, before.enqueued_at));
        assert_eq!(after.history.unwrap().counts.rejected, 1);
        assert_eq!(after.key.as_deref(), Some("k"));
        let again = new.try_enqueue("keyed".into(), with_key).await.unwrap();
        assert_eq!(
            (again.duplicate, again.id),
            (true, keyed),
            "known, and it is full"
        );
        let other = new
            .try_enqueue("other".into(), TaskOptions::default())
            .await;
        assert!(matches!(other, Err(EnqueueError::Full { .. })));
        assert_eq!(new.find_key("default", "k").unwrap().unwrap().0, keyed);
        let lease = new.lease("default").await.unwrap();
        assert_eq!((lease.id(), lease.delivery().epoch.get()), (keyed, 3));
        lease.ack().await.unwrap();
        let restored = within(&new, restoring).await.unwrap();
        assert!(restored.iter().all(Result::is_ok));
        new.lease("default").await.unwrap().ack().await.unwrap();
        let again = new.restore(&tasks[..1]).await.unwrap();
        assert!(
            matches!(again[0], Err(LeaseError::NotThere { .. })),
            "{again:?}"
        );
        let fresh = put(&new, "fresh").await;
        assert!(tasks.iter().all(|task| task.id() < fresh));
    });
    assert!(done.is_some());
}

async fn heard(feed: &mut LifecycleFeed, queue: &Queue) -> LifecycleKind {
    match within(queue, feed.next()).await {
        Some(Heard::Event(event)) => event.kind,
        other => panic!("{other:?}"),
    }
}

async fn told(feed: &mut LifecycleFeed, queue: &Queue) -> Arc<LifecycleEvent> {
    match within(queue, feed.next()).await {
        Some(Heard::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_event_says_when_it_was_and_on_which_route() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            backoff: Backoff::Schedule(vec![Duration::from_secs(1)]),
            ..options(&disk, 0)
        });
        let queue = queue.await;
        put(&queue, "x").await;
        let mut feed = queue.subscribe();
        let lease = queue.lease("default").await.unwrap();
        lease.fail(Failure::Rejected("no".into())).await.unwrap();
        let granted = told(&mut feed, &queue).await;
        let rejected = told(&mut feed, &queue).await;
        let Some(Next::Delayed(until)) = rejected.end.map(|end| end.next) else {
            panic!("{rejected:?}");
        };
        assert!(granted.at <= rejected.at && rejected.at < until);
        let due = told(&mut feed, &queue).await;
        assert_eq!(due.kind, LifecycleKind::Due);
        assert!(due.at >= until, "{due:?}, and it waited until {until:?}");
        queue.pause("default").await.unwrap();
        queue.resume("default").await.unwrap();
        for kind in [LifecycleKind::Paused, LifecycleKind::Resumed] {
            let event = told(&mut feed, &queue).await;
            assert_eq!(event.kind, kind);
            assert_eq!(event.route.as_deref(), Some("default"));
            assert!(event.at >= due.at, "{event:?}");
        }
    });
    assert!(done.is_some());
}

#[test]
fn listeners_hear_everything_in_order_and_extensions_without_further_traffic() {
    let disk = disk();
    let done = life(|| async {
        use LifecycleKind as Kind;
        let queue = open(options(&disk, 0)).await;
        let mut feed = queue.subscribe();
        put(&queue, "x").await;
        let lease = queue.lease("default").await.unwrap();
        assert_eq!(heard(&mut feed, &queue).await, Kind::Enqueued);
        assert_eq!(heard(&mut feed, &queue).await, Kind::Granted);
        pause(&*queue.env().clock).await;
        assert!(lease.extend().await.unwrap().extended);
        assert_eq!(heard(&mut feed, &queue).await, Kind::Extended);
        lease.fail(Failure::Rejected("no".into())).await.unwrap();
        assert_eq!(heard(&mut feed, &queue).await, Kind::Rejected);
        assert_eq!(heard(&mut feed, &queue).await, Kind::Due);
        let lease = queue.lease("default").await.unwrap();
        let id = lease.id();
        lease.move_to_poison("by hand").await.unwrap();
        queue.requeue(id).await.unwrap();
        queue
            .lease("default")
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
        queue.lease("default").await.unwrap().ack().await.unwrap();
        queue.pause("default").await.unwrap();
        let kinds = [
            Kind::Granted,
            Kind::Refused,
            Kind::Requeued,
            Kind::Granted,
            Kind::Released,
            Kind::Granted,
            Kind::Done,
            Kind::Paused,
        ];
        for kind in kinds {
            assert_eq!(heard(&mut feed, &queue).await, kind);
        }
    });
    assert!(done.is_some());
}

#[test]
fn more_routes_than_a_segment_can_name_are_refused() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        let mut defined = 0;
        let refused = loop {
            match queue
                .define_route(&format!("{defined} {}", "r".repeat(120)))
                .await
            {
                Ok(()) => defined += 1,
                Err(error) => break error,
            }
        };
        assert!(defined >= 10, "{defined} routes");
        assert!(
            matches!(refused, LeaseError::UnknownRoute(_)),
            "{refused:?}"
        );
        queue.define_route("default").await.unwrap();
        for n in 0..200 {
            put(&queue, &format!("{n} {}", "b".repeat(500))).await;
        }
        queue.close().await.unwrap();
        assert_eq!(open(options(&disk, 1)).await.counts().ready, 200);
    });
    assert!(done.is_some());
}
