//! Batches without slots: what the fold takes, and what it refuses whoever kept them.

use super::super::*;
use super::folder::{Collect, base, geometry};
use super::roundtrip::numbered;
use crate::core::ids::SegmentNo;

/// A log of batches and nothing else.
#[derive(Clone, Default)]
struct Batches(Vec<(u32, Vec<u8>)>);

impl Batches {
    /// An opening that goes on behind `replay` and writes `count` events, two in a batch.
    fn write(&mut self, replay: &Replay, generation: u32, count: usize, before: usize) {
        let end = replay.end();
        let start = Start {
            segment: SegmentNo(end.segment().0 + 1),
            generation: Generation(generation),
            oldest: SegmentNo(1),
            previous_end: end,
            previous_crc: replay.crc(),
            is_cut: false,
        };
        let mut writer = Writer::new(geometry(), &start);
        let mut sealer = Sealer::new(&start);
        for number in before..before + count {
            let mut event = numbered(number as u64);
            writer.append(|| base(number), &mut event, &[7; 500]);
            if number % 2 == 0 {
                self.take(&mut writer, &mut sealer);
            }
        }
        self.take(&mut writer, &mut sealer);
    }

    fn take(&mut self, writer: &mut Writer, sealer: &mut Sealer) {
        while let Some(batch) = writer.take_batch() {
            let batch = sealer.seal(batch);
            writer.completed(batch.end);
            self.0.push((batch.offset, batch.into_bytes()));
        }
    }

    fn replay(&self) -> Result<(Replay, usize), Flaw> {
        let mut collect = Collect::default();
        let mut replay = Replay::behind(Position::default(), 0);
        for (offset, bytes) in &self.0 {
            let batch = IntactBatch::decode(bytes, *offset).expect("it was written whole");
            replay.batch(&batch, &mut collect)?;
        }
        Ok((replay, collect.events.len()))
    }
}

/// Two openings, of several segments each, the first left without a seal.
fn two_openings() -> Batches {
    let mut batches = Batches::default();
    let empty = Replay::behind(Position::default(), 0);
    batches.write(&empty, 1, 60, 0);
    let (replay, events) = batches.replay().unwrap();
    assert_eq!(events, 60);
    assert!(replay.end().segment() > SegmentNo(2));
    batches.write(&replay, 2, 60, 60);
    batches
}

#[test]
fn batches_fold_in_order_and_say_where_the_log_goes_on() {
    let batches = two_openings();
    let (replay, events) = batches.replay().unwrap();
    assert_eq!(events, 120);
    assert_eq!(replay.generation(), Some(Generation(2)));
    assert_eq!(replay.counts().batches, batches.0.len() as u64);
    assert_eq!(replay.ending(), LogEnding::Open);
}

#[test]
fn a_batch_that_is_missing_twice_there_or_out_of_its_place_is_a_flaw() {
    let whole = two_openings();
    for at in 0..whole.0.len() - 1 {
        let mut missing = whole.clone();
        missing.0.remove(at);
        let flaw = missing.replay().expect_err("one is missing");
        assert!(flaw.what.contains("behind another one"), "{flaw}");
        let mut twice = whole.clone();
        twice.0.insert(at, whole.0[at].clone());
        assert!(twice.replay().is_err());
        let mut swapped = whole.clone();
        swapped.0.swap(at, at + 1);
        assert!(swapped.replay().is_err());
    }
}

#[test]
fn only_an_opening_leaves_a_segment_that_does_not_say_where_the_log_goes_on() {
    let mut batches = Batches::default();
    let empty = Replay::behind(Position::default(), 0);
    batches.write(&empty, 3, 4, 0);
    let (replay, _) = batches.replay().unwrap();
    for (generation, fits) in [(2, false), (3, false), (4, true)] {
        let mut longer = batches.clone();
        longer.write(&replay, generation, 4, 4);
        assert_eq!(longer.replay().is_ok(), fits, "generation {generation}");
    }
}

#[test]
fn half_a_batch_is_none() {
    let (offset, bytes) = two_openings().0[3].clone();
    for len in 0..bytes.len() {
        assert!(IntactBatch::decode(&bytes[..len], offset).is_none());
    }
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(IntactBatch::decode(&flipped, offset).is_none());
    assert!(IntactBatch::decode(&bytes, offset).is_some());
}
