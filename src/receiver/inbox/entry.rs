//! What an inbox knows of one task.

use bytes::Bytes;

use super::{LinkId, RunId, Waiter};
use crate::core::{Epoch, SendNumber};
use crate::wire::HandlerError;

/// One unsettled task.
#[derive(Debug)]
pub(super) struct InboxEntry {
    /// The newest epoch seen, in a command or a rollback.
    pub(super) epoch: Epoch,
    /// The sends of `epoch` that were rolled back.
    pub(super) rolled_back: SendSet,
    pub(super) state: ExecutionState,
    /// If rollbacks are all that is known of it: the links over which they came. None of their sends can arrive when
    /// these are gone.
    pub(super) tombstone_of: Vec<LinkId>,
}

/// What happens to the task.
#[derive(Debug)]
pub(super) enum ExecutionState {
    /// Nothing: only its epoch and its tombstones are known.
    Idle,
    /// To be started.
    Queued(RunId, Waiters),
    /// The handler has it.
    Running(RunId, Waiters),
    /// Executed, with this result: whoever asks again is told so.
    Done(Bytes),
    /// Not executed, and one epoch was told so.
    Answered {
        /// The epoch that is bound.
        epoch: Epoch,
        /// What it was told.
        error: HandlerError,
    },
    /// It was running when the receiver crashed.
    InDoubt,
}

impl InboxEntry {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            rolled_back: SendSet::default(),
            state: ExecutionState::Idle,
            tombstone_of: Vec::new(),
        }
    }

    pub(super) fn is_tombstone(&self) -> bool {
        !self.tombstone_of.is_empty()
    }

    /// Takes note of a newer epoch. Sends of older ones are stale now and need no tombstones.
    pub(super) fn raise(&mut self, epoch: Epoch) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.rolled_back = SendSet::default();
        }
    }
}

impl ExecutionState {
    pub(super) fn result_bytes(&self) -> usize {
        match self {
            Self::Done(result) => result.len(),
            Self::Answered { error, .. } => error.text().len(),
            _ => 0,
        }
    }
}

/// A copy that holds no more memory than it needs: a handler's result is often a slice of the buffer its
/// command arrived in.
pub(super) fn compact(result: &Bytes) -> Bytes {
    match result.is_empty() {
        true => Bytes::new(),
        false => Bytes::copy_from_slice(result),
    }
}

/// A set of sends of one epoch: the numbers end at 64.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SendSet(u64);

impl SendSet {
    pub(super) fn contains(self, send: SendNumber) -> bool {
        self.0 & Self::bit(send) != 0
    }

    /// Whether it was there already.
    pub(super) fn insert(&mut self, send: SendNumber) -> bool {
        let was = self.contains(send);
        self.0 |= Self::bit(send);
        was
    }

    fn bit(send: SendNumber) -> u64 {
        let place = send.get().saturating_sub(1);
        1_u64.checked_shl(place).expect("the largest is 64")
    }
}

/// Who waits for one execution: never nobody. The first is held inline because most have no other.
#[derive(Debug)]
pub(super) struct Waiters {
    first: Waiter,
    more: Vec<Waiter>,
}

impl Waiters {
    pub(super) fn new(first: Waiter) -> Self {
        Self {
            first,
            more: Vec::new(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Waiter> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// Adds a waiter unless it waits already. `false` if there are `max` of them.
    pub(super) fn join(&mut self, waiter: Waiter, max: usize) -> bool {
        if self.iter().any(|other| *other == waiter) {
            return true;
        }
        if self.more.len().saturating_add(1) >= max {
            return false;
        }
        self.more.push(waiter);
        true
    }

    pub(super) fn contains(&self, epoch: Epoch, send: SendNumber) -> bool {
        self.iter()
            .any(|waiter| waiter.delivery.epoch == epoch && waiter.send == send)
    }

    /// Takes out a send, over whatever links it came. Returns the links, or `None` if it doesn't wait.
    /// With `false` nobody is left and the value is of no further use.
    pub(super) fn remove(&mut self, epoch: Epoch, send: SendNumber) -> Option<(Vec<LinkId>, bool)> {
        if !self.contains(epoch, send) {
            return None;
        }
        let (gone, mut left): (Vec<Waiter>, Vec<Waiter>) = self
            .iter()
            .copied()
            .partition(|waiter| waiter.delivery.epoch == epoch && waiter.send == send);
        let anybody = left.pop().map(|first| self.first = first).is_some();
        self.more = left;
        Some((gone.iter().map(|waiter| waiter.link).collect(), anybody))
    }

    pub(super) fn newest_epoch(&self) -> Epoch {
        let epochs = self.more.iter().map(|waiter| waiter.delivery.epoch);
        epochs.fold(self.first.delivery.epoch, Epoch::max)
    }

    pub(super) fn into_vec(mut self) -> Vec<Waiter> {
        self.more.push(self.first);
        self.more
    }
}
