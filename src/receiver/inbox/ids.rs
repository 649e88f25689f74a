//! Sets of task ids as merged ranges per origin: a queue settles millions of tasks, and most of them
//! stand side by side.

use std::collections::BTreeMap;

use crate::wire::{TaskId, v1};

/// The tasks `first..=last` of one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    origin: u64,
    first: u64,
    last: u64,
}

impl IdRange {
    /// A range, unless it is empty.
    pub fn new(origin: u64, first: u64, last: u64) -> Option<Self> {
        (first <= last).then_some(Self {
            origin,
            first,
            last,
        })
    }

    /// A single task.
    pub fn one(task: TaskId) -> Self {
        Self {
            origin: task.origin,
            first: task.seq,
            last: task.seq,
        }
    }

    /// Its first and last task.
    pub fn ends(self) -> (TaskId, TaskId) {
        let Self {
            origin,
            first,
            last,
        } = self;
        (TaskId { origin, seq: first }, TaskId { origin, seq: last })
    }
}

impl From<IdRange> for v1::SettledRange {
    fn from(range: IdRange) -> Self {
        Self {
            origin: range.origin,
            first: range.first,
            last: range.last,
        }
    }
}

/// A set of task ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRanges {
    /// First id of each range to its last seq. Ranges neither overlap nor touch.
    ranges: BTreeMap<TaskId, u64>,
}

impl IdRanges {
    /// Whether `task` is in the set.
    pub fn contains(&self, task: TaskId) -> bool {
        self.ranges
            .range(..=task)
            .next_back()
            .is_some_and(|(first, last)| first.origin == task.origin && task.seq <= *last)
    }

    /// Adds a range. `false`, and nothing is added, if that would make more than `ranges_max` ranges.
    pub fn insert(&mut self, range: IdRange, ranges_max: usize) -> bool {
        let IdRange {
            origin,
            mut first,
            mut last,
        } = range;
        // From the range that ends at or after `first - 1` to the one that starts at `last + 1`.
        let before = self.at(origin, first.saturating_sub(1));
        let start = before.map_or(first, |(start, _)| start.min(first));
        let from = TaskId { origin, seq: start };
        let to = TaskId {
            origin,
            seq: last.saturating_add(1),
        };
        let mut touching = self.ranges.range(from..=to).peekable();
        if touching.peek().is_none() && self.ranges.len() >= ranges_max {
            return false;
        }
        let touching: Vec<TaskId> = touching.map(|(id, _)| *id).collect();
        for id in touching {
            let end = self.ranges.remove(&id).expect("just seen");
            first = first.min(id.seq);
            last = last.max(end);
        }
        self.ranges.insert(TaskId { origin, seq: first }, last);
        true
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: IdRange) {
        let IdRange {
            origin,
            first,
            last,
        } = range;
        if let Some((start, end)) = self.at(origin, first)
            && start < first
        {
            self.ranges.insert(TaskId { origin, seq: start }, first - 1);
            if end > last {
                let seq = last + 1;
                self.ranges.insert(TaskId { origin, seq }, end);
                return;
            }
        }
        let (from, to) = range.ends();
        let inside: Vec<TaskId> = self.ranges.range(from..=to).map(|(id, _)| *id).collect();
        for id in inside {
            let end = self.ranges.remove(&id).expect("just seen");
            if end > last {
                let seq = last + 1;
                self.ranges.insert(TaskId { origin, seq }, end);
            }
        }
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = IdRange> + '_ {
        self.ranges.iter().map(|(first, last)| IdRange {
            origin: first.origin,
            first: first.seq,
            last: *last,
        })
    }

    /// How many separate ranges it holds.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether it holds no id.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The range that holds `seq`, as first and last.
    fn at(&self, origin: u64, seq: u64) -> Option<(u64, u64)> {
        let (first, last) = self.ranges.range(..=TaskId { origin, seq }).next_back()?;
        (first.origin == origin && seq <= *last).then_some((first.seq, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_a_plain_set_holds(
            operations in proptest::collection::vec(
                (any::<bool>(), 0_u64..2, 0_u64..40, 0_u64..12), 0..60),
        ) {
            let mut ranges = IdRanges::default();
            let mut model = BTreeSet::new();
            for (insert, origin, first, length) in operations {
                let range = IdRange::new(origin, first, first + length).unwrap();
                for seq in first..=first + length {
                    if insert { model.insert((origin, seq)); } else { model.remove(&(origin, seq)); }
                }
                if insert { assert!(ranges.insert(range, usize::MAX)); } else { ranges.remove(range); }
                for origin in 0..2 {
                    for seq in 0..60 {
                        let held = ranges.contains(TaskId { origin, seq });
                        prop_assert_eq!(held, model.contains(&(origin, seq)));
                    }
                }
                // Merged: no two ranges touch.
                let list: Vec<_> = ranges.iter().collect();
                for pair in list.windows(2) {
                    prop_assert!(pair[0].origin < pair[1].origin || pair[0].last + 1 < pair[1].first);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_space_are_no_trap() {
        let mut ranges = IdRanges::default();
        let all = IdRange::new(u64::MAX, 0, u64::MAX).unwrap();
        assert!(ranges.insert(all, 1));
        assert!(ranges.insert(all, 1));
        ranges.remove(IdRange::new(u64::MAX, 1, u64::MAX).unwrap());
        assert_eq!(ranges.iter().next(), IdRange::new(u64::MAX, 0, 0));
        ranges.remove(all);
        assert!(ranges.is_empty());
    }

    #[test]
    fn one_range_too_many_is_not_taken_but_a_merge_is() {
        let mut ranges = IdRanges::default();
        let range = |first, last| IdRange::new(1, first, last).unwrap();
        assert!(ranges.insert(range(0, 1), 2));
        assert!(ranges.insert(range(5, 6), 2));
        assert!(!ranges.insert(range(9, 9), 2));
        assert!(ranges.insert(range(7, 8), 2));
        assert!(ranges.insert(range(2, 4), 2));
        assert_eq!(ranges.len(), 1);
    }
}
