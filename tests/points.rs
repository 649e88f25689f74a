//! Points: the unlikely turns that a world may ask of the program do turn up, and change no outcome.

mod queue_world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{Bridge, BridgeOptions, RouteOptions, RunningBridge};
use leasebridge::core::event::TransportKind;
use leasebridge::coverage::{self, Site};
use leasebridge::env::{Address, BoxFuture, Env, Point};
use leasebridge::queue::{Command, Failure, QueueOptions, SafeTaskQueue, TaskOptions};
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};
use leasebridge_sim::disk::{SimDisk, TokioSpawner};
use leasebridge_sim::points::SimPoints;
use leasebridge_sim::seed::Seed;
use queue_world::{BODY_BYTES_MAX, DIR, SEGMENT_BYTES, life, open, options, pause};

/// Points that fire at each pass.
fn always(names: &[&str]) -> Arc<SimPoints> {
    let points = SimPoints::new(Seed(1));
    for name in names {
        points.set(name, 1).expect("the product has it");
    }
    Arc::new(points)
}

async fn queue_with(points: &Arc<SimPoints>) -> SafeTaskQueue<String> {
    let disk = SimDisk::new(Seed(5), TokioSpawner);
    let mut options = options(&disk, 1);
    options.env.points = points.clone();
    assert_eq!(options.dir, std::path::Path::new(DIR));
    open(options).await
}

async fn put(queue: &SafeTaskQueue<String>, body: &str) {
    let enqueued = queue.enqueue(body.into(), TaskOptions::default()).await;
    enqueued.expect("there is room");
}

#[test]
fn a_batch_of_one_takes_one_lease_of_many() {
    life(|| async {
        let points = always(&["batch_of_one"]);
        let queue = queue_with(&points).await;
        for body in ["a", "b", "c"] {
            put(&queue, body).await;
        }
        let one = queue.lease_batch("default", 8).await.expect("it is open");
        assert_eq!(one.len(), 1);
        points.clear("batch_of_one").expect("the product has it");
        let rest = queue.lease_batch("default", 8).await.expect("it is open");
        assert_eq!(rest.len(), 2);
    })
    .expect("nothing is stuck");
}

#[test]
fn a_late_promise_is_told_later_and_kept() {
    let took = |names: &[&str]| {
        life(|| async {
            let queue = queue_with(&always(names)).await;
            let clock = queue.env().clock.clone();
            let before = clock.now();
            put(&queue, "a").await;
            clock.now().saturating_since(before)
        })
        .expect("nothing is stuck")
    };
    assert!(took(&["late_promise"]) >= took(&[]) + Duration::from_millis(20));
}

#[test]
fn a_late_tick_makes_what_is_due_wait() {
    let waited = |names: &[&str]| {
        life(|| async {
            let queue = queue_with(&always(names)).await;
            put(&queue, "a").await;
            let lease = queue.lease("default").await.expect("it is open");
            let clock = queue.env().clock.clone();
            let before = clock.now();
            let not_now = Failure::Unavailable {
                retry_after: Duration::from_secs(1),
                reason: "not now".into(),
            };
            lease.fail(not_now).await.expect("it is held");
            let again = queue.lease("default").await.expect("it is open");
            again.ack().await.expect("it is held");
            clock.now().saturating_since(before)
        })
        .expect("nothing is stuck")
    };
    assert!(waited(&["late_tick"]) >= waited(&[]) + Duration::from_millis(200));
}

#[test]
fn an_early_compaction_moves_a_live_task_out_of_a_log_that_has_room() {
    // This test alone moves tasks in this process.
    let moved = |names: &[&str]| {
        let before = coverage::count_of(Site::LiveTaskMoved);
        life(|| async {
            let points = always(names);
            let queue = queue_with(&points).await;
            put(&queue, "stays").await;
            let kept = queue.lease("default").await.expect("it is open");
            // Enough for the log to go on in a second segment, and in no more.
            let body = "x".repeat(BODY_BYTES_MAX as usize / 2);
            for _ in 0..SEGMENT_BYTES / BODY_BYTES_MAX * 2 {
                put(&queue, &body).await;
                let lease = queue.lease("default").await.expect("it is open");
                lease.ack().await.expect("it is held");
            }
            for _ in 0..20 {
                pause(&*queue.env().clock).await;
            }
            assert_eq!(kept.value(), "stays");
            kept.ack().await.expect("it is held all the while");
        })
        .expect("nothing is stuck");
        coverage::count_of(Site::LiveTaskMoved) - before
    };
    assert_eq!(moved(&[]), 0);
    assert!(moved(&["early_compaction"]) > 0);
}

#[test]
fn a_spurious_wake_grants_nothing_twice() {
    life(|| async {
        let points = always(&["spurious_wake"]);
        let queue = queue_with(&points).await;
        let waiting = |_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.lease("default").await.expect("it is open") })
        };
        let leasers: Vec<_> = (0..4).map(waiting).collect();
        for body in ["a", "b", "c", "d"] {
            put(&queue, body).await;
        }
        // Kept, all of them: a lease that is dropped gives its task to the next.
        let mut leases = Vec::new();
        for leaser in leasers {
            leases.push(leaser.await.expect("it ends"));
        }
        let mut ids: Vec<_> = leases.iter().map(|lease| lease.id()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
        assert!(points.fired(Point::SpuriousWake) > 0);
    })
    .expect("nothing is stuck");
}

/// Counts what it executes.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Handler for Counter {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(command.body)))
    }
}

const COMMANDS: usize = 200;

/// Delivers commands over real sockets to their end; says how many were executed, and leaves a look at the
/// bridge.
async fn deliver(points: &Arc<SimPoints>, look: impl FnOnce(&RunningBridge)) -> usize {
    let env = Env {
        points: points.clone(),
        ..Env::real()
    };
    let clock = env.clock.clone();
    let local = || Address::tcp("127.0.0.1", 0);
    let mut receiving = ReceiverOptions::new(local());
    receiving.grpc = Some(local());
    let counter = Arc::new(Counter::default());
    let receiver = Receiver::new(receiving, counter.clone()).expect("good options");
    let endpoint = receiver.start(env.clone()).await.expect("free ports");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let queue = QueueOptions {
        segment_bytes: 4 << 20,
        ..QueueOptions::new(folder.path())
    };
    let queue = SafeTaskQueue::<Command>::open(queue)
        .await
        .expect("an empty folder");
    queue.define_route("a").await.expect("a good name");
    let mut route = RouteOptions::new("a")
        .socket(endpoint.socket_address().clone())
        .grpc(endpoint.grpc_address().expect("it listens").clone());
    route.heartbeat = Duration::from_millis(100);
    let bridge = Bridge::start(env, queue.clone(), BridgeOptions::new(vec![route]));
    let bridge = bridge.expect("good options");
    let up = |bridge: &RunningBridge| {
        let links = &bridge.status().routes[0].links;
        links.iter().all(|link| link.counts.connects > 0)
    };
    while !up(&bridge) {
        clock.sleep(Duration::from_millis(5)).await;
    }
    let commands = (0..COMMANDS).map(|number| {
        let command = Command::new(format!("command {number}"));
        (command, TaskOptions::route("a"))
    });
    let enqueued = queue.enqueue_batch(commands).await.expect("there is room");
    assert!(enqueued.iter().all(Result::is_ok));
    while queue.counts().pending() > 0 {
        clock.sleep(Duration::from_millis(5)).await;
    }
    look(&bridge);
    counter.0.load(Ordering::Relaxed)
}

fn sends(bridge: &RunningBridge, transport: TransportKind) -> u64 {
    let links = &bridge.status().routes[0].links;
    let link = links.iter().find(|link| link.transport == transport);
    link.expect("there are both").counts.sends
}

#[tokio::test]
async fn a_forced_fallback_takes_every_command_over_grpc_once() {
    let points = always(&["forced_fallback"]);
    let executed = deliver(&points, |bridge| {
        assert_eq!(sends(bridge, TransportKind::Socket), 0);
        assert_eq!(sends(bridge, TransportKind::Grpc), COMMANDS as u64);
    });
    assert_eq!(executed.await, COMMANDS);
}

#[tokio::test]
async fn links_with_tiny_buffers_small_reads_and_early_heartbeats_deliver_all_the_same() {
    let points = always(&["tiny_buffers", "small_reads", "early_heartbeat"]);
    let executed = deliver(&points, |bridge| {
        assert_eq!(sends(bridge, TransportKind::Socket), COMMANDS as u64);
    });
    assert_eq!(executed.await, COMMANDS);
    assert!(
        points.fired(Point::TinyBuffers) >= 4,
        "both ends of both links"
    );
    assert!(
        points.fired(Point::SmallReads) >= 2,
        "both ends of the socket"
    );
}
