//! A sorted line of tasks that is cheap where most things happen: new tasks enter at its end, and whoever is
//! granted leaves from its front.

use std::collections::{BTreeSet, VecDeque};

use super::super::task::Slot;
use super::Rank;

/// Empty places that are kept at least, so that a short line is not swept at each removal.
const EMPTY_KEPT: usize = 64;

/// A line: two sorted parts, of which the smaller head is the line's.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those that came with a larger rank than all before them. A task that leaves from the middle leaves an
    /// empty place; the front is never empty.
    rising: VecDeque<(Rank, Option<Slot>)>,
    /// How many places of `rising` are empty.
    empty: usize,
    /// Everybody else: those that came back.
    returned: BTreeSet<(Rank, Slot)>,
}

impl Line {
    pub(super) fn insert(&mut self, rank: Rank, slot: Slot) {
        match self.rising.back() {
            Some((last, _)) if *last >= rank => {
                let is_new = self.returned.insert((rank, slot));
                assert!(is_new, "a task stands in its line once");
            }
            _ => self.rising.push_back((rank, Some(slot))),
        }
    }

    pub(super) fn remove(&mut self, rank: Rank, slot: Slot) {
        if self.rising.front() == Some(&(rank, Some(slot))) {
            self.rising.pop_front();
            self.trim();
        } else if !self.returned.remove(&(rank, slot)) {
            self.empty_place(rank, slot);
        }
    }

    /// Takes a task out of the middle of the rising part.
    fn empty_place(&mut self, rank: Rank, slot: Slot) {
        let place = self.rising.binary_search_by(|(other, _)| other.cmp(&rank));
        let place = place.ok().and_then(|at| self.rising.get_mut(at));
        let taken = place.and_then(|(_, there)| there.take_if(|there| *there == slot));
        assert!(taken.is_some(), "a ready task stands in its line");
        self.empty += 1;
        // So that memory follows the number of tasks.
        if self.empty > EMPTY_KEPT && self.empty > self.rising.len() / 2 {
            self.rising.retain(|(_, there)| there.is_some());
            self.empty = 0;
        }
    }

    /// Drops empty places from the front.
    fn trim(&mut self) {
        while self.empty > 0 && matches!(self.rising.front(), Some((_, None))) {
            self.rising.pop_front();
            self.empty -= 1;
        }
    }

    /// The task of the smallest rank.
    pub(super) fn head(&self) -> Option<(Rank, Slot)> {
        let rising = self.rising.front();
        let rising = rising.and_then(|(rank, slot)| slot.map(|slot| (*rank, slot)));
        match (rising, self.returned.first().copied()) {
            (Some(rising), Some(returned)) => Some(rising.min(returned)),
            (rising, returned) => rising.or(returned),
        }
    }

    /// All tasks by their ranks.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Rank, Slot)> + '_ {
        let rising = self.rising.iter();
        let rising = rising.filter_map(|(rank, slot)| slot.map(|slot| (*rank, slot)));
        merge(rising, self.returned.iter().copied())
    }

    /// Places of the rising part, and tasks of the other.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.rising.len(), self.returned.len())
    }
}

/// Two sorted sequences as one.
pub(super) fn merge<T: Ord>(
    one: impl Iterator<Item = T>,
    other: impl Iterator<Item = T>,
) -> impl Iterator<Item = T> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(first), Some(second)) if second < first => other.next(),
        (None, _) => other.next(),
        _ => one.next(),
    })
}
