//! Which origins this log gave to its openings, and with which number each of them began.
//!
//! An endpoint that was not told in time what is settled would keep it for ever: the ids that left in one life of a
//! queue are announced in the next ones. What has left is everything from an opening's first number to the next one's,
//! minus what lives, minus what was drained: such a task goes on in another queue, under the same id. Only openings
//! that this log wrote count, because of other origins nobody knows here where they began. So a log that was read on
//! behind damage, which has no openings, announces nothing of what came before; and of one that was cut, what the cut
//! has taken lies behind the number that its next opening begins with.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::event::{OpeningImage, OriginsImage};
use super::ids::{IdRange, Origin, SegmentNo, Seq, TaskId};
use super::limits::{DRAINED_RANGES_MAX, ORIGINS_MAX};
use super::ranges::IdRanges;
use super::state::QueueState;

/// See the module. Bounded: what is forgotten for want of room is announced no more.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Oldest first, the current one last. Each goes as far as the next one's first number.
    openings: VecDeque<OpeningImage>,
    /// Drained ids of these openings that have not come back.
    drained: IdRanges,
    /// The segment of the record that says all this, up to the events behind it.
    home: Option<SegmentNo>,
}

impl Origins {
    /// The log was opened. One in which nothing was enqueued has nothing to announce, and takes nobody's place.
    pub(super) fn opened(&mut self, opening: OpeningImage) {
        while let Some(empty) = self
            .openings
            .pop_back_if(|last| last.first == opening.first)
        {
            self.drained.remove(all_of(empty.origin));
        }
        self.openings.push_back(opening);
        self.trim();
    }

    /// A task has left by a drain.
    pub(super) fn drained(&mut self, id: TaskId) {
        if self.openings.iter().any(|of| of.origin == id.origin) {
            self.drained.insert(IdRange::one(id), usize::MAX);
            self.trim();
        }
    }

    /// A task came in from a drain.
    pub(super) fn restored(&mut self, id: TaskId) {
        self.drained.remove(IdRange::one(id));
    }

    /// A record in `home` says all of it.
    pub(super) fn kept(&mut self, image: &OriginsImage, home: SegmentNo) {
        self.openings = image.openings.iter().copied().collect();
        self.drained = IdRanges::default();
        for range in &image.drained {
            self.drained.insert(*range, usize::MAX);
        }
        self.home = Some(home);
        self.trim();
    }

    /// The segment in which all this was last written down.
    pub(super) fn home(&self) -> Option<SegmentNo> {
        self.home
    }

    /// All of it, as a record has it.
    pub(super) fn image(&self) -> OriginsImage {
        OriginsImage {
            openings: self.openings.iter().copied().collect(),
            drained: self.drained.iter().collect(),
        }
    }

    /// The same behind one opening more.
    pub(super) fn image_with(&self, opening: OpeningImage) -> OriginsImage {
        let mut next = Self {
            openings: self.openings.clone(),
            drained: self.drained.clone(),
            home: None,
        };
        next.opened(opening);
        next.image()
    }

    /// Each opening but the current one, and the number of the first task that was not its own.
    fn earlier(&self) -> impl Iterator<Item = (Origin, Seq, Seq)> + '_ {
        let behind = self.openings.iter().skip(1);
        let pairs = self.openings.iter().zip(behind);
        pairs.map(|(opening, next)| (opening.origin, opening.first, next.first))
    }

    /// Whether the id belongs to an earlier opening and is not gone to another queue.
    fn is_earlier(&self, id: TaskId) -> bool {
        // Numbers grow from opening to opening: the last that begins at or before it is the one.
        let at = self.openings.partition_point(|of| of.first <= id.seq);
        let own = at.checked_sub(1).map(|at| self.openings[at]);
        let is_current = at == self.openings.len();
        own.is_some_and(|own| own.origin == id.origin && !is_current)
    }

    /// Oldest first: what is left is without a gap.
    fn trim(&mut self) {
        while self.openings.len() > ORIGINS_MAX || self.drained.len() > DRAINED_RANGES_MAX {
            let Some(oldest) = self.openings.pop_front() else {
                // Of openings that are not known: a forged record.
                self.drained = IdRanges::default();
                return;
            };
            self.drained.remove(all_of(oldest.origin));
        }
    }
}

fn all_of(origin: Origin) -> IdRange {
    IdRange::new(origin, Seq(0), Seq(u64::MAX)).expect("zero comes first")
}

impl QueueState {
    /// The segment that holds the newest record of this log's openings.
    pub fn origins_home(&self) -> Option<SegmentNo> {
        self.origins.home()
    }

    /// Whether the task was enqueued in an earlier life of this log and has left it for good.
    pub(super) fn left_earlier(&self, id: TaskId) -> bool {
        self.origins.is_earlier(id) && self.slot(id).is_none() && !self.origins.drained.contains(id)
    }

    /// What was enqueued in earlier lives of this log and has left it for good, as ranges: the `ranges_max` largest,
    /// these first. Looks at every task.
    pub fn left_in_earlier_lives(&self, ranges_max: usize) -> Vec<IdRange> {
        let lives = self.tasks.iter().map(|(_, task)| task.id);
        let mut alive: Vec<u64> = lives
            .filter(|id| self.origins.is_earlier(*id) && !planted!(Bug::EarlierLivesWhole))
            .map(|id| id.seq.0)
            .collect();
        alive.sort_unstable();
        let mut largest = BinaryHeap::with_capacity(ranges_max.min(alive.len() + ORIGINS_MAX) + 1);
        let mut keep = |origin: Origin, first: u64, behind: u64| {
            if first < behind {
                largest.push(Reverse((behind - first, origin, first)));
                if largest.len() > ranges_max {
                    largest.pop();
                }
            }
        };
        for (origin, first, behind) in self.origins.earlier() {
            let from = alive.partition_point(|seq| *seq < first.0);
            let living = alive[from..].iter().take_while(|seq| **seq < behind.0);
            let mut next = first.0;
            let mut drained = self.drained_of(origin).peekable();
            let mut living = living.map(|seq| (*seq, *seq)).peekable();
            // What is left out, in order, of both kinds.
            while let Some((hole, end)) = match (living.peek(), drained.peek()) {
                (Some(one), Some(other)) if one <= other => living.next(),
                (Some(_), None) => living.next(),
                _ => drained.next(),
            } {
                keep(origin, next, hole.min(behind.0));
                next = next.max(end.saturating_add(1));
            }
            keep(origin, next, behind.0);
        }
        let sorted = largest.into_sorted_vec();
        let ranges = sorted
            .into_iter()
            .filter_map(|Reverse((count, origin, first))| {
                IdRange::new(origin, Seq(first), Seq(first + (count - 1)))
            });
        ranges.collect()
    }

    /// First and last of the drained ranges of an origin, in order.
    fn drained_of(&self, origin: Origin) -> impl Iterator<Item = (u64, u64)> + '_ {
        let ranges = self.origins.drained.iter().map(IdRange::ends);
        let own = ranges
            .filter(move |(first, _)| first.origin == origin && !planted!(Bug::DrainedAnnounced));
        own.map(|(first, last)| (first.seq.0, last.seq.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(origin: u64, first: u64) -> OpeningImage {
        OpeningImage {
            origin: Origin(origin),
            first: Seq(first),
        }
    }

    fn id(origin: u64, seq: u64) -> TaskId {
        TaskId {
            seq: Seq(seq),
            origin: Origin(origin),
        }
    }

    #[test]
    fn what_is_forgotten_for_want_of_room_is_the_oldest_and_nothing_of_it_stays() {
        let mut origins = Origins::default();
        for number in 0..ORIGINS_MAX as u64 + 3 {
            origins.opened(opening(number, 10 * number));
            // Three of ten apart from each other, of the first two openings.
            if number < 2 {
                for step in [1, 4, 7] {
                    origins.drained(id(number, 10 * number + step));
                }
            }
        }
        let image = origins.image();
        assert_eq!(image.openings.len(), ORIGINS_MAX);
        assert_eq!(image.openings[0], opening(3, 30));
        assert_eq!(image.drained, []);
        assert!(!origins.is_earlier(id(2, 25)), "it is forgotten");
        assert!(origins.is_earlier(id(3, 39)));
        assert!(!origins.is_earlier(id(3, 40)), "it is the next one's");
        let last = ORIGINS_MAX as u64 + 2;
        assert!(
            !origins.is_earlier(id(last, 10 * last + 5)),
            "it is today's"
        );
    }

    #[test]
    fn drained_ids_that_lie_too_far_apart_end_their_opening() {
        let mut origins = Origins::default();
        origins.opened(opening(1, 1));
        origins.opened(opening(2, 10_000));
        origins.drained(id(2, 10_000));
        for seq in (0..2 * DRAINED_RANGES_MAX as u64).step_by(2) {
            origins.drained(id(1, 1 + seq));
        }
        let image = origins.image();
        assert_eq!(image.openings, [opening(2, 10_000)]);
        assert_eq!(image.drained, [IdRange::one(id(2, 10_000))]);
        // Of an opening that is not known nothing is noted.
        origins.drained(id(1, 7));
        assert_eq!(origins.image(), image);
        origins.restored(id(2, 10_000));
        assert_eq!(origins.image().drained, []);
    }
}
