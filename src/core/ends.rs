//! When leases end, soonest first.
//!
//! Most leases of a batch end in the same millisecond, and most are settled long before. So there is a tree
//! of moments only, and behind each moment a list of its leases, linked through their places: to enter and to
//! leave costs a look at a small tree and at two neighbours, however many leases are held.

use std::collections::BTreeMap;

use super::task::Slot;
use super::time::MonoMs;

/// The ends of all leases that are held. Leases of one moment stand in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct LeaseEnds {
    moments: BTreeMap<MonoMs, List>,
    /// By the lease's place in its slab; the entries of leases that are over mean nothing.
    links: Vec<ListNode>,
}

/// The first and the last lease of one moment.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct ListNode {
    slot: Slot,
    before: Option<u32>,
    after: Option<u32>,
}

impl LeaseEnds {
    /// The lease at place `lease`, of the task at `slot`, ends at `at`.
    pub(super) fn insert(&mut self, at: MonoMs, lease: u32, slot: Slot) {
        let place = lease as usize;
        if place >= self.links.len() {
            self.links.resize(place + 1, ListNode::default());
        }
        let alone = List {
            first: lease,
            last: lease,
        };
        let mut before = None;
        let moment = self.moments.entry(at);
        moment
            .and_modify(|list| before = Some(std::mem::replace(&mut list.last, lease)))
            .or_insert(alone);
        if let Some(before) = before {
            self.links[before as usize].after = Some(lease);
        }
        self.links[place] = ListNode {
            slot,
            before,
            after: None,
        };
    }

    /// The lease at place `lease` ends at `at` no more.
    ///
    /// # Panics
    /// When it was not to end then.
    pub(super) fn remove(&mut self, at: MonoMs, lease: u32) {
        let ListNode { before, after, .. } = self.links[lease as usize];
        if let Some(before) = before {
            self.links[before as usize].after = after;
        }
        if let Some(after) = after {
            self.links[after as usize].before = before;
        }
        match (before, after) {
            (Some(_), Some(_)) => {}
            (None, None) => {
                let list = self.moments.remove(&at);
                let alone = list.is_some_and(|list| list.first == lease);
                assert!(alone, "a lease stands where it ends");
            }
            (Some(before), None) => self.list(at).last = before,
            (None, Some(after)) => self.list(at).first = after,
        }
    }

    /// The earliest end.
    pub(super) fn first(&self) -> Option<MonoMs> {
        self.moments.first_key_value().map(|(at, _)| *at)
    }

    /// Each end with the task whose lease it is, soonest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MonoMs, Slot)> + '_ {
        self.moments.iter().flat_map(|(at, list)| {
            let leases =
                std::iter::successors(Some(list.first), |lease| self.links[*lease as usize].after);
            leases.map(|lease| (*at, self.links[lease as usize].slot))
        })
    }

    fn list(&mut self, at: MonoMs) -> &mut List {
        self.moments
            .get_mut(&at)
            .expect("a lease stands where it ends")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(ends: &LeaseEnds) -> Vec<(u64, Slot)> {
        ends.iter().map(|(at, slot)| (at.0, slot)).collect()
    }

    #[test]
    fn ends_come_soonest_first_and_leave_from_anywhere() {
        let mut all = LeaseEnds::default();
        assert_eq!((all.first(), ends(&all)), (None, vec![]));
        for (at, lease) in [(9, 0), (5, 1), (5, 2), (5, 3), (7, 4)] {
            all.insert(MonoMs(at), lease, lease + 10);
        }
        assert_eq!(all.first(), Some(MonoMs(5)));
        assert_eq!(ends(&all), [(5, 11), (5, 12), (5, 13), (7, 14), (9, 10)]);
        all.remove(MonoMs(5), 2);
        assert_eq!(ends(&all), [(5, 11), (5, 13), (7, 14), (9, 10)]);
        all.remove(MonoMs(5), 1);
        all.insert(MonoMs(5), 2, 22);
        assert_eq!(ends(&all), [(5, 13), (5, 22), (7, 14), (9, 10)]);
        all.remove(MonoMs(5), 2);
        all.remove(MonoMs(5), 3);
        assert_eq!(all.first(), Some(MonoMs(7)));
        all.remove(MonoMs(7), 4);
        all.remove(MonoMs(9), 0);
        assert_eq!((all.first(), ends(&all)), (None, vec![]));
    }

    #[test]
    #[should_panic(expected = "stands where it ends")]
    fn a_lease_that_ends_at_another_time_is_not_there() {
        let mut all = LeaseEnds::default();
        all.insert(MonoMs(5), 0, 0);
        all.remove(MonoMs(6), 0);
    }
}
