//! Tasks that have left for good in records that are not durable yet.
//!
//! An endpoint that is told of a settled task never executes it again, nor answers for it. Told before
//! the record is durable, it would refuse a task that a crash has brought back, for ever. So a range that is
//! announced ends before the first id whose record is still on its way: of 4, 5 and 6, which have left, 4 and
//! 5 are announced if 6 is not durable yet.

use std::collections::VecDeque;

use crate::core::{Seq, TaskId};
use crate::coverage::{Site, sometimes};
use crate::journal::Position;

/// In the order of the log. As many as are on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    waiting: VecDeque<(Position, TaskId)>,
}

impl Leaving {
    /// `id` leaves in the record that ends at `position`.
    pub(super) fn add(&mut self, position: Position, id: TaskId, durable: Position) {
        self.forget(durable);
        self.waiting.push_back((position, id));
    }

    /// The part of the range from `first` to `last` around `id` that is durable up to `durable`; nothing if
    /// `id` itself isn't.
    pub(super) fn durable_part(
        &mut self,
        id: TaskId,
        (mut first, mut last): (Seq, Seq),
        durable: Position,
    ) -> Option<(Seq, Seq)> {
        self.forget(durable);
        let whole = (first, last);
        let same_origin = self.waiting.iter().map(|(_, other)| other);
        for other in same_origin.filter(|other| other.origin == id.origin) {
            match other.seq.cmp(&id.seq) {
                std::cmp::Ordering::Less => first = first.max(Seq(other.seq.0 + 1)),
                std::cmp::Ordering::Equal => return None,
                std::cmp::Ordering::Greater => last = last.min(Seq(other.seq.0 - 1)),
            }
        }
        sometimes!(Site::SettledRunCut, (first, last) != whole);
        Some((first, last))
    }

    fn forget(&mut self, durable: Position) {
        while self
            .waiting
            .pop_front_if(|(at, _)| *at <= durable)
            .is_some()
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Origin;
    use crate::core::ids::SegmentNo;

    fn id(origin: u64, seq: u64) -> TaskId {
        TaskId {
            origin: Origin(origin),
            seq: Seq(seq),
        }
    }

    fn at(offset: u32) -> Position {
        Position::new(SegmentNo(1), offset)
    }

    #[test]
    fn a_run_ends_before_what_is_not_durable_on_either_side() {
        let mut leaving = Leaving::default();
        for (offset, id) in [
            (10, id(7, 4)),
            (20, id(7, 9)),
            (30, id(8, 6)),
            (30, id(7, 2)),
        ] {
            leaving.add(at(offset), id, at(0));
        }
        let range = (Seq(1), Seq(9));
        let mut part = |seq, durable| leaving.durable_part(id(7, seq), range, at(durable));
        assert_eq!(part(6, 0), Some((Seq(5), Seq(8))));
        assert_eq!(part(4, 9), None, "it is itself on its way");
        assert_eq!(part(4, 10), Some((Seq(3), Seq(8))));
        assert_eq!(part(4, 20), Some((Seq(3), Seq(9))));
        assert_eq!(part(4, 30), Some((Seq(1), Seq(9))));
    }
}
