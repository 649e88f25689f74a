//! A log as it was written, and what may be left of it after damage.

use leasebridge::journal::limits::SEGMENT_HEADER_BYTES;

use super::Choices;
use super::log::{Found, Log, Placed, Slots, recover};

/// Openings of a log before it is damaged.
const OPENINGS_MAX: usize = 3;

/// Slots in all, so that a run stays quick.
const SLOTS_MAX: usize = 7;

/// Strokes of bad luck.
const DAMAGES_MAX: usize = 4;

/// Bytes around a batch, before and behind it, that its damage may reach.
const MARGIN_BYTES: usize = 16;

/// Writes a log, damages it and checks what comes back.
pub fn run(choices: &mut Choices<'_>) {
    let log = write(choices);
    let mut slots = log.slots.clone();
    let strokes = choices.below(DAMAGES_MAX + 1);
    let mut flips = 0;
    for _ in 0..strokes {
        flips += usize::from(damage(choices, &log, &mut slots));
    }
    check(choices, log, slots, strokes <= 1 && flips == strokes);
}

fn write(choices: &mut Choices<'_>) -> Log {
    let mut log = Log::default();
    for _ in 0..choices.below(OPENINGS_MAX) + 1 {
        let mut found = Found::default();
        let recovered = recover(&log.slots, &mut found).expect("nothing was damaged yet");
        assert_eq!(found.events, log.written[found.from..]);
        assert_eq!(recovered.sealed, log.sealed);
        let mut opening = log.open(&recovered);
        for _ in 0..choices.below(24) {
            if log.slots.len() >= SLOTS_MAX {
                break;
            }
            match choices.byte() {
                0..16 => log.retire(&mut opening),
                16..96 => log.flush(&mut opening),
                // Many in a row, so that few bytes of input fill a segment.
                more => {
                    for _ in 0..more % 16 + 1 {
                        log.append(&mut opening, choices);
                    }
                }
            }
        }
        log.flush(&mut opening);
        if choices.byte() % 3 == 0 {
            log.seal(&mut opening);
        }
    }
    log
}

/// Damages something; says whether it was one bit.
fn damage(choices: &mut Choices<'_>, log: &Log, slots: &mut Slots) -> bool {
    let kind = choices.byte() % 8;
    let numbers: Vec<_> = slots.keys().copied().collect();
    if kind == 0 {
        let (one, other) = (choices.below(numbers.len()), choices.below(numbers.len()));
        let first = slots[&numbers[one]].clone();
        let second = slots.insert(numbers[other], first).expect("it is there");
        slots.insert(numbers[one], second);
        return false;
    }
    // Most damage goes to a batch: elsewhere is nothing to lose.
    let in_header = choices.byte() % 8 == 0 || log.batches.is_empty();
    let (slot, from, span) = if in_header {
        let slot = numbers[choices.below(numbers.len())];
        (slot, 0, SEGMENT_HEADER_BYTES as usize)
    } else {
        let batch = log.batches[choices.below(log.batches.len())];
        let from = batch.offset - MARGIN_BYTES;
        (batch.slot, from, batch.len + 2 * MARGIN_BYTES)
    };
    let bytes = slots.get_mut(&slot).expect("slots stay");
    let at = from + choices.below(span);
    match kind {
        1 => bytes.truncate(at),
        2 => {
            let end = (at + 1 + choices.below(span)).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (choices.byte() % 8);
            }
            return true;
        }
    }
    false
}

fn check(choices: &mut Choices<'_>, mut log: Log, slots: Slots, at_most_a_bit: bool) {
    let mut found = Found::default();
    let Ok(recovered) = recover(&slots, &mut found) else {
        assert!(slots != log.slots, "nothing was damaged");
        return;
    };
    let needed = log.batches.iter().copied();
    let needed: Vec<Placed> = needed.filter(|batch| batch.segment >= log.oldest).collect();
    let end = found.from + found.events.len();
    assert_eq!(Some(&found.events[..]), log.written.get(found.from..end));
    let first = needed.first().map_or(0, |batch| batch.before);
    assert!(
        found.from <= first,
        "events from {first} on are needed, not {}",
        found.from
    );

    let intact = |batch: &&Placed| is_intact(batch, &log.slots, &slots);
    let before_damage = needed.iter().take_while(intact).last();
    let before_damage = before_damage.map_or(0, |batch| batch.behind);
    assert!(
        end >= before_damage,
        "cut at {end}, intact up to {before_damage}"
    );
    if let Some(batch) = needed
        .iter()
        .filter(intact)
        .find(|batch| batch.behind > end)
    {
        panic!("cut at {end}, and an intact batch stands behind: {batch:?}");
    }
    if at_most_a_bit {
        let total = log.written.len();
        let last = needed.last().map_or(0, |batch| batch.before);
        let sure = if log.sealed { total } else { last };
        assert!(end >= sure, "a bit took {} of {total} events", total - end);
    }

    // With the only header of the last opening and the first batch behind it both gone, that opening
    // is forgotten and the next one is given its number. Batches it left can then show up as damage.
    if recovered.start.generation <= log.generation {
        return;
    }
    // The next opening builds on what came back, and on nothing else.
    log.slots = slots;
    log.truncate(end);
    let mut opening = log.open(&recovered);
    for _ in 0..choices.below(3) + 1 {
        log.append(&mut opening, choices);
    }
    log.flush(&mut opening);
    let mut again = Found::default();
    let recovered = recover(&log.slots, &mut again);
    assert!(recovered.is_ok(), "the next opening's log: {recovered:?}");
    assert_eq!(again.events, log.written[again.from..]);
}

/// Whether the batch still stands somewhere, in a segment whose header does.
fn is_intact(batch: &Placed, written: &Slots, slots: &Slots) -> bool {
    let header = 0..SEGMENT_HEADER_BYTES as usize;
    let place = batch.offset..batch.offset + batch.len;
    let whole = &written[&batch.slot];
    slots.values().any(|bytes| {
        bytes.get(place.clone()) == whole.get(place.clone())
            && bytes.get(header.clone()) == whole.get(header.clone())
    })
}
