//! What a misbehaving peer, or a proxy that answers pings, does to a single frame.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use leasebridge::core::DeliveryId;
use leasebridge::wire::v1::{self, frame::Kind};
use leasebridge::wire::{FrameDecoder, delivery_and_send, encode_frame};

use super::tap::FrameAction;
use crate::plan::{FaultId, Micros, PeerFault};

/// Type and flag of HTTP/2's ping, and the bytes it always carries.
const HTTP2_PING: u8 = 6;
const HTTP2_ACK: u8 = 1;
const HTTP2_PING_BODY_BYTES: usize = 8;
const HTTP2_HEAD_BYTES: usize = 9;

/// Far beyond the tasks and leases of any run: what it is added to names nothing that exists.
const ELSEWHERE: u32 = 1 << 30;

/// What one fault does to the frames of one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    DropReplies,
    DoubleReplies,
    DelayReplies(Duration),
    MisnameReplies,
    GarbleReplies,
    DropCommands,
    DelayCommands(Duration),
    DropHeartbeats,
    /// Changes nothing; notes what the endpoint answers to rollbacks.
    NoteRollbacks,
    /// Answers the pings of its own side instead of passing them on.
    AnswerPings,
}

impl Rule {
    /// What a fault of an endpoint does to what it sends.
    pub(crate) fn on_sent(fault: &PeerFault) -> Option<Self> {
        match fault {
            PeerFault::NeverAnswers => Some(Self::DropReplies),
            PeerFault::AnswersTwice => Some(Self::DoubleReplies),
            PeerFault::AnswersLate { delay } => {
                Some(Self::DelayReplies(Micros::as_duration(*delay)))
            }
            PeerFault::WrongDeliveryId => Some(Self::MisnameReplies),
            PeerFault::TalksGarbage => Some(Self::GarbleReplies),
            PeerFault::WorksButDoesNotBeat => Some(Self::DropHeartbeats),
            PeerFault::TakesLate { .. } => Some(Self::NoteRollbacks),
            PeerFault::BeatsButDoesNotWork | PeerFault::Rejects | PeerFault::Refuses => None,
        }
    }

    /// What it does to what it receives.
    pub(crate) fn on_received(fault: &PeerFault) -> Option<Self> {
        match fault {
            PeerFault::BeatsButDoesNotWork => Some(Self::DropCommands),
            PeerFault::TakesLate { delay } => {
                Some(Self::DelayCommands(Micros::as_duration(*delay)))
            }
            _ => None,
        }
    }

    /// What becomes of this frame at the time `now`; `None` if the rule isn't about it.
    pub(crate) fn judge(self, frame: &[u8], now: Duration) -> Option<FrameAction> {
        if self == Self::AnswerPings {
            return is_ping(frame).then_some(FrameAction::Drop);
        }
        match (self, decoded(frame)?) {
            (Self::DropReplies, Kind::Reply(_))
            | (Self::DropCommands, Kind::Command(_))
            | (Self::DropHeartbeats, Kind::Heartbeat(_) | Kind::HeartbeatAck(_)) => {
                Some(FrameAction::Drop)
            }
            (Self::DoubleReplies, Kind::Reply(_)) => Some(FrameAction::Twice),
            (Self::DelayReplies(delay), Kind::Reply(_))
            | (Self::DelayCommands(delay), Kind::Command(_)) => {
                Some(FrameAction::Later(now + delay))
            }
            (Self::MisnameReplies, Kind::Reply(reply)) => misnamed(reply).map(FrameAction::Replace),
            (Self::GarbleReplies, Kind::Reply(reply)) => {
                Some(FrameAction::Replace(garbage(&reply)))
            }
            _ => None,
        }
    }
}

/// What a whole frame of the socket says.
fn decoded(frame: &[u8]) -> Option<Kind> {
    let mut decoder = FrameDecoder::new(u32::MAX);
    decoder.push(frame);
    decoder.take().ok()?
}

/// A send that an endpoint has told never to have received: should it still arrive, it must not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverCame {
    /// The delivery that was rolled back.
    pub delivery: DeliveryId,
    /// Which send of it.
    pub send: u32,
}

/// What a frame says of a send that never came, if it says that.
pub(super) fn never_came(frame: &[u8]) -> Option<NeverCame> {
    let Kind::RollbackReply(reply) = decoded(frame)? else {
        return None;
    };
    let (delivery, send) = delivery_and_send(reply.delivery, reply.send).ok()?;
    let send = send.get();
    let unknown = reply.state() == v1::rollback_reply::State::Unknown;
    unknown.then_some(NeverCame { delivery, send })
}

/// The rules of one direction, each with the fault it comes from.
pub(crate) type Rules = Vec<(FaultId, Rule)>;

/// Names a task or a lease that doesn't exist, never another that does: an endpoint that lies about work it
/// was given is beyond what anybody promises to survive.
fn misnamed(mut reply: v1::Reply) -> Option<Bytes> {
    let delivery = reply.delivery.as_mut()?;
    let task = delivery.task.as_mut()?;
    if task.seq.is_multiple_of(2) {
        task.seq += u64::from(ELSEWHERE);
    } else {
        delivery.epoch = delivery.epoch.saturating_add(ELSEWHERE);
    }
    let frame = v1::Frame {
        kind: Some(Kind::Reply(reply)),
    };
    let mut bytes = BytesMut::new();
    encode_frame(&frame, &mut bytes);
    Some(bytes.freeze())
}

/// Bytes that no frame of the protocol begins with: of no length, of one beyond every limit, none that can be
/// read, or of a message that nobody knows.
const GARBAGE: [&[u8]; 4] = [
    &[0, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4],
    &[0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
    &[0, 0, 0, 3, 0xfa, 0x3f, 0],
];

fn garbage(reply: &v1::Reply) -> Bytes {
    let task = reply.delivery.as_ref().and_then(|of| of.task.as_ref());
    let seq = task.map_or(0, |task| task.seq);
    let kind = usize::try_from(seq % GARBAGE.len() as u64).unwrap_or(0);
    Bytes::from_static(GARBAGE[kind])
}

fn is_ping(frame: &[u8]) -> bool {
    frame.len() == HTTP2_HEAD_BYTES + HTTP2_PING_BODY_BYTES
        && frame[3] == HTTP2_PING
        && frame[4] & HTTP2_ACK == 0
}

/// The answer to a ping.
pub(crate) fn pong(ping: &[u8]) -> Bytes {
    let mut answer = BytesMut::from(ping);
    answer[4] |= HTTP2_ACK;
    answer.freeze()
}
