//! A link that is left alone for a moment hears of everything soon after, and of its own failure at once.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, future::pending};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::advance;

use super::*;
use crate::bridge::limits::REST_MAX;
use crate::bridge::link::LinkParts;
use crate::bridge::link::driver::{Beat, Driver, Outgoing};
use crate::bridge::waiters::{PendingQuestion, Sign};
use crate::core::event::TransportKind;
use crate::core::{Epoch, Origin, Seq, TaskId};
use crate::env::{Env, Mono};
use crate::wire::{EndpointHello, FrameSource, InboxId, OutboxLimits, encode_frame, outbox};

/// Longer than an answer must take for its link to rest as long as it may.
const LONG: Duration = Duration::from_secs(1);

/// Timers are not finer.
const TICK: Duration = Duration::from_millis(1);

/// A link and its far side.
struct Ends {
    link: Arc<Link>,
    far: DuplexStream,
    source: FrameSource,
    driver: JoinHandle<LinkEnd>,
    /// What the writer fails with, once that is sent.
    failure: oneshot::Sender<String>,
}

fn ends() -> Ends {
    let env = Env::real();
    let (sender, source) = outbox(OutboxLimits::for_peer(1 << 20, LONG));
    let hello = EndpointHello {
        software: "test".into(),
        frame_bytes_max: 1 << 20,
        body_bytes_max: 1 << 10,
        in_flight_max: 8,
        inbox_id: InboxId([1; 16]),
        heartbeat: LONG,
        tells_received: false,
    };
    let parts = LinkParts {
        transport: TransportKind::Socket,
        hello,
        sender,
        received: ReceivedCount::default(),
        window_bytes: 1 << 20,
        max_hold: LONG,
    };
    let link = Link::new(
        parts,
        Arc::default(),
        Arc::new(Notify::new()),
        Arc::clone(&env.clock),
    );
    let link = Arc::new(link);
    let (near, far) = duplex(1 << 16);
    let near: BoxStream = Box::new(near);
    let (reading, _) = split(near);
    let (failure, failed) = oneshot::channel();
    let outgoing: Outgoing = Box::pin(async move {
        match failed.await {
            Ok(why) => Err(why),
            Err(_) => pending().await,
        }
    });
    let incoming = Incoming::Socket(FrameReader::new(reading, 1 << 20));
    let beat = Beat {
        interval: 100 * LONG,
        misses: 3,
    };
    let driver = Driver::new(Arc::clone(&link), outgoing, incoming, env, beat);
    Ends {
        link,
        far,
        source,
        driver: tokio::spawn(driver.run()),
        failure,
    }
}

fn delivery(seq: u64) -> DeliveryId {
    DeliveryId {
        task: TaskId {
            seq: Seq(seq),
            origin: Origin(1),
        },
        epoch: Epoch::FIRST,
    }
}

impl Ends {
    fn now(&self) -> Mono {
        self.link.clock.now()
    }

    /// Sends command `seq`.
    fn ask(&self, seq: u64) -> PendingQuestion {
        let key = Key {
            delivery: delivery(seq),
            send: SendNumber::FIRST,
            ask: Ask::Execute,
        };
        let frame = Kind::Command(v1::Command::default());
        let asked = self.link.waiters.ask(key, frame, self.link.clock.now());
        asked.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Takes all that is to be written.
    fn written(&mut self) -> Vec<Kind> {
        let frames = std::iter::from_fn(|| self.source.next().now_or_never());
        frames.flatten().filter_map(|frame| frame.kind).collect()
    }

    async fn say(&mut self, kind: Kind) {
        let mut bytes = bytes::BytesMut::new();
        encode_frame(&v1::Frame { kind: Some(kind) }, &mut bytes);
        self.far.write_all(&bytes).await.unwrap();
    }

    /// Says that command `seq` is done.
    async fn answer(&mut self, seq: u64) {
        let done = v1::reply::Outcome::Done(v1::Done::default());
        self.say(Kind::Reply(v1::Reply {
            delivery: Some(delivery(seq).into()),
            send: 1,
            outcome: Some(done),
        }))
        .await;
    }

    /// The link rests: command 1 was answered after a long time, this very moment.
    async fn resting() -> Self {
        let mut ends = ends();
        let mut pending = ends.ask(1);
        advance(LONG).await;
        ends.answer(1).await;
        assert!(matches!(pending.next().await, Sign::Answer(_)));
        ends
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_and_an_answer_wait_no_longer_than_the_rest() {
    let mut ends = Ends::resting().await;
    let mut second = ends.ask(2);
    let start = ends.now();
    ends.say(Kind::Heartbeat(v1::Heartbeat {
        sequence: 7,
        received_bytes: 0,
    }))
    .await;
    ends.answer(2).await;
    assert!(matches!(second.next().await, Sign::Answer(_)));
    let waited = ends.now().saturating_since(start);
    assert!(waited >= REST_MAX, "it was read after {waited:?}");
    assert!(waited <= REST_MAX + TICK, "it was read after {waited:?}");
    let written = ends.written();
    let acknowledged = |kind: &Kind| {
        matches!(
            kind,
            Kind::HeartbeatAck(v1::HeartbeatAck { sequence: 7, .. })
        )
    };
    assert!(written.iter().any(acknowledged), "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_while_the_link_rests_is_seen_right_after() {
    let ends = Ends::resting().await;
    let start = ends.now();
    drop(ends.far);
    assert_eq!(ends.driver.await.unwrap(), LinkEnd::Ended);
    let waited = ends.link.clock.now().saturating_since(start);
    assert!(waited <= REST_MAX + TICK, "seen after {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_fails_ends_a_link_that_rests_at_once() {
    let mut ends = Ends::resting().await;
    let mut second = ends.ask(2);
    let start = ends.now();
    ends.written();
    ends.failure.send("reset".into()).unwrap();
    let died = Sign::LinkDied { maybe_sent: true };
    assert_eq!(second.next().await, died);
    assert_eq!(
        ends.driver.await.unwrap(),
        LinkEnd::Connection("reset".into())
    );
    let waited = ends.link.clock.now().saturating_since(start);
    assert_eq!(waited, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn quick_answers_are_read_at_once() {
    let mut ends = ends();
    let start = ends.now();
    for seq in 1..=20 {
        let mut pending = ends.ask(seq);
        ends.answer(seq).await;
        assert!(matches!(pending.next().await, Sign::Answer(_)));
    }
    assert_eq!(ends.now().saturating_since(start), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_gives_no_rest() {
    let mut ends = ends();
    let start = ends.now();
    let _first = ends.ask(1);
    advance(LONG).await;
    for sequence in 1..=20 {
        ends.say(Kind::Heartbeat(v1::Heartbeat {
            sequence,
            received_bytes: 0,
        }))
        .await;
        let mut acknowledged = false;
        while !acknowledged {
            let frame = ends.source.next().await.unwrap();
            acknowledged = matches!(frame.kind, Some(Kind::HeartbeatAck(_)));
        }
    }
    assert_eq!(ends.now().saturating_since(start), LONG);
}
