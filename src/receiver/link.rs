//! One link, over either transport: the first messages, then frames in and frames out until it ends.
//!
//! The loop never waits for a handler, a disk or the peer's reading: commands go to the engine, answers
//! come through the outbox. While the outbox is full it reads nothing, so that a peer that doesn't read
//! can't make the receiver hold more and more for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::sync::watch;
use tonic::Code;

use super::engine::{Engine, Phase, ProtocolViolation};
use super::inbox::LinkId;
use crate::env::{BoxFuture, Mono, timeout};
use crate::listening::{AcceptedConnection, Guest, Visitor};
use crate::said::said;
use crate::wire::v1::frame::Kind;
use crate::wire::{
    BridgeHello, EndpointHello, FrameError, FrameReader, FrameSender, HelloError, ReceivedCount,
    TELL_RECEIVED_BYTES, TELL_RECEIVED_EVERY, check_frame, frame_bytes_for, kind_name, v1,
};

/// How often a link looks for commands that have been worked on for long, for silence, and for its next
/// heartbeat: often enough that none of the intervals is missed by much.
const TICK: Duration = Duration::from_millis(100);

/// How long the far end may take to read why it was closed before the connection goes.
const LINGER: Duration = Duration::from_secs(1);

/// What a receiver calls itself.
const SOFTWARE: &str = concat!("leasebridge-receiver/", env!("CARGO_PKG_VERSION"));

/// Where frames come from.
pub(super) enum Input {
    Socket(FrameReader<ReadHalf<AcceptedConnection>>),
    Grpc(tonic::Streaming<v1::Frame>, ReceivedCount),
}

impl Input {
    /// The next frame. Cancel safe.
    async fn next(&mut self) -> Result<Option<Kind>, LinkEnd> {
        match self {
            Self::Socket(reader) => Ok(reader.next().await?),
            Self::Grpc(stream, _) => match stream.message().await {
                Ok(Some(frame)) => Ok(Some(check_frame(frame)?)),
                Ok(None) => Ok(None),
                // How tonic says that a message is too long or doesn't decode.
                Err(status) if matches!(status.code(), Code::OutOfRange | Code::Internal) => {
                    Err(ProtocolViolation::Message(status.message().to_owned()).into())
                }
                Err(status) => Err(FrameError::Io(std::io::Error::other(status)).into()),
            },
        }
    }

    /// The next frame if it is here already.
    fn next_buffered(&mut self) -> Result<Option<Kind>, FrameError> {
        match self {
            Self::Socket(reader) => reader.next_buffered(),
            Self::Grpc(..) => Ok(None),
        }
    }

    /// Counts what arrives, also in the middle of a frame.
    fn count(&self) -> &ReceivedCount {
        match self {
            Self::Socket(reader) => reader.count(),
            Self::Grpc(_, count) => count,
        }
    }

    fn set_frame_bytes_max(&mut self, frame_bytes_max: u32) {
        if let Self::Socket(reader) = self {
            reader.set_frame_bytes_max(frame_bytes_max);
        }
    }

    /// Takes and forgets what still comes, so that closing the connection doesn't reset it before the
    /// peer has read the last frame.
    async fn discard(&mut self) {
        match self {
            Self::Socket(reader) => {
                let mut scratch = [0; 4 << 10];
                while matches!(reader.get_mut().read(&mut scratch).await, Ok(1..)) {}
            }
            Self::Grpc(stream, _) => while matches!(stream.message().await, Ok(Some(_))) {},
        }
    }
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("the bridge ended it")]
    Ended,
    #[error("the bridge closed it: {0}")]
    Closed(String),
    #[error("nothing was heard for {0:?}")]
    Dead(Duration),
    #[error("no hello came within {0:?}")]
    NoHello(Duration),
    #[error("its writer gave up")]
    WriterGone,
    #[error("the bridge read nothing for {0:?}")]
    Stalled(Duration),
    #[error("the receiver stops")]
    Stopped,
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Violation(#[from] ProtocolViolation),
}

impl LinkEnd {
    /// The word under which it is counted, if the peer or the connection is to blame for it.
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::Hello(error) => Some(error.label()),
            // A connection that fails is no fault of what was said on it.
            Self::Frame(FrameError::Io(_)) => None,
            Self::Frame(error) => Some(error.label()),
            Self::Violation(ProtocolViolation::Unexpected(_)) => Some("unexpected"),
            Self::Violation(ProtocolViolation::Id(_)) => Some("bad_id"),
            Self::Violation(ProtocolViolation::EmptyRange(_)) => Some("bad_range"),
            Self::Violation(ProtocolViolation::Message(_)) => Some("message"),
            Self::Violation(ProtocolViolation::Tombstones(_)) => Some("tombstones"),
            Self::NoHello(_) => Some("no_hello"),
            _ => None,
        }
    }

    /// Whether the peer is told why.
    fn is_told(&self) -> bool {
        match self {
            Self::Frame(error) => error.is_violation(),
            Self::Hello(_) | Self::Violation(_) | Self::NoHello(_) | Self::Dead(_) => true,
            _ => false,
        }
    }
}

/// Serves one link to its end. Afterwards the outbox is closed: what waits in it is still written.
pub(super) async fn serve(
    engine: &Arc<Engine>,
    mut input: Input,
    sender: FrameSender,
    visitor: &Visitor,
    peer: &str,
) {
    let mut greeted = false;
    let end = match greet(engine, &mut input, &sender, visitor).await {
        Ok(hello) => {
            greeted = true;
            visitor.accept(Guest::Bridge);
            let mut link = GreetedLink::new(engine, &sender, input.count(), &hello);
            tracing::info!(
                peer,
                route = said(&hello.route),
                software = said(&hello.software),
                "link up"
            );
            link.run(&mut input).await
        }
        Err(end) => end,
    };
    let label = end.label();
    if let Some(label) = label {
        engine.counters.bad_frame(label);
    }
    if greeted && label.is_none() {
        tracing::info!(peer, reason = %end, "link closed");
    } else if let Some(unsaid) = engine.repeats.strangers.happened(engine.env.clock.now()) {
        // Anybody may connect and talk nonsense, as often as it likes.
        tracing::warn!(peer, reason = %end, unsaid, "link closed; its peer is no bridge, or breaks the protocol");
    }
    if end.is_told() {
        let reason = end.to_string();
        // The connection may be gone already.
        let _ = sender.force(Kind::Close(v1::Close { reason }));
    }
    sender.close();
    match end {
        LinkEnd::Dead(_) => engine.counters.links_dead.add(1),
        LinkEnd::WriterGone => {}
        // gRPC can't cut a stream whose reader gives it no room: at least nothing is held for it.
        LinkEnd::Stalled(_) => sender.abandon(),
        _ => {
            let _ = timeout(&*engine.env.clock, LINGER, input.discard()).await;
        }
    }
}

/// Exchanges the first messages.
async fn greet(
    engine: &Engine,
    input: &mut Input,
    sender: &FrameSender,
    visitor: &Visitor,
) -> Result<BridgeHello, LinkEnd> {
    let options = &engine.options;
    let deadline = match planted!(Bug::HelloNeverDue) {
        true => Duration::from_secs(3_600),
        false => options.hello_deadline,
    };
    let first = timeout(&*engine.env.clock, deadline, input.next())
        .await
        .map_err(|_| LinkEnd::NoHello(deadline))??
        .ok_or(LinkEnd::Ended)?;
    let hello = BridgeHello::from_kind(first)?;
    if !options.credentials.is_empty() {
        visitor.touch();
        let clock = &*engine.env.clock;
        engine.guesses.wait(clock, visitor.peer()).await;
        hello.knows(&options.credentials).inspect_err(|_| {
            engine.counters.wrong_secrets.add(1);
            engine.guesses.wrong(visitor.peer(), clock.now());
        })?;
    }
    let frame_bytes_max = frame_bytes_for(options.body_bytes_max);
    input.set_frame_bytes_max(frame_bytes_max);
    sender.set_frame_bytes_max(hello.frame_bytes_max);
    let answer = EndpointHello {
        software: SOFTWARE.to_owned(),
        frame_bytes_max,
        body_bytes_max: options.body_bytes_max,
        in_flight_max: options.in_flight_max,
        inbox_id: engine.inbox_id,
        heartbeat: options.heartbeat,
        tells_received: true,
    };
    let sent = sender.force(answer.to_kind());
    sent.map_err(|_| LinkEnd::WriterGone)?;
    if hello.tells_received {
        sender.is_told();
    }
    Ok(hello)
}

/// The state of a link after the first messages.
struct GreetedLink<'a> {
    engine: &'a Arc<Engine>,
    sender: &'a FrameSender,
    id: LinkId,
    phase: watch::Receiver<Phase>,
    renewals: watch::Receiver<u64>,
    heard: Mono,
    received: ReceivedCount,
    /// How much of it was there when something was last heard: bytes are a sign of life in the middle of a frame, too.
    received_seen: u64,
    /// How much the bridge was told to have arrived, and when, if it wants to know.
    told: Option<(u64, Mono)>,
    /// How far the outbox had come, and when that was seen to change.
    written: (u64, Mono),
    next_heartbeat: Mono,
    heartbeats: u64,
    told_drain: bool,
}

/// What a turn of the loop waits for.
enum Turn {
    Frame(Result<Option<Kind>, LinkEnd>),
    Room,
    Tick,
    Phase,
    Renewal,
    WriterGone,
}

/// However it ends: nobody may take it for one that lives.
impl Drop for GreetedLink<'_> {
    fn drop(&mut self) {
        self.engine.remove_link(self.id);
    }
}

impl<'a> GreetedLink<'a> {
    fn new(
        engine: &'a Arc<Engine>,
        sender: &'a FrameSender,
        received: &ReceivedCount,
        hello: &BridgeHello,
    ) -> Self {
        let now = engine.env.clock.now();
        Self {
            engine,
            sender,
            id: engine.add_link(sender.clone()),
            phase: engine.phase.subscribe(),
            renewals: engine.renewals.subscribe(),
            heard: now,
            received: received.clone(),
            received_seen: 0,
            told: hello.tells_received.then_some((0, now)),
            written: (0, now),
            next_heartbeat: now.saturating_add(engine.options.heartbeat),
            heartbeats: 0,
            told_drain: false,
        }
    }

    async fn run(&mut self, input: &mut Input) -> LinkEnd {
        let clock = Arc::clone(&self.engine.env.clock);
        let mut tick = clock.sleep(TICK);
        loop {
            if let Err(end) = self.look_at_phase() {
                return end;
            }
            let turn = self.turn(input, &mut tick).await;
            let done = match turn {
                Turn::Frame(Ok(Some(kind))) => self.take_all(kind, input),
                Turn::Frame(Ok(None)) => Err(LinkEnd::Ended),
                Turn::Frame(Err(end)) => Err(end),
                Turn::WriterGone => Err(LinkEnd::WriterGone),
                Turn::Tick => {
                    tick = clock.sleep(TICK);
                    self.on_tick(clock.now())
                }
                Turn::Room => {
                    self.heard = clock.now();
                    Ok(())
                }
                Turn::Renewal => self.tell_drain("the receiver renews its links"),
                Turn::Phase => Ok(()),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn turn(&mut self, input: &mut Input, tick: &mut BoxFuture<'static, ()>) -> Turn {
        let reading = self.sender.has_room();
        tokio::select! {
            biased;
            changed = self.phase.changed() => match changed {
                Ok(()) => Turn::Phase,
                Err(_) => Turn::WriterGone,
            },
            // Never an error: the engine holds the sender.
            _ = self.renewals.changed() => Turn::Renewal,
            () = &mut *tick => Turn::Tick,
            () = self.sender.writer_gone() => Turn::WriterGone,
            frame = input.next(), if reading => Turn::Frame(frame),
            () = self.sender.room(), if !reading => Turn::Room,
        }
    }

    /// Takes a frame and those that arrived with it.
    fn take_all(&mut self, kind: Kind, input: &mut Input) -> Result<(), LinkEnd> {
        self.heard = self.engine.env.clock.now();
        self.take(kind)?;
        while self.sender.has_room()
            && let Some(kind) = input.next_buffered()?
        {
            self.take(kind)?;
        }
        self.tell_received(self.heard)
    }

    fn take(&mut self, kind: Kind) -> Result<(), LinkEnd> {
        match kind {
            Kind::Command(command) => self.engine.on_command(self.id, command)?,
            Kind::Rollback(rollback) => self.engine.on_rollback(self.id, rollback)?,
            Kind::Settled(settled) => self.engine.on_settled(settled)?,
            Kind::Heartbeat(heartbeat) => {
                self.sender.received(heartbeat.received_bytes, self.heard);
                let acknowledged = Kind::HeartbeatAck(v1::HeartbeatAck {
                    sequence: heartbeat.sequence,
                    received_bytes: self.telling(self.heard),
                });
                let sent = self.sender.force(acknowledged);
                sent.map_err(|_| LinkEnd::WriterGone)?;
            }
            Kind::HeartbeatAck(ack) => self.sender.received(ack.received_bytes, self.heard),
            // The bridge sends nothing new; what it sent is answered, and it ends the link.
            Kind::Drain(_) => {}
            Kind::Close(v1::Close { reason }) => return Err(LinkEnd::Closed(said(&reason))),
            unexpected @ (Kind::Hello(_)
            | Kind::Working(_)
            | Kind::Reply(_)
            | Kind::RollbackReply(_)) => {
                return Err(ProtocolViolation::Unexpected(kind_name(&unexpected)).into());
            }
        }
        Ok(())
    }

    fn on_tick(&mut self, now: Mono) -> Result<(), LinkEnd> {
        let options = &self.engine.options;
        let progress = self.sender.progress();
        if self.sender.has_room() || progress != self.written.0 {
            self.written = (progress, now);
        } else if now.saturating_since(self.written.1) >= options.write_deadline {
            return Err(LinkEnd::Stalled(options.write_deadline));
        }
        let silence_max = options.heartbeat.saturating_mul(options.heartbeat_misses);
        let received = self.received.bytes();
        if std::mem::replace(&mut self.received_seen, received) != received {
            self.heard = now;
        }
        if !self.sender.has_room() {
            // Not reading is our own choice: it is not held against the peer.
            self.heard = now;
        } else if now.saturating_since(self.heard) >= silence_max {
            return Err(LinkEnd::Dead(silence_max));
        }
        if now >= self.next_heartbeat {
            self.beat(now)?;
        } else {
            self.tell_received(now)?;
        }
        self.engine.turn_away(now);
        let received = self.told.map_or(0, |_| self.received.bytes());
        let told = self.engine.tell_working(self.id, now, received);
        // What nobody was told is still to be told.
        if told || planted!(Bug::ReceivedToldToNobody) {
            self.told = self.told.map(|_| (received, now));
        }
        Ok(())
    }

    fn beat(&mut self, now: Mono) -> Result<(), LinkEnd> {
        self.next_heartbeat = now.saturating_add(self.engine.options.heartbeat);
        self.heartbeats = self.heartbeats.saturating_add(1);
        let heartbeat = Kind::Heartbeat(v1::Heartbeat {
            sequence: self.heartbeats,
            received_bytes: self.telling(now),
        });
        let sent = self.sender.force(heartbeat);
        sent.map(drop).map_err(|_| LinkEnd::WriterGone)
    }

    /// How much has arrived, for a frame that tells it; zero if the bridge doesn't want to know.
    fn telling(&mut self, now: Mono) -> u64 {
        let Some(told) = &mut self.told else {
            return 0;
        };
        *told = (self.received.bytes(), now);
        told.0
    }

    /// Tells how much has arrived if there is much to tell, or the last time is a while ago.
    fn tell_received(&mut self, now: Mono) -> Result<(), LinkEnd> {
        let Some((told, at)) = self.told else {
            return Ok(());
        };
        let untold = self.received.bytes().saturating_sub(told);
        let is_late = now.saturating_since(at) >= TELL_RECEIVED_EVERY;
        if untold >= TELL_RECEIVED_BYTES || (untold > 0 && is_late) {
            self.beat(now)?;
        }
        Ok(())
    }

    fn look_at_phase(&mut self) -> Result<(), LinkEnd> {
        let phase = *self.phase.borrow_and_update();
        match phase {
            Phase::Running => Ok(()),
            Phase::Stopped => Err(LinkEnd::Stopped),
            Phase::Draining => self.tell_drain("the receiver shuts down"),
        }
    }

    /// Asks for nothing new on this link. Once is enough.
    fn tell_drain(&mut self, reason: &str) -> Result<(), LinkEnd> {
        if std::mem::replace(&mut self.told_drain, true) {
            return Ok(());
        }
        let reason = reason.to_owned();
        let sent = self.sender.force(Kind::Drain(v1::Drain { reason }));
        sent.map(drop).map_err(|_| LinkEnd::WriterGone)
    }
}
