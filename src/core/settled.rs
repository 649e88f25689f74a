//! Which ids have left for good, as runs: endpoints are told, so that they can forget them.

use std::collections::BTreeMap;

use super::ids::{Origin, Seq, TaskId};

/// Runs of ids, merged where they touch: as many as there are gaps, which live tasks make.
#[derive(Debug, Default)]
pub(super) struct SettledIds {
    /// By origin: first of a run to its last.
    runs: BTreeMap<Origin, BTreeMap<Seq, Seq>>,
}

impl SettledIds {
    pub(super) fn insert(&mut self, id: TaskId) {
        let runs = self.runs.entry(id.origin).or_default();
        let (mut first, mut last) = (id.seq, id.seq);
        if let Some((start, end)) = runs.range(..=id.seq).next_back().map(|(a, b)| (*a, *b)) {
            if end >= id.seq {
                return;
            }
            if end.next() == id.seq {
                first = start;
            }
        }
        if let Some(end) = runs.remove(&id.seq.next()) {
            last = end;
        }
        runs.insert(first, last);
    }

    pub(super) fn range(&self, id: TaskId) -> Option<(Seq, Seq)> {
        let (first, last) = self.runs.get(&id.origin)?.range(..=id.seq).next_back()?;
        (*last >= id.seq).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> TaskId {
        TaskId {
            seq: Seq(seq),
            origin: Origin(1),
        }
    }

    #[test]
    fn runs_merge_when_they_touch_in_whatever_order_they_come() {
        let mut settled = SettledIds::default();
        for seq in [5, 3, 9, 4, 4] {
            settled.insert(id(seq));
        }
        assert_eq!(settled.range(id(4)), Some((Seq(3), Seq(5))));
        assert_eq!(settled.range(id(9)), Some((Seq(9), Seq(9))));
        for seq in [2, 6, 8, 10] {
            assert_eq!(settled.range(id(seq)), None);
        }
        let other = TaskId {
            origin: Origin(2),
            ..id(4)
        };
        assert_eq!(settled.range(other), None);
        for seq in [8, 6, 7] {
            settled.insert(id(seq));
        }
        assert_eq!(settled.range(id(7)), Some((Seq(3), Seq(9))));
        assert_eq!(settled.runs[&Origin(1)].len(), 1);
    }
}
