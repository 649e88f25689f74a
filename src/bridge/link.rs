//! One live connection to a route's endpoint, over the socket or over gRPC.
//!
//! [`Link`] is the handle that deliveries share; the [`driver::Driver`] beside it reads, writes and
//! beats the heart until the link's end, and then tells every waiter. What travels is the same over
//! both transports; [`connect`] makes either.

mod connect;
mod driver;
mod grpc;
mod pace;
mod receive;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use super::counters::LinkCounters;
use super::waiters::{Ask, Key, NotAsked, PendingQuestion, Waiters};
use crate::core::event::TransportKind;
use crate::core::{DeliveryId, IdRange, SendNumber};
use crate::env::{Clock, Mono};
use crate::wire::v1::{self, frame::Kind};
use crate::wire::{EndpointHello, FrameSender, InboxId};

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
    /// The endpoint asked for nothing new, or this side closes.
    draining: AtomicBool,
    heart: Heart,
    counters: Arc<LinkCounters>,
    /// Told when the link stops taking commands.
    changed: Arc<Notify>,
    /// The same, for the keeper.
    drains: Notify,
}

/// Heartbeats sent and answered.
#[derive(Default)]
struct Heart {
    sent: AtomicU64,
    answered: AtomicU64,
    /// Told at each answer and at the link's end.
    beat: Notify,
    stopped: AtomicBool,
    /// Whether anything has arrived since the last beat.
    heard: AtomicBool,
}

impl Link {
    fn new(
        transport: TransportKind,
        hello: EndpointHello,
        sender: FrameSender,
        counters: Arc<LinkCounters>,
        changed: Arc<Notify>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        sender.set_frame_bytes_max(hello.frame_bytes_max);
        let in_flight_max = usize::try_from(hello.in_flight_max).unwrap_or(usize::MAX);
        Self {
            transport,
            waiters: Waiters::new(sender.clone(), in_flight_max),
            hello,
            sender,
            clock,
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

    /// Whether it has ended, and everybody who waits was told so.
    pub(super) fn is_dead(&self) -> bool {
        self.heart.stopped.load(Ordering::Acquire)
    }

    /// Waits until the outbox has room or is closed. Cancel safe.
    pub(super) async fn room(&self) {
        self.sender.room().await;
    }

    /// Waits until the endpoint accepts one more command or the link is dead. Cancel safe.
    pub(super) async fn window(&self) {
        self.waiters.room().await;
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
        Ok(pending)
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

    /// Waits until nothing new is taken and what was is answered, or the link is dead. Cancel safe.
    pub(super) async fn drained(&self) {
        loop {
            let mut drains = std::pin::pin!(self.drains.notified());
            drains.as_mut().enable();
            if self.draining.load(Ordering::Acquire) {
                break;
            }
            drains.await;
        }
        self.waiters.idle().await;
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

    /// Queues a heartbeat; its number, or `None` if the outbox is full or closed.
    fn beat(&self) -> Option<u64> {
        let sequence = self.heart.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let frame = Kind::Heartbeat(v1::Heartbeat { sequence });
        self.sender.try_send(frame).ok().map(|_ticket| sequence)
    }

    /// The link is dead and its writer gone.
    fn end(&self) {
        self.stop_accepting();
        self.sender.close();
        self.heart.stopped.store(true, Ordering::Release);
        self.heart.beat.notify_waiters();
        if !planted!(Bug::DeadLinkUntold) {
            self.waiters.end();
        }
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
