//! Pumps, backpressure and the operator's view of a queue.

mod queue_world;

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use leasebridge::core::event::PoisonCause;
use leasebridge::core::{Epoch, TaskId, TaskState};
use leasebridge::env;
use leasebridge::queue::{
    AdapterError, CONCURRENCY_MAX, EnqueueError, Failure, Json, Lease, LeaseError, MovedRoute,
    QueueOptions, RouteMove, SafeTaskQueue, TaskOptions, TaskQueueChannelAdapter,
};
use leasebridge::wire::v1::Header;
use leasebridge_sim::disk::{Fault, FaultRule, OpKind, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{life, open, options, pause};

type Queue = SafeTaskQueue<String>;
type Adapter = TaskQueueChannelAdapter<String>;

fn disk() -> SimDisk {
    SimDisk::new(Seed(6), TokioSpawner)
}

fn plain() -> TaskOptions {
    TaskOptions::default()
}

async fn fill(queue: &Queue, count: usize) {
    let batch = (0..count).map(|n| (n.to_string(), plain()));
    queue.enqueue_batch(batch).await.unwrap();
}

async fn within<F: Future>(queue: &Queue, operation: F) -> F::Output {
    let clock = queue.env().clock.clone();
    let done = env::timeout(&*clock, Duration::from_secs(600), operation).await;
    done.expect("it ends")
}

async fn settle(queue: &Queue) {
    for _ in 0..20 {
        pause(&*queue.env().clock).await;
    }
}

async fn next(queue: &Queue, adapter: &mut Adapter) -> Lease<String> {
    let item = within(queue, adapter.next()).await;
    item.expect("the stream goes on")
        .expect("the journal lives")
}

#[test]
fn what_is_leased_and_unread_never_exceeds_the_concurrency() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        fill(&queue, 10).await;
        let mut adapter = Adapter::create(queue.clone(), 3, false).unwrap();
        for _ in 0..5 {
            settle(&queue).await;
            assert_eq!(queue.counts().leased, 3);
        }
        let first = next(&queue, &mut adapter).await;
        settle(&queue).await;
        assert_eq!(queue.counts().leased, 4, "one in hand, three ahead");
        first.ack().await.unwrap();
        let batch = within(&queue, adapter.next_batch(2)).await;
        assert_eq!(batch.len(), 2);
        settle(&queue).await;
        assert_eq!(queue.counts().leased, 5);
    });
    assert!(done.is_some());
}

/// In the library this descends from, one place freed by the reader woke every pump; each leased, the losers
/// found the channel full, and the whole adapter stopped without a word.
#[test]
fn a_reader_that_frees_one_place_at_a_time_keeps_the_adapter_running() {
    const COUNT: usize = 300;
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        fill(&queue, COUNT).await;
        let mut adapter = Adapter::create(queue.clone(), 4, false).unwrap();
        settle(&queue).await;
        for n in 0..COUNT {
            let lease = if n.is_multiple_of(2) {
                next(&queue, &mut adapter).await
            } else {
                let item = poll_fn(|context| Pin::new(&mut adapter).poll_next(context));
                within(&queue, item).await.unwrap().unwrap()
            };
            assert_eq!(*lease.value(), n.to_string());
            lease.ack().await.unwrap();
            if n.is_multiple_of(3) {
                settle(&queue).await;
                assert_eq!(queue.counts().leased as usize, 4.min(COUNT - n - 1));
            }
        }
        assert_eq!(queue.counts().pending(), 0);
        // And it still hears of what comes later.
        fill(&queue, 1).await;
        next(&queue, &mut adapter).await.ack().await.unwrap();
    });
    assert!(done.is_some());
}

async fn untouched(queue: &Queue, ids: &[TaskId]) {
    settle(queue).await;
    assert_eq!(queue.counts().ready, ids.len() as u64);
    for id in ids {
        let explained = queue.explain(*id).await.unwrap().unwrap();
        assert_eq!((explained.retries, explained.in_doubt), (0, 0));
    }
}

#[test]
fn dropped_or_stopped_it_gives_back_what_nobody_has_read_and_leaves_the_queue_alone() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        let mut ids = Vec::new();
        for n in 0..50 {
            ids.push(queue.enqueue(n.to_string(), plain()).await.unwrap().id);
        }
        let adapter = Adapter::create(queue.clone(), 40, false).unwrap();
        settle(&queue).await;
        assert_eq!(queue.counts().leased, 40);
        drop(adapter);
        untouched(&queue, &ids).await;
        let adapter = Adapter::create(queue.clone(), 50, false).unwrap();
        settle(&queue).await;
        let syncs = queue.status().journal.syncs;
        adapter.stop().await.unwrap();
        let syncs = queue.status().journal.syncs - syncs;
        assert!(syncs <= 2, "{syncs} syncs to give back 50");
        untouched(&queue, &ids).await;
        assert_eq!(queue.lease("default").await.unwrap().id(), ids[0]);
    });
    assert!(done.is_some());
}

#[test]
fn it_ends_with_the_queue_that_closes_and_closes_the_one_it_owns() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        let mut adapter = Adapter::create(queue.clone(), 2, false).unwrap();
        settle(&queue).await;
        queue.close().await.unwrap();
        assert!(within(&queue, adapter.next()).await.is_none());
        assert!(within(&queue, adapter.next_batch(5)).await.is_empty());
        adapter.stop().await.unwrap();
        drop(queue);
        let queue = open(options(&disk, 1)).await;
        fill(&queue, 3).await;
        let adapter = Adapter::create(queue.clone(), 2, true).unwrap();
        settle(&queue).await;
        adapter.stop().await.unwrap();
        let late = queue.try_enqueue("late".into(), plain()).await;
        assert_eq!(late, Err(EnqueueError::Closed));
        drop(queue);
        assert_eq!(open(options(&disk, 2)).await.counts().ready, 3);
    });
    assert!(done.is_some());
}

#[test]
fn a_failing_journal_is_an_error_in_the_stream_and_then_its_end() {
    for concurrency in [1, 3] {
        let disk = disk();
        let done = life(|| async {
            let queue = open(options(&disk, 0)).await;
            let mut adapter = Adapter::create(queue.clone(), concurrency, false).unwrap();
            settle(&queue).await;
            disk.add_fault(FaultRule::new(Fault::SyncError).on(OpKind::Sync));
            let doubtful = queue.enqueue("x".into(), plain()).await;
            assert!(matches!(doubtful, Err(EnqueueError::InDoubt(_))));
            let item = within(&queue, adapter.next()).await;
            assert!(
                matches!(item, Some(Err(LeaseError::InDoubt(_)))),
                "{item:?}"
            );
            assert!(within(&queue, adapter.next()).await.is_none());
        });
        assert!(done.is_some());
    }
}

#[test]
fn shut_it_takes_no_more_and_keeps_what_it_has() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        let mut adapter = Adapter::create(queue.clone(), 2, false).unwrap();
        fill(&queue, 2).await;
        settle(&queue).await;
        adapter.set_open(false);
        fill(&queue, 5).await;
        next(&queue, &mut adapter).await.ack().await.unwrap();
        next(&queue, &mut adapter).await.ack().await.unwrap();
        settle(&queue).await;
        assert_eq!((queue.counts().leased, queue.counts().ready), (0, 5));
        adapter.set_open(true);
        settle(&queue).await;
        assert_eq!(queue.counts().leased, 2);
    });
    assert!(done.is_some());
}

#[test]
fn senseless_adapters_are_refused() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        for concurrency in [0, CONCURRENCY_MAX + 1] {
            let refused = Adapter::create(queue.clone(), concurrency, false);
            assert_eq!(refused.unwrap_err(), AdapterError::Concurrency(concurrency));
        }
        let refused = Adapter::create_for_route(queue, "nowhere", 1, false).unwrap_err();
        assert_eq!(refused, AdapterError::UnknownRoute("nowhere".into()));
    });
    assert!(done.is_some());
}

#[test]
fn leases_last_while_they_are_buffered_or_in_hand_and_end_with_max_hold() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            lease: Duration::from_secs(1),
            max_hold: Duration::from_secs(20),
            ..options(&disk, 0)
        })
        .await;
        fill(&queue, 2).await;
        let clock = queue.env().clock.clone();
        let mut adapter = Adapter::create(queue.clone(), 2, false).unwrap();
        settle(&queue).await;
        clock.sleep(Duration::from_secs(5)).await;
        let first = next(&queue, &mut adapter).await;
        assert!(!first.is_lost(), "it was extended in the channel");
        assert_eq!(first.delivery().epoch, Epoch::FIRST);
        clock.sleep(Duration::from_secs(10)).await;
        assert!(!first.is_lost(), "and in hand");
        let held = clock.now();
        within(&queue, first.lost()).await;
        let lost_after = clock.now().saturating_since(held);
        assert!(lost_after < Duration::from_secs(7), "{lost_after:?}");
        // Its place ahead of the reader was free, so the pump has it again already.
        settle(&queue).await;
        let late = first.ack().await;
        assert!(
            matches!(
                late,
                Err(LeaseError::Stale { current, .. }) if current == Epoch::new(2)
            ),
            "{late:?}"
        );
        assert_eq!(queue.counts().pending(), 2);
        adapter.stop().await.unwrap();
    });
    assert!(done.is_some());
}

#[test]
fn an_owned_queue_is_closed_even_if_an_unread_lease_is_over() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            lease: Duration::from_secs(1),
            max_hold: Duration::from_secs(2),
            ..options(&disk, 0)
        })
        .await;
        fill(&queue, 3).await;
        let adapter = Adapter::create(queue.clone(), 3, true).unwrap();
        queue.env().clock.sleep(Duration::from_secs(60)).await;
        adapter.stop().await.unwrap();
        let late = queue.try_enqueue("late".into(), plain()).await;
        assert_eq!(late, Err(EnqueueError::Closed));
        drop(queue);
        assert_eq!(open(options(&disk, 1)).await.counts().pending(), 3);
    });
    assert!(done.is_some());
}

#[test]
fn producers_hear_when_the_backlog_grows_and_when_it_has_drained() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(QueueOptions {
            high_watermark: Some(4),
            low_watermark: Some(1),
            ..options(&disk, 0)
        })
        .await;
        assert!(!queue.wait_for_draining().await.unwrap().active);
        fill(&queue, 3).await;
        assert!(!queue.backpressure().borrow().active);
        fill(&queue, 1).await;
        assert!(queue.backpressure().borrow().active);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.wait_for_draining().await }
        });
        let two = queue.lease_batch("default", 2).await.unwrap();
        settle(&queue).await;
        assert!(!waiting.is_finished());
        let one = queue.lease("default").await.unwrap();
        let signal = within(&queue, waiting).await.unwrap().unwrap();
        assert_eq!(
            (signal.active, signal.depth, signal.transitions),
            (false, 1, 2)
        );
        drop((one, two));
        settle(&queue).await;
        assert!(
            queue.backpressure().borrow().active,
            "what came back counts"
        );
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.wait_for_draining().await }
        });
        settle(&queue).await;
        queue.set_watermarks(None, None);
        assert!(!within(&queue, waiting).await.unwrap().unwrap().active);
        queue.set_watermarks(Some(2), None);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.wait_for_draining().await }
        });
        settle(&queue).await;
        queue.close().await.unwrap();
        let ended = within(&queue, waiting).await.unwrap();
        assert_eq!(ended, Err(EnqueueError::Closed));
    });
    assert!(done.is_some());
}

#[test]
fn serde_types_and_messages_come_back_after_a_restart_and_strangers_go_to_poison() {
    let disk = disk();
    let done = life(|| async {
        let json = SafeTaskQueue::<Json<Vec<u32>>>::open(options(&disk, 0))
            .await
            .unwrap();
        json.enqueue(Json(vec![1, 2, 3]), plain()).await.unwrap();
        json.close().await.unwrap();
        drop(json);
        let json = SafeTaskQueue::<Json<Vec<u32>>>::open(options(&disk, 1))
            .await
            .unwrap();
        let lease = json.lease("default").await.unwrap();
        assert_eq!(lease.value(), &Json(vec![1, 2, 3]));
        lease.release().await.unwrap();
        json.close().await.unwrap();
        drop(json);
        let other = SafeTaskQueue::<Header>::open(options(&disk, 2))
            .await
            .unwrap();
        let header = Header {
            name: "a".into(),
            value: "b".into(),
        };
        other.enqueue(header.clone(), plain()).await.unwrap();
        let lease = other.lease("default").await.unwrap();
        assert_eq!(lease.value(), &header);
        assert_eq!(other.counts().poison, 1, "JSON is no header");
    });
    assert!(done.is_some());
}

#[test]
fn routes_are_paused_over_restarts_and_emptied_into_others_but_for_what_is_in_doubt() {
    let disk = disk();
    let done = life(|| async {
        let queue = open(options(&disk, 0)).await;
        queue.define_route("old").await.unwrap();
        queue.define_route("new").await.unwrap();
        let mut ids = Vec::new();
        let refused = queue
            .enqueue("refused".into(), TaskOptions::route("old"))
            .await
            .unwrap()
            .id;
        queue
            .lease("old")
            .await
            .unwrap()
            .move_to_poison("no")
            .await
            .unwrap();
        for name in ["doubtful", "held", "free", "free too"] {
            let route = TaskOptions::route("old");
            ids.push(queue.enqueue(name.into(), route).await.unwrap().id);
        }
        let doubtful = queue.lease("old").await.unwrap();
        doubtful
            .fail(Failure::InDoubt("silence".into()))
            .await
            .unwrap();
        settle(&queue).await;
        queue.pause("old").await.unwrap();
        queue.close().await.unwrap();
        drop(queue);
        let queue = open(options(&disk, 1)).await;
        let status = queue.status();
        let old = status
            .routes
            .iter()
            .find(|route| route.route == "old")
            .unwrap();
        assert!(old.paused);
        let clock = queue.env().clock.clone();
        let leasing = env::timeout(&*clock, Duration::from_secs(5), queue.lease("old"));
        assert!(leasing.await.is_err());
        queue.resume("old").await.unwrap();
        let mut leases = queue.lease_batch("old", 2).await.unwrap();
        let held = leases.pop().unwrap();
        drop(leases);
        settle(&queue).await;
        let plan = RouteMove {
            dry_run: true,
            ..RouteMove::default()
        };
        let planned = queue.move_route("old", "new", plan).await.unwrap();
        assert_eq!(queue.explain(ids[2]).await.unwrap().unwrap().route, "old");
        let moved = queue.move_route("old", "new", RouteMove::default());
        let moved = moved.await.unwrap();
        let expected = MovedRoute {
            moved: 2,
            kept_in_doubt: 1,
            kept_leased: 1,
            kept_poison: 1,
        };
        assert_eq!((planned, moved), (expected, expected));
        let explained = queue.explain(ids[2]).await.unwrap().unwrap();
        assert_eq!(
            (explained.route.as_str(), explained.state),
            ("new", TaskState::Ready)
        );
        assert_eq!(explained.value.as_deref(), Some("free"));
        assert_eq!(queue.explain(ids[0]).await.unwrap().unwrap().route, "old");
        assert_eq!(queue.lease("new").await.unwrap().id(), ids[2]);
        held.ack().await.unwrap();
        assert!(queue.explain(ids[1]).await.unwrap().is_none());
        let all = RouteMove {
            with_poison: true,
            ..RouteMove::default()
        };
        let moved = queue.move_route("old", "new", all).await.unwrap();
        assert_eq!((moved.moved, moved.kept_poison), (1, 0));
        let explained = queue.explain(refused).await.unwrap().unwrap();
        assert_eq!(
            (explained.route.as_str(), explained.state),
            ("new", TaskState::Poison(PoisonCause::Refused))
        );
        queue.close().await.unwrap();
        assert_eq!(
            queue.move_route("new", "old", all).await,
            Err(LeaseError::Closed)
        );
    });
    assert!(done.is_some());
}
