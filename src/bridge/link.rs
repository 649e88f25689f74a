//! One live connection to a route's endpoint, over the socket or over gRPC.
//!
//! [`Link`] is the handle that deliveries share; the [`driver::Driver`] beside it reads, writes and
//! beats the heart until the link's end, and then tells every waiter. What travels is the same over
//! both transports; [`connect`] makes either.

mod connect;
mod driver;
#[cfg(test)]
pub(super) mod ends;
mod grpc;
mod pace;
mod receive;
mod tallied;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::counters::LinkCounters;
use super::limits::{HOLD_PARTS, PROBE_BYTES, PROBES_MAX, WINDOW_BYTES_UNTOLD_MAX};
use super::waiters::{Ask, Key, NotAsked, PendingQuestion, RoomTurn, Waiters, WindowLimits};
use crate::core::event::TransportKind;
use crate::core::{DeliveryId, IdRange, SendNumber, TaskId};
use crate::env::{Clock, Mono};
use crate::wire::v1::{self, frame::Kind};
use crate::wire::{EndpointHello, FrameSender, InboxId, ReceivedCount, Ticket};

pub(super) use connect::Connector;
pub(super) use driver::{Driver, LinkEnd};

/// What of a command goes over the wire beside its delivery and send.
#[derive(Clone, Debug)]
pub(super) struct Outbound {
    pub(super) route: String,
    pub(super) headers: Vec<v1::Header>,
    pub(super) body: Bytes,
    pub(super) key: String,
    /// Until the command's own deadline; zero if it has none.
    pub(super) expires_in_ms: u64,
}

/// See the module's description.
pub(super) struct Link {
    transport: TransportKind,
    hello: EndpointHello,
    sender: FrameSender,
    waiters: Arc<Waiters>,
    clock: Arc<dyn Clock>,
    received: ReceivedCount,
    whole: Mutex<WholeFrames>,
    /// The endpoint asked for nothing new, or this side closes.
    draining: AtomicBool,
    heart: Heart,
    counters: Arc<LinkCounters>,
    /// Told when the link stops taking commands.
    changed: Arc<Notify>,
    /// The same, for the keeper.
    drains: Notify,
}

/// Up to where what arrived was whole frames, and when that was.
#[derive(Clone, Copy, Debug)]
struct WholeFrames {
    bytes: u64,
    at: Mono,
}

/// What a link is made of once both sides have said hello.
struct LinkParts {
    transport: TransportKind,
    hello: EndpointHello,
    sender: FrameSender,
    received: ReceivedCount,
    /// Bytes of commands that may be on their way.
    window_bytes: usize,
    /// How long a lease may be held, from its grant on.
    max_hold: Duration,
}

/// Heartbeats sent and answered.
#[derive(Default)]
struct Heart {
    sent: AtomicU64,
    answered: AtomicU64,
    /// Told at each answer and at the link's end.
    beat: Notify,
    stopped: AtomicBool,
    probes: Mutex<HeartbeatProbes>,
    /// The heartbeat that somebody waits for who wants to know that what left before it has arrived, if any.
    behind: watch::Sender<HeartbeatBehind>,
}

impl Heart {
    /// The number of the next heartbeat.
    fn next(&self) -> u64 {
        let before = self.sent.fetch_add(1, Ordering::Relaxed);
        before.saturating_add(1)
    }
}

/// How far it is with a heartbeat that stands behind other frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum HeartbeatBehind {
    #[default]
    Nobody,
    /// It has this number.
    Asked(u64),
    Answered,
    /// The link has ended.
    Never,
}

/// Heartbeats in the outbox: whoever acknowledges one has received what left before it.
#[derive(Default)]
struct HeartbeatProbes {
    waiting: VecDeque<(u64, Ticket)>,
    /// Bytes of commands queued since the last one that was queued behind them.
    bytes_since: usize,
}

impl Link {
    fn new(
        parts: LinkParts,
        counters: Arc<LinkCounters>,
        changed: Arc<Notify>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let LinkParts {
            transport,
            hello,
            sender,
            received,
            window_bytes,
            max_hold,
        } = parts;
        sender.set_frame_bytes_max(hello.frame_bytes_max);
        let bytes = match hello.tells_received {
            true => {
                sender.is_told();
                window_bytes
            }
            false => window_bytes.min(WINDOW_BYTES_UNTOLD_MAX),
        };
        let commands = usize::try_from(hello.in_flight_max).unwrap_or(usize::MAX);
        let limits = WindowLimits {
            commands,
            bytes,
            span: max_hold.checked_div(HOLD_PARTS).unwrap_or_default(),
        };
        let whole = WholeFrames {
            bytes: received.bytes(),
            at: clock.now(),
        };
        Self {
            transport,
            waiters: Waiters::new(sender.clone(), limits),
            hello,
            sender,
            clock,
            received,
            whole: Mutex::new(whole),
            draining: AtomicBool::new(false),
            heart: Heart::default(),
            counters,
            changed,
            drains: Notify::new(),
        }
    }

    pub(super) fn transport(&self) -> TransportKind {
        self.transport
    }

    pub(super) fn inbox_id(&self) -> InboxId {
        self.hello.inbox_id
    }

    pub(super) fn hello(&self) -> &EndpointHello {
        &self.hello
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Sends without an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.waiters.in_flight()
    }

    /// Whether it takes new commands.
    pub(super) fn is_accepting(&self) -> bool {
        !self.draining.load(Ordering::Acquire) && !self.sender.is_closed()
    }

    /// Whether it takes nothing new and is not closed: what it has is still finished.
    pub(super) fn is_leaving(&self) -> bool {
        self.draining.load(Ordering::Acquire) && !self.sender.is_closed()
    }

    /// Whether a send of the task has no answer yet.
    pub(super) fn has_unanswered(&self, task: TaskId) -> bool {
        self.waiters.has_unanswered(task)
    }

    /// Takes up a send of the task that nobody listens to any more, if one has no answer yet.
    pub(super) fn take_up(&self, task: TaskId) -> Option<PendingQuestion> {
        self.waiters.take_up(task)
    }

    /// Whether it has ended, and everybody who waits was told so.
    pub(super) fn is_dead(&self) -> bool {
        self.heart.stopped.load(Ordering::Acquire)
    }

    /// Waits until the outbox has room for a command of so many bytes, nobody else waits to send one, and they may be on
    /// their way, or the link is closed. Cancel safe.
    pub(super) async fn room(&self, bytes: usize) {
        self.sender.room().await;
        self.waiters.byte_room(bytes).await;
    }

    /// Waits, behind those that wait already, until one more command of so many bytes may be sent or the link is dead.
    /// Cancel safe, but for the place among those that wait.
    pub(super) async fn window(&self, bytes: usize) -> RoomTurn<'_> {
        self.waiters.room(bytes).await
    }

    /// Whether one more command of so many bytes may be sent now by somebody who has not waited.
    ///
    /// # Errors
    /// [`NotAsked`]: what is full, or that others wait.
    pub(super) fn has_window(&self, bytes: usize) -> Result<(), NotAsked> {
        self.waiters.has_room(bytes)
    }

    /// How long it takes until a command of so many bytes has arrived that is sent now, as far as is known.
    pub(super) fn arrives_in(&self, bytes: usize) -> Option<Duration> {
        self.sender.arrives_in(bytes)
    }

    /// How many bytes of commands may be on their way.
    pub(super) fn byte_window(&self) -> usize {
        self.waiters.byte_window()
    }

    /// How many bytes of commands more may be on their way.
    pub(super) fn byte_room_left(&self) -> usize {
        self.waiters.byte_room_left()
    }

    /// When a frame was seen to have left, as far as can be known.
    pub(super) fn left_at(&self, ticket: Ticket) -> Option<Mono> {
        self.sender.left_at(ticket)
    }

    /// When what is sent was last seen to go on.
    pub(super) fn went_on_at(&self) -> Option<Mono> {
        self.sender.went_on_at()
    }

    /// How many bytes have arrived, if they end in the middle of a frame that began by `due`.
    pub(super) fn arriving_since_before(&self, due: Mono) -> Option<u64> {
        let bytes = self.received.bytes();
        let whole = *self.whole();
        (bytes > whole.bytes && whole.at <= due).then_some(bytes)
    }

    /// All that has arrived was whole frames.
    fn arrived_whole(&self) {
        let bytes = self.received.bytes();
        let at = self.clock.now();
        *self.whole() = WholeFrames { bytes, at };
    }

    fn whole(&self) -> MutexGuard<'_, WholeFrames> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn probes(&self) -> MutexGuard<'_, HeartbeatProbes> {
        let probes = self.heart.probes.lock();
        probes.unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a command. `now` is what its answer's time is counted from.
    ///
    /// # Errors
    /// [`NotAsked`]; definite.
    pub(super) fn execute(
        &self,
        delivery: DeliveryId,
        send: SendNumber,
        command: Outbound,
        now: Mono,
    ) -> Result<PendingQuestion, NotAsked> {
        let key = Key {
            delivery,
            send,
            ask: Ask::Execute,
        };
        let bytes = command.body.len();
        let frame = Kind::Command(v1::Command {
            delivery: Some(delivery.into()),
            send: send.get(),
            route: command.route,
            headers: command.headers,
            body: command.body,
            key: command.key,
            expires_in_ms: command.expires_in_ms,
        });
        let pending = self.waiters.ask(key, frame, now)?;
        self.counters.sends.increment();
        if !self.hello.tells_received {
            self.probe_behind(bytes);
        }
        Ok(pending)
    }

    /// A command of so many bytes was queued for an endpoint that doesn't tell what it has received: now and then a
    /// heartbeat follows, whose acknowledgement tells it.
    fn probe_behind(&self, bytes: usize) {
        let mut probes = self.probes();
        probes.bytes_since = probes.bytes_since.saturating_add(bytes);
        if probes.bytes_since < PROBE_BYTES {
            return;
        }
        probes.bytes_since = 0;
        let sequence = self.heart.next();
        if let Ok(ticket) = self.sender.force_behind(self.heartbeat(sequence)) {
            probes.note(sequence, ticket);
        }
    }

    /// Asks to forget one send.
    ///
    /// # Errors
    /// [`NotAsked`]; definite.
    pub(super) fn roll_back(
        &self,
        delivery: DeliveryId,
        send: SendNumber,
    ) -> Result<PendingQuestion, NotAsked> {
        let key = Key {
            delivery,
            send,
            ask: Ask::RollBack,
        };
        let frame = Kind::Rollback(v1::Rollback {
            delivery: Some(delivery.into()),
            send: send.get(),
        });
        let pending = self.waiters.ask(key, frame, self.clock.now())?;
        self.counters.rollbacks.increment();
        Ok(pending)
    }

    /// Tells the endpoint which tasks have left the queue. `false` if the link is closed.
    pub(super) fn announce(&self, ranges: &[IdRange]) -> bool {
        let ranges = ranges.iter().map(|range| (*range).into()).collect();
        self.sender
            .force(Kind::Settled(v1::Settled { ranges }))
            .is_ok()
    }

    /// Sends a heartbeat behind what is queued and waits until that very one is acknowledged: then the endpoint has read
    /// what was sent before. `false` if the link ends, which it does if the endpoint is silent. For one caller at a time.
    /// Cancel safe.
    pub(super) async fn has_come_so_far(&self) -> bool {
        let mut answer = self.heart.behind.subscribe();
        {
            // Noted before it leaves: its answer may be quick.
            let sequence = self.heart.next();
            let asked = self.heart.behind.send_if_modified(|state| {
                let alive = *state != HeartbeatBehind::Never;
                if alive {
                    *state = HeartbeatBehind::Asked(sequence);
                }
                alive
            });
            if !asked || self.sender.force_behind(self.heartbeat(sequence)).is_err() {
                return false;
            }
        }
        let over = |state: &HeartbeatBehind| !matches!(state, HeartbeatBehind::Asked(_));
        let answered = answer.wait_for(over).await;
        answered.is_ok_and(|state| *state == HeartbeatBehind::Answered)
    }

    /// A heartbeat was acknowledged, which may be the one that stands behind other frames.
    fn came_so_far(&self, sequence: u64) {
        self.heart.behind.send_if_modified(|state| {
            let this = *state == HeartbeatBehind::Asked(sequence);
            if this {
                *state = HeartbeatBehind::Answered;
            }
            this
        });
    }

    /// Sends a heartbeat and waits for its answer or the link's end; `true` if it was answered. Give
    /// it a deadline. Cancel safe.
    pub(super) async fn ping(&self) -> bool {
        let Some(sequence) = self.beat() else {
            return false;
        };
        loop {
            let mut beat = std::pin::pin!(self.heart.beat.notified());
            beat.as_mut().enable();
            if self.heart.answered.load(Ordering::Acquire) >= sequence {
                return true;
            }
            if self.heart.stopped.load(Ordering::Acquire) {
                return false;
            }
            beat.await;
        }
    }

    /// Waits until nothing new is taken. Cancel safe.
    pub(super) async fn leaves(&self) {
        loop {
            let mut drains = std::pin::pin!(self.drains.notified());
            drains.as_mut().enable();
            if self.draining.load(Ordering::Acquire) {
                return;
            }
            drains.await;
        }
    }

    /// Waits until nothing new is taken and what was is answered, or the link is dead. Cancel safe.
    pub(super) async fn drained(&self) {
        self.leaves().await;
        self.waiters.idle().await;
    }

    /// The endpoint wants nothing new: what has not left yet is taken back.
    fn leave(&self) {
        self.stop_accepting();
        self.waiters.stop_taking();
    }

    /// From here on nothing new is taken.
    fn stop_accepting(&self) {
        self.draining.store(true, Ordering::Release);
        self.drains.notify_waiters();
        self.changed.notify_one();
    }

    /// Says goodbye; what waits is still written, then the connection ends.
    pub(super) fn close(&self, reason: &str) {
        self.stop_accepting();
        let reason = reason.to_owned();
        // If it is closed already there is nobody to say it to.
        let _ = self.sender.force(Kind::Drain(v1::Drain { reason }));
        self.sender.close();
    }

    /// Queues a heartbeat; its number, or `None` if the outbox is full of such or closed.
    fn beat(&self) -> Option<u64> {
        let mut probes = self.probes();
        let sequence = self.heart.next();
        let ticket = self.sender.try_send(self.heartbeat(sequence)).ok()?;
        probes.note(sequence, ticket);
        Some(sequence)
    }

    fn heartbeat(&self, sequence: u64) -> Kind {
        let received_bytes = self.received_bytes();
        Kind::Heartbeat(v1::Heartbeat {
            sequence,
            received_bytes,
        })
    }

    /// What the endpoint is told to have arrived; zero if it doesn't want to know.
    fn received_bytes(&self) -> u64 {
        match self.hello.tells_received {
            true => self.received.bytes(),
            false => 0,
        }
    }

    /// The link is dead and its writer gone.
    fn end(&self) {
        self.stop_accepting();
        self.sender.close();
        self.heart.stopped.store(true, Ordering::Release);
        self.heart.beat.notify_waiters();
        self.heart.behind.send_replace(HeartbeatBehind::Never);
        if !planted!(Bug::DeadLinkUntold) {
            self.waiters.end();
        }
    }
}

impl HeartbeatProbes {
    fn note(&mut self, sequence: u64, ticket: Ticket) {
        self.waiting.push_back((sequence, ticket));
        if self.waiting.len() > PROBES_MAX {
            self.waiting.pop_front();
        }
    }

    /// The heartbeat with this number was acknowledged; where it stood in the outbox, if that is remembered. Numbers
    /// aren't acknowledged in their order: one may have overtaken what another stood behind.
    fn acknowledged(&mut self, sequence: u64) -> Option<Ticket> {
        let mut waiting = self.waiting.iter();
        let index = waiting.position(|(number, _)| *number == sequence)?;
        self.waiting.remove(index).map(|(_, ticket)| ticket)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("transport", &self.transport)
            .field("endpoint", &self.hello.software)
            .field("in_flight", &self.in_flight())
            .field("accepting", &self.is_accepting())
            .finish_non_exhaustive()
    }
}
