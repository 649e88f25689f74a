//! A route that fills up leaves the others room: of tasks, of the poison store, of the log.

mod queue_world;

use std::collections::BTreeMap;

use leasebridge::core::TaskId;
use leasebridge::queue::{
    EnqueueError, Failure, FullBecause, QueueOptions, RouteFullBecause, RouteLimits, RouteMove,
    SafeTaskQueue, TaskOptions,
};
use leasebridge_sim::disk::{SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{SEGMENT_BYTES, life, open, options, pause};

/// What may be moved to another route: what is in poison too.
const ALL: RouteMove = RouteMove {
    with_poison: true,
    dry_run: false,
};

/// A queue with two routes, of which one is dead: nobody ever leases from it.
async fn two(change: impl FnOnce(&mut QueueOptions)) -> SafeTaskQueue<String> {
    let mut options = options(&SimDisk::new(Seed(5), TokioSpawner), 0);
    options.capacity = 40;
    options.poison_capacity = 40;
    change(&mut options);
    let queue = open(options).await;
    for route in ["dead", "healthy"] {
        queue.define_route(route).await.expect("a good name");
    }
    queue
}

async fn put(
    queue: &SafeTaskQueue<String>,
    route: &str,
    bytes: usize,
) -> Result<TaskId, EnqueueError> {
    let options = TaskOptions::route(route.to_owned());
    let kept = queue.try_enqueue("x".repeat(bytes), options).await?;
    Ok(kept.id)
}

/// Fills a route until it is refused; says how many it took, and why no more.
async fn fill(queue: &SafeTaskQueue<String>, route: &str, bytes: usize) -> (u64, RouteFullBecause) {
    let mut taken = 0;
    loop {
        match put(queue, route, bytes).await {
            Ok(_) => taken += 1,
            Err(EnqueueError::RouteFull {
                route: named, why, ..
            }) => {
                assert_eq!(named, route, "the refusal names who is full");
                return (taken, why);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

async fn into_poison(queue: &SafeTaskQueue<String>, route: &str) {
    let lease = queue.lease(route).await.expect("there is one");
    let refused = lease.fail(Failure::Refused("never".into())).await;
    refused.expect("it is held");
}

#[test]
fn a_dead_route_takes_the_common_part_and_leaves_the_others_theirs() {
    let ended = life(|| async {
        let queue = two(|_| {}).await;
        assert_eq!(
            fill(&queue, "dead", 9).await,
            (30, RouteFullBecause::Capacity)
        );
        assert_eq!(
            fill(&queue, "healthy", 9).await,
            (10, RouteFullBecause::Capacity)
        );
        let shares = queue.status().routes;
        let of = |name: &str| {
            shares
                .iter()
                .find(|route| route.route == name)
                .expect("it is known")
        };
        assert_eq!(
            (
                of("dead").share.tasks_guaranteed,
                of("dead").share.tasks_max
            ),
            (10, 30)
        );
        assert_eq!(of("healthy").counts.pending(), 10);
        assert_eq!(of("healthy").live_bytes * 3, of("dead").live_bytes);
        // What is done makes room for the same route, and for nobody else.
        queue
            .lease("healthy")
            .await
            .expect("it is ready")
            .ack()
            .await
            .expect("it is held");
        assert!(put(&queue, "dead", 9).await.is_err());
        put(&queue, "healthy", 9)
            .await
            .expect("its own place is free");
        queue.close().await
    });
    assert_eq!(ended, Some(Ok(())));
}

#[test]
fn tasks_in_poison_close_their_own_route_and_settlements_are_never_bound() {
    let ended = life(|| async {
        let queue = two(|_| {}).await;
        for _ in 0..30 {
            put(&queue, "dead", 9).await.expect("there is room");
            into_poison(&queue, "dead").await;
        }
        let refused = fill(&queue, "dead", 9).await;
        assert_eq!(
            refused,
            (0, RouteFullBecause::Poison),
            "thirty are in poison"
        );
        // Requeued all at once, beyond what an enqueue may fill; and back to poison again.
        let (poison, _) = queue.poison("dead", None, 100).expect("it is known");
        for id in poison {
            queue.requeue(id).await.expect("it is in poison");
        }
        assert_eq!(
            fill(&queue, "dead", 9).await,
            (0, RouteFullBecause::Capacity)
        );
        for _ in 0..30 {
            into_poison(&queue, "dead").await;
        }
        for _ in 0..10 {
            put(&queue, "healthy", 9)
                .await
                .expect("it is guaranteed to it");
            into_poison(&queue, "healthy").await;
        }
        assert_eq!(
            fill(&queue, "healthy", 9).await,
            (0, RouteFullBecause::Poison)
        );
        let moved = queue
            .move_route("dead", "healthy", ALL)
            .await
            .expect("both are known");
        assert_eq!(moved.moved, 30, "nor is a move bound");
        let held = queue.status().routes;
        let bytes: Vec<u64> = held.iter().map(|route| route.live_bytes).collect();
        assert_eq!(bytes.iter().sum::<u64>(), queue.status().journal.live_bytes);
        assert_eq!(bytes[1], 0, "its bytes went with its tasks");
        queue.close().await
    });
    assert_eq!(ended, Some(Ok(())));
}

#[test]
fn bytes_are_shared_as_well_and_outlive_a_restart_and_compaction() {
    let disk = SimDisk::new(Seed(5), TokioSpawner);
    let large = |boot| QueueOptions {
        capacity: 1 << 20,
        poison_capacity: 1 << 20,
        ..options(&disk, boot)
    };
    let took = life(|| async {
        let queue = open(large(0)).await;
        for route in ["dead", "healthy"] {
            queue.define_route(route).await.expect("a good name");
        }
        let (dead, why) = fill(&queue, "dead", 400).await;
        assert_eq!(why, RouteFullBecause::Bytes);
        let mut healthy = 0;
        // Through the whole log several times, so that everything is written anew.
        for _ in 0..6 * dead {
            put(&queue, "healthy", 400)
                .await
                .expect("its part of the log is free");
            let lease = queue.lease("healthy").await.expect("it is ready");
            lease.ack().await.expect("it is held");
            healthy += 1;
        }
        assert!(
            fill(&queue, "dead", 400).await.0 <= 1,
            "nothing of it has gone"
        );
        (dead, healthy, queue.close().await)
    });
    let (dead, _, closed) = took.expect("nothing waits for ever");
    assert_eq!(closed, Ok(()));
    let again = life(|| async {
        let queue = open(large(1)).await;
        for route in ["dead", "healthy"] {
            queue.define_route(route).await.expect("a good name");
        }
        let held = queue.status().routes[1].clone();
        assert_eq!((held.route.as_str(), held.counts.pending()), ("dead", dead));
        assert!(put(&queue, "dead", 400).await.is_err());
        put(&queue, "healthy", 400)
            .await
            .expect("its part of the log is free");
        queue.close().await
    });
    assert_eq!(again, Some(Ok(())));
}

/// A log of 64 segments on a disk that has room for so many.
const SEGMENTS_ON_DISK: u64 = 24;

fn on_small_disk(disk: &SimDisk) -> QueueOptions {
    disk.set_quota(Some((SEGMENTS_ON_DISK + 1) * u64::from(SEGMENT_BYTES)));
    QueueOptions {
        capacity: 1 << 20,
        poison_capacity: 1 << 20,
        ..options(disk, 0)
    }
}

#[test]
fn bytes_of_a_disk_smaller_than_the_log_are_shared_by_what_the_disk_has() {
    let ended = life(|| async {
        let disk = SimDisk::new(Seed(5), TokioSpawner);
        let queue = open(on_small_disk(&disk)).await;
        for route in ["dead", "healthy"] {
            queue.define_route(route).await.expect("a good name");
        }
        let (dead, why) = fill(&queue, "dead", 400).await;
        assert_eq!(why, RouteFullBecause::Bytes);
        let status = queue.status();
        let shares = status.routes.iter().map(|route| route.share.bytes_max);
        let half = SEGMENTS_ON_DISK * u64::from(SEGMENT_BYTES) / 2;
        assert!(shares.clone().all(|max| max < half), "{status:?}");
        assert!(status.routes[0].live_bytes < half, "{status:?}");
        // Through the whole disk several times.
        for _ in 0..6 * dead {
            put(&queue, "healthy", 400)
                .await
                .expect("its part of the disk is free");
            let lease = queue.lease("healthy").await.expect("it is ready");
            lease.ack().await.expect("it is held");
        }
        queue.close().await
    });
    assert_eq!(ended, Some(Ok(())));
}

#[test]
fn a_log_is_called_full_only_for_as_long_as_it_refuses() {
    let ended = life(|| async {
        let disk = SimDisk::new(Seed(5), TokioSpawner);
        let options = on_small_disk(&disk);
        let clock = options.env.clock.clone();
        let queue = open(options).await;
        queue.define_route("only").await.expect("a good name");
        let fill = async || {
            let full = loop {
                if let Err(full) = put(&queue, "only", 400).await {
                    break full;
                }
            };
            let why = FullBecause::Disk;
            assert!(
                matches!(full, EnqueueError::Full { why: found, .. } if found == why),
                "{full}"
            );
            assert!(queue.status().journal.full);
        };
        fill().await;
        // Done: nobody has enqueued since.
        while queue.counts().ready > 0 {
            let lease = queue.lease("only").await.expect("it is ready");
            lease.ack().await.expect("it is held");
        }
        assert!(!queue.status().journal.full, "{:?}", queue.status());
        fill().await;
        // More disk: whoever looks has it looked for.
        disk.set_quota(None);
        assert!(queue.status().journal.full, "nobody has asked the disk");
        while queue.status().journal.full {
            pause(&*clock).await;
        }
        put(&queue, "only", 400).await.expect("there is room");
        queue.close().await
    });
    assert_eq!(ended, Some(Ok(())));
}

#[test]
fn a_limit_binds_its_route_and_a_known_key_needs_no_share() {
    let ended = life(|| async {
        let limits = RouteLimits {
            capacity: Some(3),
            ..RouteLimits::default()
        };
        let queue = two(|options| {
            options.routes = BTreeMap::from([("dead".to_owned(), limits)]);
        })
        .await;
        let keyed = || TaskOptions::route("dead").key("k");
        let first = queue
            .try_enqueue("x".into(), keyed())
            .await
            .expect("there is room");
        assert_eq!(
            fill(&queue, "dead", 9).await,
            (2, RouteFullBecause::Capacity)
        );
        let again = queue
            .try_enqueue("x".into(), keyed())
            .await
            .expect("it is known");
        assert_eq!((again.id, again.duplicate), (first.id, true));
        // The limited one leaves the rest of its equal part to the others.
        assert_eq!(
            fill(&queue, "healthy", 9).await,
            (37, RouteFullBecause::Capacity)
        );
        queue.close().await
    });
    assert_eq!(ended, Some(Ok(())));
}

#[test]
fn a_route_alone_has_the_whole_queue_and_without_guarantees_whoever_comes_first() {
    let ended = life(|| async {
        let disk = SimDisk::new(Seed(5), TokioSpawner);
        let mut alone = options(&disk, 0);
        alone.capacity = 40;
        let queue = open(alone).await;
        queue.define_route("only").await.expect("a good name");
        for _ in 0..40 {
            put(&queue, "only", 9).await.expect("there is room");
        }
        let full = put(&queue, "only", 9).await.expect_err("forty are there");
        assert!(
            matches!(
                full,
                EnqueueError::Full {
                    why: FullBecause::Capacity,
                    ..
                }
            ),
            "{full}"
        );
        queue.close().await.expect("nothing is wrong with it");
        let queue = two(|options| options.guaranteed_percent = 0).await;
        assert_eq!(fill(&queue, "dead", 9).await.0, 40);
        assert_eq!(fill(&queue, "healthy", 9).await.0, 0);
        let mixed = ["dead", "healthy"].map(|route| ("x".to_owned(), TaskOptions::route(route)));
        let refused = queue
            .enqueue_batch(mixed)
            .await
            .expect_err("there is no room");
        assert!(refused.is_retryable() && refused.is_definite(), "{refused}");
        queue.close().await
    });
    assert_eq!(ended, Some(Ok::<(), leasebridge::queue::LogFailure>(())));
}

#[test]
fn a_batch_that_its_route_never_has_room_for_is_refused_for_good() {
    let ended = life(|| async {
        let limits = RouteLimits {
            capacity: Some(20),
            ..RouteLimits::default()
        };
        let queue = two(|options| {
            options.routes.insert("healthy".into(), limits);
        });
        let queue = queue.await;
        let batch = |count: usize| {
            (0..count).map(|number| (number.to_string(), TaskOptions::route("healthy")))
        };
        assert_eq!(
            queue.enqueue_batch(batch(21)).await.map(drop),
            Err(EnqueueError::BatchTooLarge {
                commands: 21,
                capacity: 20
            })
        );
        assert_eq!(queue.counts().pending(), 0, "nothing of it is kept");
        assert_eq!(queue.enqueue_batch(batch(20)).await.map(drop), Ok(()));
        // Now it is a matter of time.
        let more = queue.enqueue_batch(batch(2)).await.map(drop);
        assert!(
            matches!(more, Err(EnqueueError::RouteFull { .. })),
            "{more:?}"
        );
        queue.close().await
    });
    assert_eq!(ended, Some(Ok(())));
}
