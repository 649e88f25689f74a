//! Sets of task ids as merged ranges per origin: a queue settles millions of tasks, and most of them
//! stand side by side.

use std::collections::BTreeMap;

use super::ids::{IdRange, Origin, Seq, TaskId};

/// A set of task ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRanges {
    /// First id of each range to its last seq. Ranges neither overlap nor touch.
    ranges: BTreeMap<(Origin, Seq), Seq>,
}

impl IdRanges {
    /// Whether `task` is in the set.
    pub fn contains(&self, task: TaskId) -> bool {
        self.at(task.origin, task.seq).is_some()
    }

    /// Adds a range. `false`, and nothing is added, if that would make more than `ranges_max` ranges.
    pub fn insert(&mut self, range: IdRange, ranges_max: usize) -> bool {
        let (origin, mut first, mut last) = parts(range);
        // From the range that ends at or after `first - 1` to the one that starts at `last + 1`.
        let before = self.at(origin, Seq(first.0.saturating_sub(1)));
        let start = before.map_or(first, |(start, _)| start.min(first));
        let end = Seq(last.0.saturating_add(1));
        let mut touching = self
            .ranges
            .range((origin, start)..=(origin, end))
            .peekable();
        if touching.peek().is_none() && self.ranges.len() >= ranges_max {
            return false;
        }
        let touching: Vec<_> = touching.map(|(key, _)| *key).collect();
        for key in touching {
            let end = self.ranges.remove(&key).expect("just seen");
            first = first.min(key.1);
            last = last.max(end);
        }
        self.ranges.insert((origin, first), last);
        true
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: IdRange) {
        let (origin, first, last) = parts(range);
        if let Some((start, end)) = self.at(origin, first)
            && start < first
        {
            self.ranges.insert((origin, start), Seq(first.0 - 1));
            if end > last {
                self.ranges.insert((origin, last.next()), end);
                return;
            }
        }
        let inside = self.ranges.range((origin, first)..=(origin, last));
        let inside: Vec<_> = inside.map(|(key, _)| *key).collect();
        for key in inside {
            let end = self.ranges.remove(&key).expect("just seen");
            if end > last {
                self.ranges.insert((origin, last.next()), end);
            }
        }
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = IdRange> + '_ {
        self.ranges.iter().map(|((origin, first), last)| {
            IdRange::new(*origin, *first, *last).expect("no range is empty")
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
    fn at(&self, origin: Origin, seq: Seq) -> Option<(Seq, Seq)> {
        let ((near, first), last) = self.ranges.range(..=(origin, seq)).next_back()?;
        (*near == origin && seq <= *last).then_some((*first, *last))
    }
}

fn parts(range: IdRange) -> (Origin, Seq, Seq) {
    let (first, last) = range.ends();
    (first.origin, first.seq, last.seq)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(origin: u64, first: u64, last: u64) -> IdRange {
        IdRange::new(Origin(origin), Seq(first), Seq(last)).unwrap()
    }

    proptest! {
        #[test]
        fn ranges_hold_what_a_plain_set_holds(
            operations in proptest::collection::vec(
                (any::<bool>(), 0_u64..2, 0_u64..40, 0_u64..12), 0..60),
        ) {
            let mut ranges = IdRanges::default();
            let mut model = BTreeSet::new();
            for (insert, origin, first, length) in operations {
                let range = range(origin, first, first + length);
                for seq in first..=first + length {
                    if insert { model.insert((origin, seq)); } else { model.remove(&(origin, seq)); }
                }
                if insert { assert!(ranges.insert(range, usize::MAX)); } else { ranges.remove(range); }
                for origin in 0..2 {
                    for seq in 0..60 {
                        let held = ranges.contains(TaskId { seq: Seq(seq), origin: Origin(origin) });
                        prop_assert_eq!(held, model.contains(&(origin, seq)));
                    }
                }
                // Merged: no two ranges touch.
                let list: Vec<_> = ranges.iter().map(IdRange::ends).collect();
                for pair in list.windows(2) {
                    let ((_, last), (first, _)) = (pair[0], pair[1]);
                    prop_assert!(last.origin < first.origin || last.seq.next() < first.seq);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_space_are_no_trap() {
        let mut ranges = IdRanges::default();
        let all = range(u64::MAX, 0, u64::MAX);
        assert!(ranges.insert(all, 1));
        assert!(ranges.insert(all, 1));
        ranges.remove(range(u64::MAX, 1, u64::MAX));
        assert_eq!(ranges.iter().next(), Some(range(u64::MAX, 0, 0)));
        ranges.remove(all);
        assert!(ranges.is_empty());
    }

    #[test]
    fn one_range_too_many_is_not_taken_but_a_merge_is() {
        let mut ranges = IdRanges::default();
        let range = |first, last| range(1, first, last);
        assert!(ranges.insert(range(0, 1), 2));
        assert!(ranges.insert(range(5, 6), 2));
        assert!(!ranges.insert(range(9, 9), 2));
        assert!(ranges.insert(range(7, 8), 2));
        assert!(ranges.insert(range(2, 4), 2));
        assert_eq!(ranges.len(), 1);
    }
}
