//! What of each log segment is still needed.
//!
//! Most tasks come and go in the segment that is being written, thousands of them. So the segment that was counted
//! last is kept beside the tree, which holds the others: most counts look up nothing.

use std::collections::BTreeMap;

use super::ids::{BodyRef, SegmentNo};

/// Bytes a record takes beside its body, about: what a live task costs when compaction moves it.
const RECORD_OVERHEAD_BYTES: u64 = 96;

/// What a live task takes of the log, about.
pub(super) fn live_bytes(body: BodyRef) -> u64 {
    u64::from(body.len) + RECORD_OVERHEAD_BYTES
}

/// What of a log segment is still needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyUse {
    /// Tasks whose newest full record stands there.
    pub tasks: u64,
    /// Bytes of those records, about.
    pub bytes: u64,
}

/// What of all segments is still needed.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// The segment that was counted last; not in the tree.
    at_hand: (SegmentNo, BodyUse),
    /// The others of which anything is needed.
    others: BTreeMap<SegmentNo, BodyUse>,
    /// Bytes in all of them.
    bytes: u64,
}

impl Bodies {
    pub(super) fn add(&mut self, body: BodyRef) {
        let bytes = live_bytes(body);
        let used = self.take_in_hand(body.segment);
        used.tasks += 1;
        used.bytes += bytes;
        self.bytes += bytes;
    }

    /// # Panics
    /// When more is released than was added.
    pub(super) fn release(&mut self, body: BodyRef) {
        let bytes = live_bytes(body);
        let used = self.take_in_hand(body.segment);
        let tasks = used.tasks.checked_sub(1);
        used.tasks = tasks.expect("the segment of a live body is counted");
        used.bytes -= bytes;
        self.bytes -= bytes;
    }

    pub(super) fn of(&self, segment: SegmentNo) -> BodyUse {
        match self.at_hand {
            (at_hand, used) if at_hand == segment => used,
            _ => self.others.get(&segment).copied().unwrap_or_default(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn take_in_hand(&mut self, segment: SegmentNo) -> &mut BodyUse {
        if self.at_hand.0 != segment {
            let used = self.others.remove(&segment).unwrap_or_default();
            let (last, left) = std::mem::replace(&mut self.at_hand, (segment, used));
            if left != BodyUse::default() {
                self.others.insert(last, left);
            }
        }
        &mut self.at_hand.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(segment: u32, len: u32) -> BodyRef {
        BodyRef {
            segment: SegmentNo(segment),
            len,
            ..BodyRef::default()
        }
    }

    #[test]
    fn each_segment_is_counted_whichever_is_at_hand() {
        let mut bodies = Bodies::default();
        for (segment, len) in [(3, 4), (5, 0), (3, 6), (0, 1)] {
            bodies.add(body(segment, len));
        }
        let used = |bodies: &Bodies, segment| {
            let BodyUse { tasks, bytes } = bodies.of(SegmentNo(segment));
            (tasks, bytes)
        };
        let all = |bodies: &Bodies| [0, 3, 5, 7].map(|segment| used(bodies, segment));
        assert_eq!(all(&bodies), [(1, 97), (2, 202), (1, 96), (0, 0)]);
        bodies.release(body(5, 0));
        bodies.release(body(3, 4));
        assert_eq!(all(&bodies), [(1, 97), (1, 102), (0, 0), (0, 0)]);
        bodies.release(body(0, 1));
        bodies.release(body(3, 6));
        assert_eq!((all(&bodies), bodies.bytes()), ([(0, 0); 4], 0));
        assert!(bodies.others.is_empty());
    }
}
