//! Which task of a route is granted next: the one of the smallest rank whose gates are open.
//!
//! A gate is a reason to wait. Events close and open gates; a gate that a time opens is opened by the event of a
//! tick. A route's own gates are kept here; the caller names the closed gates of the whole queue. Tasks that must
//! be alone in the queue stand in a second line, because they wait at other gates: while they can't be granted,
//! the first line goes on, so that traffic on other routes never holds up this one.

mod line;
#[cfg(test)]
mod tests;

use super::event::Isolation;
use super::ids::Seq;
use super::task::Slot;
use line::{Line, merge};

/// How soon a task is wanted: the first of these goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// What a producer gets who asks for nothing else.
    Normal,
}

/// A task's place in its route: by priority, and by age among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) priority: Priority,
    pub(crate) seq: Seq,
}

/// A reason to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// An operator stopped the route.
    Paused,
    /// A task is in flight that nobody may join, in the route or in the queue.
    Taken,
    /// Suspects of the bridge's death are granted one by one, and nobody else is.
    Quarantine,
    /// Somebody is in flight: no suspect of the bridge's death joins.
    Company,
}

/// The gates that are closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gates(u8);

impl Gates {
    /// All but suspects of the bridge's death wait at these.
    const ORDINARY: Self = Self::of(&[Gate::Paused, Gate::Taken, Gate::Quarantine]);
    /// Suspects of the bridge's death wait at these.
    const SUSPECT: Self = Self::of(&[Gate::Paused, Gate::Taken, Gate::Company]);

    const fn bit(gate: Gate) -> u8 {
        1 << gate as u8
    }

    const fn of(gates: &[Gate]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < gates.len() {
            bits |= Self::bit(gates[at]);
            at += 1;
        }
        Self(bits)
    }

    /// These, and `gate` as well if `closed`.
    pub(crate) fn and(self, gate: Gate, closed: bool) -> Self {
        Self(self.0 | if closed { Self::bit(gate) } else { 0 })
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The ready tasks of a route, and its gates.
#[derive(Debug, Default)]
pub(crate) struct GrantOrder {
    closed: Gates,
    ordinary: Line,
    suspects: Line,
}

impl GrantOrder {
    /// Puts a task at its place. What flies alone in the queue stands in the suspects' line.
    pub(crate) fn insert(&mut self, rank: Rank, slot: Slot, isolation: Isolation) {
        self.line(isolation).insert(rank, slot);
    }

    /// Takes a task out, wherever it stands.
    ///
    /// # Panics
    /// When it was not inserted with the same words.
    pub(crate) fn remove(&mut self, rank: Rank, slot: Slot, isolation: Isolation) {
        self.line(isolation).remove(rank, slot);
    }

    fn line(&mut self, isolation: Isolation) -> &mut Line {
        match isolation {
            Isolation::Queue => &mut self.suspects,
            Isolation::None | Isolation::Route => &mut self.ordinary,
        }
    }

    /// The task of the smallest rank that waits at no closed gate, of the route or of `queue`.
    pub(crate) fn head(&self, queue: Gates) -> Option<Slot> {
        let closed = Gates(self.closed.0 | queue.0);
        let head = |line: &Line, gates: Gates| line.head().filter(|_| !closed.meets(gates));
        let ordinary = head(&self.ordinary, Gates::ORDINARY);
        let suspect = head(&self.suspects, Gates::SUSPECT);
        let first = match (ordinary, suspect) {
            (Some(ordinary), Some(suspect)) => Some(ordinary.min(suspect)),
            (ordinary, suspect) => ordinary.or(suspect),
        };
        first.map(|(_, slot)| slot)
    }

    /// All tasks by their ranks, whether they may go or wait at a gate.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        merge(self.ordinary.iter(), self.suspects.iter()).map(|(_, slot)| slot)
    }

    /// Closes or opens a gate of the route; says whether that changed anything.
    pub(crate) fn set_closed(&mut self, gate: Gate, closed: bool) -> bool {
        let changes = self.is_closed(gate) != closed;
        if changes {
            self.closed.0 ^= Gates::bit(gate);
        }
        changes
    }

    /// Whether a gate of the route is closed.
    pub(crate) fn is_closed(&self, gate: Gate) -> bool {
        self.closed.meets(Gates::of(&[gate]))
    }
}
