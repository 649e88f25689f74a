//! A link whose far side a test holds in its hands, without a network.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future::pending};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::driver::{Beat, Driver, LinkEnd, Outgoing};
use super::receive::Incoming;
use super::{Link, LinkParts};
use crate::bridge::waiters::{Ask, Key, PendingQuestion};
use crate::core::event::TransportKind;
use crate::core::{DeliveryId, Epoch, Origin, SendNumber, Seq, TaskId};
use crate::env::{BoxStream, Env, Mono};
use crate::wire::v1::{self, frame::Kind};
use crate::wire::{
    EndpointHello, FrameReader, FrameSource, InboxId, OutboxLimits, ReceivedCount, encode_frame,
    outbox,
};

/// Longer than an answer must take for its link to rest as long as it may.
pub(super) const LONG: Duration = Duration::from_secs(1);

/// A link and its far side.
pub(in crate::bridge) struct Ends {
    pub(in crate::bridge) link: Arc<Link>,
    pub(super) far: DuplexStream,
    pub(super) source: FrameSource,
    pub(super) driver: JoinHandle<LinkEnd>,
    /// What the writer fails with, once that is sent.
    pub(super) failure: oneshot::Sender<String>,
}

fn ends(tells_received: bool) -> Ends {
    let env = Env::real();
    let (sender, source) = outbox(OutboxLimits::for_peer(1 << 20, LONG));
    let hello = EndpointHello {
        software: "test".into(),
        frame_bytes_max: 1 << 20,
        body_bytes_max: 1 << 10,
        in_flight_max: 8,
        inbox_id: InboxId([1; 16]),
        heartbeat: LONG,
        tells_received,
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

pub(in crate::bridge) fn delivery(seq: u64) -> DeliveryId {
    DeliveryId {
        task: TaskId {
            seq: Seq(seq),
            origin: Origin(1),
        },
        epoch: Epoch::FIRST,
    }
}

impl Ends {
    pub(in crate::bridge) fn new() -> Self {
        ends(false)
    }

    /// The endpoint tells how far what is sent has come.
    pub(in crate::bridge) fn telling() -> Self {
        ends(true)
    }

    /// It has received so many bytes.
    pub(in crate::bridge) async fn tell(&mut self, received_bytes: u64) {
        let sequence = 0;
        self.say(Kind::HeartbeatAck(v1::HeartbeatAck {
            sequence,
            received_bytes,
        }))
        .await;
    }

    pub(in crate::bridge) fn now(&self) -> Mono {
        self.link.clock.now()
    }

    /// Sends command `seq`.
    pub(super) fn ask(&self, seq: u64) -> PendingQuestion {
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
    pub(in crate::bridge) fn written(&mut self) -> Vec<Kind> {
        let frames = std::iter::from_fn(|| self.source.next().now_or_never());
        frames.flatten().filter_map(|frame| frame.kind).collect()
    }

    pub(in crate::bridge) async fn say(&mut self, kind: Kind) {
        let mut bytes = bytes::BytesMut::new();
        encode_frame(&v1::Frame { kind: Some(kind) }, &mut bytes);
        self.far.write_all(&bytes).await.unwrap();
    }

    /// Says that command `seq` is done.
    pub(super) async fn answer(&mut self, seq: u64) {
        let done = v1::reply::Outcome::Done(v1::Done::default());
        self.say(Kind::Reply(v1::Reply {
            delivery: Some(delivery(seq).into()),
            send: 1,
            outcome: Some(done),
        }))
        .await;
    }
}
