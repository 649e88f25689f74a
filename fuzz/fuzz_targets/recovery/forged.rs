//! A folder that nobody wrote: raw bytes, and bytes behind headers whose checksums are right, because
//! no fuzzer guesses those.

use leasebridge::core::event::{Base, Event};
use leasebridge::core::ids::SegmentNo;
use leasebridge::journal::limits::SEGMENT_HEADER_BYTES;
use leasebridge::journal::slots::Walk;
use leasebridge::journal::{
    Fold, FormatVersion, Generation, Position, Records, SegmentHeader, SlotNo, next_batch,
};

use super::Choices;
use super::log::{Slots, recover};

/// Slots of a folder: enough for twins, gaps and followers.
const SLOTS_MAX: usize = 5;

/// Bytes of most slots: more than their batches take.
const SLOT_BYTES: u32 = 8 << 10;

/// Batches of a slot.
const BATCHES_MAX: usize = 4;

/// The bytes of a base record: its tag, and zeros for no routes.
const BASE_RECORD: [u8; 45] = {
    let mut bytes = [0; 45];
    bytes[0] = 1;
    bytes
};

/// Takes whatever comes.
struct Anything;

impl Fold for Anything {
    fn base(&mut self, _: Base) -> Result<(), String> {
        Ok(())
    }

    fn event(&mut self, _: Event) -> Result<(), String> {
        Ok(())
    }
}

/// Where the forged log ends so far.
#[derive(Default)]
struct Chain {
    end: Position,
    crc: u32,
}

/// Makes a folder up and recovers it; what comes out is anybody's guess, but it comes out.
pub fn run(choices: &mut Choices<'_>) {
    let mut slots = Slots::new();
    let mut chain = Chain::default();
    for number in 1..=choices.below(SLOTS_MAX) + 1 {
        let bytes = slot(choices, &mut chain);
        walk(&bytes);
        slots.insert(SlotNo(number as u32), bytes);
    }
    if let Ok(recovered) = recover(&slots, &mut Anything) {
        let start = recovered.start;
        assert!(
            start.oldest <= start.segment,
            "the writer counts from one to the other"
        );
        assert!(start.generation > Generation(0));
    }
}

/// The way of those who look at damaged files: over the damage, and never in circles.
fn walk(bytes: &[u8]) {
    let (segment, generation) = SegmentHeader::decode(bytes)
        .map_or((SegmentNo(1), Generation(1)), |header| {
            (header.segment, header.generation)
        });
    let mut walk = Walk::new(bytes, segment, generation);
    let mut at = walk.offset();
    loop {
        for batch in walk.by_ref() {
            assert!(batch.end as usize <= bytes.len());
            batch.records().for_each(drop);
        }
        if walk.skip_damage().is_none() {
            break;
        }
        assert!(walk.offset() > at, "the walk stands still at {at}");
        at = walk.offset();
    }
}

fn slot(choices: &mut Choices<'_>, chain: &mut Chain) -> Vec<u8> {
    let flags = choices.byte();
    if flags % 8 == 7 {
        let len = choices.below(256);
        let mut bytes = choices.take(len).to_vec();
        let zeros = choices.below(2 * SEGMENT_HEADER_BYTES as usize);
        bytes.resize(bytes.len() + zeros, 0);
        return bytes;
    }
    let (segment, generation) = (SegmentNo(choices.edgy()), Generation(choices.edgy()));
    if flags & 8 != 0 {
        *chain = Chain {
            end: Position::new(SegmentNo(choices.edgy()), choices.edgy()),
            crc: choices.edgy(),
        };
    }
    let header = SegmentHeader {
        segment,
        generation,
        oldest: SegmentNo(choices.edgy()),
        segment_bytes: match flags & 32 {
            0 => SLOT_BYTES,
            _ => choices.edgy(),
        },
        previous_end: chain.end,
        previous_crc: chain.crc,
        is_cut: flags & 64 != 0,
    };
    let mut bytes = header.encode();
    for _ in 0..choices.below(BATCHES_MAX + 1) {
        batch(choices, &mut bytes, header, chain);
    }
    bytes.resize(bytes.len().max(SLOT_BYTES as usize), 0);
    if flags & 16 != 0 {
        bytes.truncate(choices.below(bytes.len() + 1));
    }
    bytes
}

/// Appends a batch that is right in all its fields but those that the fuzzer changes.
fn batch(choices: &mut Choices<'_>, bytes: &mut Vec<u8>, header: SegmentHeader, chain: &mut Chain) {
    let flags = choices.byte();
    let mut records = Vec::new();
    if flags & 1 == 0 && bytes.len() == SEGMENT_HEADER_BYTES as usize {
        records.extend_from_slice(&BASE_RECORD);
    }
    let len = usize::from(choices.byte() % 96);
    records.extend_from_slice(choices.take(len));
    let at = u32::try_from(bytes.len()).expect("a slot is small");
    let (format, magic) = match flags & 4 {
        0 => (FormatVersion::Two, b"LBB\xb6"),
        _ => (FormatVersion::One, b"LBB\xb5"),
    };
    let count = Records::new(&records, format, header.segment, at).count() as u32;
    let mut fields = [
        records.len() as u32,
        count,
        header.segment.0,
        header.generation.0,
        chain.crc,
        chain.end.offset(),
        chain.end.segment().0,
        crc32c::crc32c(&records),
    ];
    if flags & 2 != 0 {
        fields[choices.below(fields.len())] = choices.edgy();
    }
    let mut head = magic.to_vec();
    head.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    chain.crc = crc32c::crc32c(&head);
    head.extend_from_slice(&chain.crc.to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&records);
    let end = u32::try_from(bytes.len()).expect("a slot is small");
    chain.end = Position::new(header.segment, end);
    bytes.resize(next_batch(end) as usize, 0);
}
