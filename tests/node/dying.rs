//! A part that dies must not look alive. Each long-lived task is made to panic where it asks the outside world for
//! something: the node ends and says which part it was, or the part is made again and counted.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use leasebridge::core::TaskState;
use leasebridge::core::event::PoisonCause;
use leasebridge::env::{BoxStream, Clock, Listener, Mono, Point, Points, Transport, Wall};
use leasebridge::observe::LinkStatus;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;

/// A span that nothing but the delivery of these tests waits for.
const FIRST_SIGN: Duration = Duration::from_micros(412_345);

/// How long a stream of commands waits for room in a full queue.
const ROOM: Duration = Duration::from_millis(100);

/// The outside world, of which one request panics.
#[derive(Default)]
struct Trap {
    point: Mutex<Option<Point>>,
    sleep: Mutex<Option<Duration>>,
    /// Reads and writes of connections from here on that panic.
    reads: AtomicUsize,
    writes: AtomicUsize,
}

impl Trap {
    fn env(self: &Arc<Self>) -> Env {
        let real = Env::real();
        Env {
            clock: Arc::new(TrapClock(Arc::clone(&real.clock), Arc::clone(self))),
            transport: Arc::new(TrapTransport(Arc::clone(&real.transport), Arc::clone(self))),
            points: Arc::clone(self) as Arc<dyn Points>,
            ..real
        }
    }

    fn spring(&self, left: &AtomicUsize) {
        let take = |left: usize| left.checked_sub(1);
        let sprung = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        assert!(sprung.is_err(), "this test wants it");
    }
}

impl Points for Trap {
    fn fires(&self, point: Point) -> bool {
        let armed = *self.point.lock().unwrap();
        assert!(armed != Some(point), "this test wants it");
        false
    }
}

struct TrapClock(Arc<dyn Clock>, Arc<Trap>);

impl Clock for TrapClock {
    fn now(&self) -> Mono {
        self.0.now()
    }

    fn wall(&self) -> Wall {
        self.0.wall()
    }

    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        self.0.sleep_until(at)
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let armed = *self.1.sleep.lock().unwrap();
        assert!(armed != Some(span), "this test wants it");
        self.0.sleep(span)
    }
}

struct TrapTransport(Arc<dyn Transport>, Arc<Trap>);

impl Transport for TrapTransport {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        self.0.connect(address)
    }

    fn bind<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async {
            let listener = self.0.bind(address).await?;
            Ok(Box::new(TrapListener(listener, Arc::clone(&self.1))) as Box<dyn Listener>)
        })
    }
}

struct TrapListener(Box<dyn Listener>, Arc<Trap>);

impl Listener for TrapListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            let stream = TrapStream(stream, Arc::clone(&self.1));
            Ok((Box::new(stream) as BoxStream, peer))
        })
    }

    fn local_address(&self) -> Address {
        self.0.local_address()
    }
}

struct TrapStream(BoxStream, Arc<Trap>);

impl AsyncRead for TrapStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.spring(&self.1.reads);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for TrapStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.spring(&self.1.writes);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn link(node: &Node) -> LinkStatus {
    node.status().bridge.routes[0].links[0].clone()
}

async fn connected(node: &Node) {
    until("the link is up", || link(node).state.is_connected()).await;
}

#[tokio::test]
async fn whichever_task_panics_the_node_ends_and_says_which() {
    for (point, part) in [
        (Point::EarlyHeartbeat, "a link of route `a` panicked"),
        (Point::ForcedFallback, "the lane of route `a` panicked"),
        (Point::BatchOfOne, "the queue's pump panicked"),
        (Point::LatePromise, "the queue's writer panicked"),
        (Point::EarlyCompaction, "the queue's keeper panicked"),
        (Point::LateTick, "the queue's clock panicked"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = endpoint(Lamp { is_stuck: false }).await;
        let mut route = route("a", &endpoint);
        route.heartbeat = Duration::from_millis(50);
        let mut options = NodeOptions::new(dir.path(), local(), vec![route]);
        options.queue.segment_bytes = 1 << 20;
        options.queue.log_bytes_max = 16 << 20;
        options.queue.body_bytes_max = 64 << 10;
        let trap = Arc::new(Trap::default());
        let node = Node::start(trap.env(), options).await.unwrap();
        connected(&node).await;
        *trap.point.lock().unwrap() = Some(point);
        let work = async {
            loop {
                // A body of the size of a few segments a second, so that each of them has something to do.
                let command = Command::new(vec![b'x'; 60 << 10]);
                let put = node.queue().enqueue(command, TaskOptions::route("a"));
                // With a part gone it may be refused, or in doubt.
                let _any = put.await;
                tokio::task::yield_now().await;
            }
        };
        let failure = tokio::select! {
            failure = node.ended() => failure.to_string(),
            () = work => unreachable!("it goes on for ever"),
        };
        assert!(failure.contains(part), "{point:?}: {failure}");
        assert!(failure.contains("this test wants it"), "{failure}");
        if point == Point::EarlyHeartbeat {
            let link = link(&node);
            assert_eq!(link.state, LinkState::Closed);
            assert_eq!((link.software, link.in_flight), (None, 0));
            let error = link.last_error.unwrap_or_default();
            assert!(error.contains("panicked"), "{error}");
        }
    }
}

/// Given back, it would be delivered again at once, for ever.
#[tokio::test]
async fn a_delivery_that_panics_is_a_doubt_with_its_cause_and_nobody_elses_business() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = endpoint(Lamp { is_stuck: true }).await;
    let mut route = route("a", &endpoint);
    route.first_sign_of_life = FIRST_SIGN;
    let mut options = NodeOptions::new(dir.path(), local(), vec![route]);
    options.queue.max_in_doubt = 1;
    options.queue.backoff_min = Duration::from_millis(1);
    options.queue.backoff_max = Duration::from_millis(5);
    let trap = Arc::new(Trap::default());
    let node = Node::start(trap.env(), options).await.unwrap();
    connected(&node).await;
    *trap.sleep.lock().unwrap() = Some(FIRST_SIGN);
    let put = node
        .queue()
        .enqueue(Command::new("x"), TaskOptions::route("a"));
    let id = put.await.unwrap().id;
    until("it is in poison", || {
        node.queue().task_state(id) == Ok(Some(TaskState::Poison(PoisonCause::InDoubtSpent)))
    })
    .await;
    let explained = node.queue().explain(id).await.unwrap().unwrap();
    let history = explained.history.unwrap_or_default();
    let told: Vec<_> = history
        .attempts()
        .map(|attempt| {
            (
                attempt.charged,
                attempt.error.as_deref().unwrap_or_default(),
            )
        })
        .collect();
    let cause = "the bridge panicked while it delivered this: this test wants it";
    assert_eq!(told, [(true, cause), (false, cause)]);
    let counts = node.status().bridge.routes[0].counts;
    assert_eq!((counts.panicked, counts.in_doubt), (2, 2));
    // The lane lives, and so does the link.
    connected(&node).await;
    assert_eq!(link(&node).counts.connects, 1);
    *trap.sleep.lock().unwrap() = None;
    node.queue().requeue(id).await.unwrap();
    until("it is delivered again", || link(&node).in_flight == 1).await;
    assert_eq!(node.status().bridge.routes[0].counts.panicked, 2);
}

/// Twenty commands, five replies, and then the stream ended with OK: that was seen.
#[tokio::test]
async fn a_stream_of_commands_whose_task_panics_ends_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::new(dir.path(), local(), vec![lonely("a").await]);
    options.queue.capacity = 5;
    let trap = Arc::new(Trap::default());
    let node = Node::start(trap.env(), options).await.unwrap();
    *trap.sleep.lock().unwrap() = Some(ROOM);
    let commands = (0..20).map(|_| EnqueueRequest {
        route: "a".to_owned(),
        ..EnqueueRequest::default()
    });
    let commands = tokio_stream::iter(commands.collect::<Vec<_>>());
    let mut ingest = IngestClient::new(channel(&node).await);
    let mut replies = ingest.enqueue_stream(commands).await.unwrap().into_inner();
    let end = loop {
        match replies.message().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    let status = end.expect_err("it did not answer all of them");
    assert!(status.message().contains("are in doubt"), "{status}");
    // The service goes on.
    *trap.sleep.lock().unwrap() = None;
    assert!(asked(&node).await.routes.iter().any(|one| one.route == "a"));
}

#[tokio::test]
async fn a_receivers_link_whose_reader_or_writer_panics_is_closed_counted_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let trap = Arc::new(Trap::default());
    let receiver = Receiver::new(
        ReceiverOptions::new(local()),
        Arc::new(Lamp { is_stuck: false }),
    );
    let endpoint = receiver.unwrap().start(trap.env()).await.unwrap();
    let mut options = NodeOptions::new(dir.path(), local(), vec![route("a", &endpoint)]);
    options.queue.backoff_max = Duration::from_millis(300);
    let node = Node::start(Env::real(), options).await.unwrap();
    for (turn, half) in [(1, &trap.reads), (2, &trap.writes)] {
        connected(&node).await;
        half.store(1, Ordering::SeqCst);
        enqueue(&node, "a", b"on").await;
        until("its link was closed and counted", || {
            endpoint.stats().links_panicked == turn
        })
        .await;
        until("the command is executed over another", || {
            node.queue().counts().pending() == 0
        })
        .await;
        assert_eq!(link(&node).counts.connects, turn + 1);
        assert_eq!(endpoint.links(), 1, "nothing of it is left");
    }
    // What all links share is whole: it drains.
    let report = endpoint.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.unfinished, 0);
}
