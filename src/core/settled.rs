//! Which ids have left for good, as ranges: endpoints are told, so that they can forget them.
//!
//! Ids leave in any order but close together. So they are ticked off in blocks of 64, and only a full block
//! joins the ranges. The block that was ticked off last is kept beside the trees: most ids look up nothing.

use std::collections::BTreeMap;

use super::ids::{Origin, Seq, TaskId};

/// Ids in a block: the bits of a word.
const BLOCK_IDS: u64 = 64;

/// Stands for no block: no id lies in it.
const NO_BLOCK: u64 = u64::MAX;

/// Ranges of ids: one more than there are gaps, and each gap is a live task or several.
#[derive(Debug, Default)]
pub(super) struct SettledIds {
    origins: BTreeMap<Origin, Blocks>,
}

/// The ids of one origin.
#[derive(Debug, Default)]
struct Blocks {
    /// Full blocks, merged where they touch: first of a range to its last.
    full: BTreeMap<u64, u64>,
    /// Blocks with a gap, as bits; the lowest id is the lowest bit. Not the one at hand.
    parts: BTreeMap<u64, u64>,
    /// The block that was ticked off last, and its bits; in neither tree.
    at_hand: (u64, u64),
}

impl SettledIds {
    pub(super) fn insert(&mut self, id: TaskId) {
        self.origins.entry(id.origin).or_default().insert(id.seq);
    }

    pub(super) fn range(&self, id: TaskId) -> Option<(Seq, Seq)> {
        self.origins.get(&id.origin)?.range(id.seq)
    }
}

impl Blocks {
    fn insert(&mut self, seq: Seq) {
        let (block, bit) = (seq.0 / BLOCK_IDS, seq.0 % BLOCK_IDS);
        if block != self.at_hand.0 && !self.take_in_hand(block) {
            return;
        }
        self.at_hand.1 |= 1 << bit;
        if self.at_hand.1 == u64::MAX {
            self.at_hand = (NO_BLOCK, 0);
            self.fill(block);
        }
    }

    /// Puts the block at hand back and takes another; not one that is full.
    fn take_in_hand(&mut self, block: u64) -> bool {
        if self.is_full(block) {
            return false;
        }
        let bits = self.parts.remove(&block).unwrap_or_default();
        let (last, left) = std::mem::replace(&mut self.at_hand, (block, bits));
        if left != 0 {
            self.parts.insert(last, left);
        }
        true
    }

    /// A block has become full: it joins the ranges that it touches.
    fn fill(&mut self, block: u64) {
        let first = self.first_full(block);
        let last = self.full.remove(&(block + 1)).unwrap_or(block);
        self.full.insert(first, last);
    }

    fn range(&self, seq: Seq) -> Option<(Seq, Seq)> {
        let (block, bit) = (seq.0 / BLOCK_IDS, seq.0 % BLOCK_IDS);
        if let Some((first, last)) = self.full_range(block) {
            return Some((self.first_before(first), self.last_behind(last)));
        }
        let bits = self.part(block);
        let up = u64::from((bits >> bit).trailing_ones());
        if up == 0 {
            return None;
        }
        let down = u64::from((bits << (BLOCK_IDS - 1 - bit)).leading_ones());
        let first = match bit + 1 - down {
            0 => self.first_before(self.first_full(block)),
            gap => Seq(block * BLOCK_IDS + gap),
        };
        let last = match bit + up {
            BLOCK_IDS => self.last_behind(self.last_full(block)),
            gap => Seq(block * BLOCK_IDS + gap - 1),
        };
        Some((first, last))
    }

    /// The first of the full blocks that end right before `block`; `block` itself if there is none.
    fn first_full(&self, block: u64) -> u64 {
        let range = block
            .checked_sub(1)
            .and_then(|before| self.full_range(before));
        range.map_or(block, |(first, _)| first)
    }

    /// The last of the full blocks that begin right behind `block`; `block` itself if there is none.
    fn last_full(&self, block: u64) -> u64 {
        self.full.get(&(block + 1)).copied().unwrap_or(block)
    }

    /// Where the range begins that reaches down to the first id of `block`, with no full block before.
    fn first_before(&self, block: u64) -> Seq {
        let before = block.checked_sub(1).map_or(0, |before| self.part(before));
        Seq(block * BLOCK_IDS - u64::from(before.leading_ones()))
    }

    /// Where the range ends that reaches up to the last id of `block`, with no full block behind.
    fn last_behind(&self, block: u64) -> Seq {
        let behind = self.part(block + 1).trailing_ones();
        Seq(block * BLOCK_IDS + BLOCK_IDS - 1 + u64::from(behind))
    }

    fn part(&self, block: u64) -> u64 {
        match self.at_hand {
            (at_hand, bits) if at_hand == block => bits,
            _ => self.parts.get(&block).copied().unwrap_or_default(),
        }
    }

    fn is_full(&self, block: u64) -> bool {
        self.full_range(block).is_some()
    }

    /// The range of full blocks around `block`.
    fn full_range(&self, block: u64) -> Option<(u64, u64)> {
        let (first, last) = self.full.range(..=block).next_back()?;
        (*last >= block).then_some((*first, *last))
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
    }

    /// Against a plain set, over several blocks, in an order that touches them all in turn.
    #[test]
    fn runs_are_those_of_a_plain_set() {
        let mut settled = SettledIds::default();
        let mut plain = std::collections::BTreeSet::new();
        let ids = 5 * BLOCK_IDS + 7;
        // Steps that share no factor with the count reach each id once.
        for seq in (0..ids).map(|step| step * 100 % ids) {
            settled.insert(id(seq));
            plain.insert(seq);
            for seq in 0..=ids {
                let first = (0..=seq).rev().take_while(|seq| plain.contains(seq)).last();
                let last = (seq..=ids).take_while(|seq| plain.contains(seq)).last();
                let expected = first.zip(last).map(|(first, last)| (Seq(first), Seq(last)));
                assert_eq!(settled.range(id(seq)), expected);
            }
        }
        let blocks = &settled.origins[&Origin(1)];
        assert_eq!((blocks.full.len(), blocks.full[&0]), (1, 4));
        assert_eq!((blocks.part(5), blocks.part(6)), (0b111_1111, 0));
        let in_hand = usize::from(blocks.at_hand.1 != 0);
        assert_eq!(blocks.parts.len() + in_hand, 1);
    }
}
