//! What waits in an outbox, in two lines: what must not wait behind large frames, and the rest.
//!
//! Both lines leave over one stream, the urgent one first; within a line frames keep their order. Where in the stream
//! each frame ends is known once it is taken, and kept until the peer is known to have received it.

use std::collections::VecDeque;

use super::v1::{self, frame::Kind};

/// Which line a frame stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// Signs of life, rollbacks and what answers them: short, and late ones are worth nothing.
    Urgent,
    /// Commands, replies, settled ranges; and what says goodbye, which must come last.
    Ordinary,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Urgent, Self::Ordinary];

    pub(super) fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Working(_)
            | Kind::Heartbeat(_)
            | Kind::HeartbeatAck(_)
            | Kind::Rollback(_)
            | Kind::RollbackReply(_) => Self::Urgent,
            Kind::Hello(_)
            | Kind::Command(_)
            | Kind::Reply(_)
            | Kind::Settled(_)
            | Kind::Drain(_)
            | Kind::Close(_) => Self::Ordinary,
        }
    }
}

/// A frame that waits.
pub(super) struct Queued {
    pub(super) frame: v1::Frame,
    /// With what precedes it on the stream.
    pub(super) bytes: usize,
    /// How much of the budget for what is on its way it takes: its bytes if it is a command.
    pub(super) weight: usize,
}

/// A frame that was taken and may not have arrived yet.
struct Under {
    /// Where in the stream it ends.
    end: u64,
    weight: usize,
}

/// One of the two lines. Its frames are numbered from zero.
#[derive(Default)]
pub(super) struct Line {
    /// What waits, in order; `None` was withdrawn.
    pub(super) waiting: VecDeque<Option<Queued>>,
    /// What was taken and is not known to have been received, in order.
    under_way: VecDeque<Under>,
    /// How many are known to have been received: the number of `under_way[0]`.
    received: u64,
    /// How many have left, those included that were received.
    left: u64,
}

impl Line {
    /// How many were taken since the start: the number of `waiting[0]`.
    pub(super) fn taken(&self) -> u64 {
        self.received.saturating_add(self.under_way.len() as u64)
    }

    /// The number of the next frame to be queued.
    pub(super) fn next(&self) -> u64 {
        self.taken().saturating_add(self.waiting.len() as u64)
    }

    /// How many have left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Takes the next frame that was not withdrawn; the stream has come to `at`.
    pub(super) fn pop(&mut self, at: u64) -> Option<Queued> {
        while let Some(entry) = self.waiting.pop_front() {
            let (bytes, weight) = entry
                .as_ref()
                .map_or((0, 0), |queued| (queued.bytes, queued.weight));
            let end = at.saturating_add(bytes as u64);
            self.under_way.push_back(Under { end, weight });
            if entry.is_some() {
                return entry;
            }
        }
        None
    }

    /// The stream has left up to `offset`.
    pub(super) fn leave(&mut self, offset: u64) {
        let seen = usize::try_from(self.left.saturating_sub(self.received)).unwrap_or(usize::MAX);
        let passed = self.under_way.iter().skip(seen);
        let passed = passed.take_while(|frame| frame.end <= offset).count();
        self.left = self.left.saturating_add(passed as u64);
    }

    /// The peer has received the stream up to `offset`. What that frees of the budget.
    pub(super) fn receive(&mut self, offset: u64) -> usize {
        let mut freed = 0_usize;
        while let Some(first) = self.under_way.front()
            && first.end <= offset
        {
            freed = freed.saturating_add(first.weight);
            self.under_way.pop_front();
            self.received = self.received.saturating_add(1);
        }
        self.left = self.left.max(self.received);
        freed
    }

    /// Where the taken frame with this number ends, if it is not known to have been received.
    pub(super) fn end_of(&self, number: u64) -> Option<u64> {
        let index = usize::try_from(number.checked_sub(self.received)?).ok()?;
        self.under_way.get(index).map(|frame| frame.end)
    }
}
