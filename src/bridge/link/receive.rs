//! What arrives on a link, and what each frame means.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Link;
use crate::bridge::limits::{FRAMES_PER_BATCH_MAX, REASON_BYTES_MAX};
use crate::bridge::result::TaskResult;
use crate::bridge::waiters::{Ask, KeptAnswer, Key, Receipt, Receiving, RollbackState};
use crate::core::{DeliveryId, SendNumber};
use crate::coverage::{Site, reached};
use crate::said::said;
use crate::wire::v1::{self, frame::Kind, rollback_reply::State};
use crate::wire::{
    self, FrameError, FrameReader, IdError, ReceivedCount, check_frame, delivery_and_send,
    kind_name,
};
use tokio::io::ReadHalf;

use super::driver::LinkEnd;
use super::grpc::GrpcFrames;
use super::pace::rest;
use crate::env::BoxStream;

/// The receiving half of a connection.
pub(super) enum Incoming {
    Socket(FrameReader<ReadHalf<BoxStream>>),
    Grpc(Box<GrpcFrames>),
}

impl Incoming {
    /// Counts what arrives, also in the middle of a frame.
    pub(super) fn count(&self) -> &ReceivedCount {
        match self {
            Self::Socket(reader) => reader.count(),
            Self::Grpc(frames) => frames.count(),
        }
    }

    /// The next frame; `None` at a clean end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Kind>, LinkEnd> {
        match self {
            Self::Socket(reader) => Ok(reader.next().await?),
            Self::Grpc(frames) => match frames.next().await? {
                Some(frame) => Ok(Some(check_frame(frame)?)),
                None => Ok(None),
            },
        }
    }

    /// The next frame if it has already arrived.
    fn next_buffered(&mut self) -> Result<Option<Kind>, LinkEnd> {
        match self {
            Self::Socket(reader) => Ok(reader.next_buffered()?),
            Self::Grpc(frames) => match frames.next_buffered()? {
                Some(frame) => Ok(Some(check_frame(frame)?)),
                None => Ok(None),
            },
        }
    }
}

/// A frame that an endpoint may not send, or not so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::bridge) enum ProtocolViolation {
    /// A frame that only a bridge sends, or a second `Hello`.
    #[error("an endpoint may not send `{0}` here")]
    Kind(&'static str),
    /// It names no delivery.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A reply without an outcome.
    #[error("a reply to {0} without an outcome")]
    NoOutcome(DeliveryId),
    /// A rollback reply without a state.
    #[error("a rollback reply to {0} without a state")]
    NoState(DeliveryId),
}

/// Reads until the link's end. What a busy endpoint answers is left to gather for a moment: see [`super::pace`].
pub(super) async fn read(link: &Link, incoming: &mut Incoming) -> LinkEnd {
    let mut batch = Vec::new();
    loop {
        match incoming.next().await {
            Ok(Some(kind)) => batch.push(kind),
            Ok(None) => return LinkEnd::Ended,
            Err(death) => return death,
        }
        let outcome = gather(incoming, &mut batch);
        link.arrived_whole();
        let frames = batch.len();
        let received = receive_batch(link, &mut batch);
        match received.and_then(|quickest| outcome.map(|()| quickest)) {
            Ok(quickest) => {
                if let Some(rest) = rest(frames, quickest) {
                    link.clock.sleep(rest).await;
                }
            }
            Err(death) => return death,
        }
    }
}

/// Adds what else has arrived already.
fn gather(incoming: &mut Incoming, batch: &mut Vec<Kind>) -> Result<(), LinkEnd> {
    while batch.len() < FRAMES_PER_BATCH_MAX
        && let Some(kind) = incoming.next_buffered()?
    {
        batch.push(kind);
    }
    Ok(())
}

/// Handles what arrived together under one lock of the waiters. How long the quickest answer took, if there
/// was one.
fn receive_batch(link: &Link, batch: &mut Vec<Kind>) -> Result<Option<Duration>, LinkEnd> {
    let mut receiving = link.waiters.receive(link.clock.now());
    for kind in batch.drain(..) {
        receive(link, &mut receiving, kind)?;
    }
    Ok(receiving.quickest())
}

fn receive(link: &Link, receiving: &mut Receiving<'_>, kind: Kind) -> Result<(), LinkEnd> {
    match kind {
        Kind::Working(working) => {
            let (delivery, send) = ids(working.delivery, working.send)?;
            receiving.received(working.received_bytes);
            let ask = Ask::Execute;
            // One for a send that was answered meanwhile is no news.
            receiving.working(Key {
                delivery,
                send,
                ask,
            });
        }
        Kind::Reply(reply) => {
            let (delivery, send) = ids(reply.delivery, reply.send)?;
            let outcome = reply
                .outcome
                .ok_or(ProtocolViolation::NoOutcome(delivery))?;
            let ask = Ask::Execute;
            let key = Key {
                delivery,
                send,
                ask,
            };
            count(link, receiving.answer(key, kept(outcome.into())));
        }
        Kind::RollbackReply(reply) => receive_rollback(link, receiving, reply)?,
        Kind::Heartbeat(heartbeat) => {
            receiving.received(heartbeat.received_bytes);
            let sequence = heartbeat.sequence;
            let received_bytes = link.received_bytes();
            // With an outbox full of such, those are sign enough.
            let _ = link.sender.try_send(Kind::HeartbeatAck(v1::HeartbeatAck {
                sequence,
                received_bytes,
            }));
        }
        Kind::HeartbeatAck(ack) => {
            let sent = link.heart.sent.load(Ordering::Relaxed);
            let answered = ack.sequence.min(sent);
            receiving.received(ack.received_bytes);
            if let Some(ticket) = link.probes().acknowledged(answered) {
                receiving.shown(ticket);
            }
            link.came_so_far(ack.sequence);
            link.heart.answered.fetch_max(answered, Ordering::AcqRel);
            link.heart.beat.notify_waiters();
        }
        Kind::Drain(drain) => {
            tracing::info!(
                transport = link.transport.as_str(),
                reason = said(&drain.reason),
                "the endpoint drains"
            );
            reached!(Site::EndpointDrained);
            link.stop_accepting();
            receiving.stop_taking();
        }
        Kind::Close(close) => return Err(LinkEnd::ClosedByEndpoint(said(&close.reason))),
        Kind::Hello(_) | Kind::Command(_) | Kind::Rollback(_) | Kind::Settled(_) => {
            return Err(ProtocolViolation::Kind(kind_name(&kind)).into());
        }
    }
    Ok(())
}

fn receive_rollback(
    link: &Link,
    receiving: &mut Receiving<'_>,
    reply: v1::RollbackReply,
) -> Result<(), LinkEnd> {
    let (delivery, send) = ids(reply.delivery, reply.send)?;
    let state = match reply.state() {
        State::RolledBack => RollbackState::RolledBack,
        State::Unknown => RollbackState::Unknown,
        State::InProgress => RollbackState::InProgress,
        State::AlreadyDone => RollbackState::AlreadyDone(TaskResult::keep(reply.result)),
        State::Unspecified => return Err(ProtocolViolation::NoState(delivery).into()),
    };
    let key = |ask| Key {
        delivery,
        send,
        ask,
    };
    let runs = state == RollbackState::InProgress;
    let receipt = receiving.answer(key(Ask::RollBack), KeptAnswer::RolledBack(state));
    if receipt == Receipt::Unknown {
        // A rollback's waiter leaves nothing behind, so that a late answer looks the same.
        link.counters.late_replies.increment();
    }
    if !runs {
        receiving.forget(key(Ask::Execute));
    }
    Ok(())
}

fn ids(
    delivery: Option<v1::DeliveryId>,
    send: u32,
) -> Result<(DeliveryId, SendNumber), ProtocolViolation> {
    Ok(delivery_and_send(delivery, send)?)
}

fn count(link: &Link, receipt: Receipt) {
    let counters = &link.counters;
    match receipt {
        Receipt::Awaited => counters.replies.increment(),
        Receipt::Late => {
            counters.late_replies.increment();
            reached!(Site::LateReply);
        }
        Receipt::Unknown => {
            counters.unknown_replies.increment();
            reached!(Site::UnknownReply);
        }
    }
}

/// What is worth keeping of an answer.
fn kept(answer: wire::EndpointAnswer) -> KeptAnswer {
    match answer {
        wire::EndpointAnswer::Ended(outcome) => KeptAnswer::Ended(
            outcome
                .map(TaskResult::keep)
                .map_err(|error| error.capped(REASON_BYTES_MAX)),
        ),
        wire::EndpointAnswer::Stale { current_epoch } => KeptAnswer::Stale { current_epoch },
    }
}

impl From<ProtocolViolation> for LinkEnd {
    fn from(violation: ProtocolViolation) -> Self {
        Self::Violation(violation.to_string())
    }
}

impl From<FrameError> for LinkEnd {
    fn from(error: FrameError) -> Self {
        if error.is_violation() {
            Self::Violation(error.to_string())
        } else {
            Self::Connection(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
