//! Damage is cut only where a power cut may have torn, and reported everywhere else.

use proptest::prelude::*;

use super::super::*;
use super::folder::{Folder, OpenLog, SEGMENT_BYTES, base, geometry};
use super::roundtrip::numbered;
use crate::core::event::Event;
use crate::core::ids::SegmentNo;

/// A log of `count` events in batches of `batch`, over as many segments as it takes.
fn log_of(folder: &mut Folder, count: u64, batch: u64, sealed: bool) -> Vec<Event> {
    let (mut log, _, mut collect) = folder.open();
    let before = collect.events.len() as u64;
    for number in before..before + count {
        let mut event = numbered(number);
        let events = collect.events.len();
        let body = vec![number as u8; 40 + number as usize % 60];
        log.writer.append(|| base(events), &mut event, &body);
        collect.events.push(event);
        if number % batch == 0 {
            folder.write_all(&mut log);
        }
    }
    folder.write_all(&mut log);
    if sealed {
        log.writer.seal(|| base(collect.events.len()));
        folder.write_all(&mut log);
    }
    collect.events
}

/// What a damaged log may show: all of it, all but the last batch, or its damage.
fn check(damaged: &Folder, events: &[Event], last_batch: usize) -> Result<(), String> {
    match damaged.recover() {
        Err(_) => Ok(()),
        Ok((_, collect)) => {
            let count = collect.events.len();
            let prefix = events.get(..count) == Some(&collect.events[..]);
            let whole = count == events.len();
            if prefix && (whole || count == events.len() - last_batch) {
                Ok(())
            } else {
                Err(format!("{count} of {} events came back", events.len()))
            }
        }
    }
}

#[test]
fn each_flipped_bit_is_harmless_or_in_the_last_batch_or_reported() {
    for sealed in [false, true] {
        let mut folder = Folder::default();
        log_of(&mut folder, 130, 9, false);
        let events = log_of(&mut folder, 130, 9, sealed);
        let live = folder.recover().unwrap().0.segments;
        assert!(live.len() >= 3, "{live:?}");
        // Events of the last batch that holds any; behind the seal nothing can be torn.
        let last_batch = if sealed { 0 } else { (events.len() - 1) % 9 };
        for live in live {
            for at in 0..live.end as usize {
                let bit = at % 8;
                folder.slots.get_mut(&live.slot).unwrap()[at] ^= 1 << bit;
                check(&folder, &events, last_batch)
                    .unwrap_or_else(|wrong| panic!("{live:?} byte {at} bit {bit}: {wrong}"));
                folder.slots.get_mut(&live.slot).unwrap()[at] ^= 1 << bit;
            }
        }
    }
}

/// Fills `len` bytes from `at` on with zeros in one slot of the folder.
fn zeroed(folder: &Folder, slot: SlotNo, at: usize, len: usize) -> Folder {
    let mut folder = folder.clone();
    folder.slots.get_mut(&slot).unwrap()[at..at + len].fill(0);
    folder
}

/// Batches of two events share pages: at the end of a log a page holds many.
#[test]
fn a_bad_page_at_the_end_of_an_unsealed_log_takes_one_batch_or_is_found() {
    for count in 130..150 {
        let mut folder = Folder::default();
        let events = log_of(&mut folder, count, 2, false);
        let last_batch = (events.len() - 1) % 2;
        let last_batch = if last_batch == 0 { 2 } else { last_batch };
        for live in folder.recover().unwrap().0.segments {
            for page in 1..SEGMENT_BYTES as usize / 4096 {
                let damaged = zeroed(&folder, live.slot, page * 4096, 4096);
                check(&damaged, &events, last_batch)
                    .unwrap_or_else(|wrong| panic!("{live:?} page {page}: {wrong}"));
                // All that is behind it, but for the witnesses.
                let behind = SEGMENT_BYTES as usize - 4096 - page * 4096;
                let damaged = zeroed(&folder, live.slot, page * 4096, behind);
                check(&damaged, &events, last_batch)
                    .unwrap_or_else(|wrong| panic!("{live:?} from page {page} on: {wrong}"));
            }
        }
        let whole = folder.recover().unwrap().0;
        let last = whole.last_batch.unwrap();
        let behind = SEGMENT_BYTES - 4096 - last.offset;
        let at = last.offset as usize;
        let (recovered, found) = zeroed(&folder, last.slot, at, behind as usize)
            .recover()
            .expect("nothing contradicts that it was in flight");
        let missing = events.len() - found.events.len();
        assert_eq!(missing, last_batch);
        let torn = recovered.torn.expect("its witness tells of it");
        assert_eq!(torn.offset, last.offset);
        assert_eq!(torn.bytes, Some(last.bytes));
        assert_eq!(torn.records, Some(missing as u32));
    }
}

#[test]
fn a_file_that_has_lost_its_end_is_damage_where_the_log_ends_in_it() {
    let mut folder = Folder::default();
    let events = log_of(&mut folder, 130, 9, false);
    let segments = folder.recover().unwrap().0.segments;
    let newest = segments.last().unwrap().segment.0;
    for live in segments {
        let mut damaged = folder.clone();
        let bytes = damaged.slots.get_mut(&live.slot).unwrap();
        bytes.resize(2 * SEGMENT_BYTES as usize, 7);
        let (_, found) = damaged
            .recover()
            .expect("a longer file has all that was written");
        assert_eq!(found.events, events);
        for left in [live.end, live.end - 1] {
            let bytes = damaged.slots.get_mut(&live.slot).unwrap();
            bytes.truncate(left as usize);
            let rolled = live.segment.0 < newest && left == live.end;
            match damaged.recover() {
                // Another segment follows, and all that stood before it is there.
                Ok((_, found)) if rolled => assert_eq!(found.events, events),
                Err(RecoveryError::Corrupt(damage)) if !rolled => {
                    let place = (damage.segment, damage.slot);
                    assert_eq!(place, (live.segment, Some(live.slot)));
                }
                other => panic!("{live:?} cut to {left} bytes: {other:?}"),
            }
        }
    }
}

/// What tears a batch tears one witness at most: the one before still says how far the log had gone.
#[test]
fn a_torn_batch_on_a_bad_page_hides_nothing_that_was_promised() {
    let mut folder = Folder::default();
    let (mut log, _, _) = folder.open();
    let mut ends = Vec::new();
    for number in 0..6 {
        log.writer
            .append(|| base(number), &mut numbered(number as u64), &[5; 90]);
        folder.write_all(&mut log);
        ends.push(log.writer.durable().offset() as usize);
    }
    log.writer.append(|| base(6), &mut numbered(6), &[6; 150]);
    folder.write_one(&mut log, Some(1));
    let slot = folder.active[&SegmentNo(1)];
    assert_eq!(folder.recover().unwrap().1.events.len(), 6);
    for (from, found) in [(ends[5], Some(6)), (ends[4], None), (ends[2], None)] {
        let damaged = zeroed(&folder, slot, from, 4096 - from % 4096);
        let events = damaged
            .recover()
            .ok()
            .map(|(_, collect)| collect.events.len());
        assert_eq!(events, found, "from byte {from} on");
    }
}

/// The batch that leads to the next segment was durable before the first one there was begun, and that one's witness
/// says so.
#[test]
fn a_bad_page_before_a_segment_whose_first_batch_is_torn_is_found() {
    let mut folder = Folder::default();
    let (mut log, _, _) = folder.open();
    let mut number = 0;
    while !folder.active.contains_key(&SegmentNo(2)) {
        log.writer
            .append(|| base(number), &mut numbered(number as u64), &[5; 90]);
        number += 1;
        folder.write_one(&mut log, None);
    }
    let rolled = folder.recover().unwrap().0.last_batch.unwrap();
    folder.write_one(&mut log, Some(1));
    assert_eq!(folder.recover().unwrap().1.events.len(), number - 1);
    let page = rolled.offset as usize / 4096 * 4096;
    let damaged = zeroed(&folder, rolled.slot, page, 4096);
    let Err(RecoveryError::Corrupt(damage)) = damaged.recover() else {
        panic!("what the page held went unnoticed");
    };
    assert_eq!(damage.segment, SegmentNo(1), "{damage}");
}

#[test]
fn damage_is_reported_with_its_segment_file_and_byte() {
    let mut folder = Folder::default();
    log_of(&mut folder, 200, 7, false);
    let segment = SegmentNo(1);
    let slot = folder.active[&segment];
    folder.slots.get_mut(&slot).unwrap()[5000] ^= 4;
    let Err(RecoveryError::Corrupt(damage)) = folder.recover() else {
        panic!("damage in the middle went unnoticed");
    };
    assert_eq!((damage.segment, damage.slot), (segment, Some(slot)));
    assert!((4096..=5000).contains(&damage.offset), "{damage}");
    assert!(damage.to_string().contains("000001.seg"), "{damage}");
}

/// Damage over more than one sector: the segment's header and the head of its first batch are both gone.
#[test]
fn a_segment_without_any_head_is_still_missed() {
    let mut whole = Folder::default();
    log_of(&mut whole, 300, 7, false);
    let segments = whole.recover().unwrap().0.segments;
    for live in &segments {
        let mut folder = whole.clone();
        let bytes = folder.slots.get_mut(&live.slot).unwrap();
        bytes[100] ^= 1;
        bytes[4096..4096 + 40].fill(0xff);
        let Err(RecoveryError::Corrupt(damage)) = folder.recover() else {
            panic!("{live:?}: a segment without a head went unnoticed");
        };
        assert_eq!(damage.segment, live.segment, "{damage}");
    }
}

#[test]
fn a_lost_header_a_lost_file_and_a_newer_one_are_told_apart() {
    let mut whole = Folder::default();
    log_of(&mut whole, 300, 7, false);
    let segments = whole.recover().unwrap().0.segments;
    for live in &segments {
        let mut folder = whole.clone();
        folder.slots.get_mut(&live.slot).unwrap()[100] ^= 1;
        let Err(RecoveryError::Corrupt(damage)) = folder.recover() else {
            panic!("{live:?}: an unreadable header went unnoticed");
        };
        assert_eq!(damage.segment, live.segment, "{damage}");
        let mut folder = whole.clone();
        folder.slots.remove(&live.slot);
        assert!(matches!(folder.recover(), Err(RecoveryError::Corrupt(_))));
    }
    let page = whole.slots.get_mut(&segments[0].slot).unwrap();
    page[8..12].copy_from_slice(&3_u32.to_le_bytes());
    let crc = crc32c::crc32c(&page[..4092]);
    page[4092..4096].copy_from_slice(&crc.to_le_bytes());
    let newer = RecoveryError::Newer {
        slot: segments[0].slot,
        what: Newer::Version(3),
    };
    assert_eq!(whole.recover().unwrap_err(), newer);
}

/// Recovery added one to whatever number a header held. A folder that the fuzzer forged, checksums and
/// all, with the last number there is, made it panic instead of reporting what it read.
#[test]
fn numbers_that_no_opening_can_follow_are_reported() {
    let first = Start {
        segment: SegmentNo(1),
        generation: Generation(1),
        oldest: SegmentNo(1),
        previous_end: Position::default(),
        previous_crc: 0,
        is_cut: false,
    };
    forged(&first).recover().expect("an ordinary beginning");
    let last = SegmentNo(u32::MAX);
    for start in [
        Start {
            segment: last,
            oldest: last,
            ..first
        },
        Start {
            generation: Generation(u32::MAX),
            ..first
        },
        Start {
            oldest: SegmentNo(9),
            ..first
        },
    ] {
        match forged(&start).recover() {
            Err(RecoveryError::Corrupt(damage)) => assert_eq!(damage.segment, start.segment),
            other => panic!("{start:?}: {other:?}"),
        }
    }
}

/// A folder of one segment with one event, begun as `start` says.
fn forged(start: &Start) -> Folder {
    let header = SegmentHeader::opening(start, SEGMENT_BYTES);
    let mut writer = Writer::new(geometry(), start);
    writer.append(|| base(0), &mut numbered(0), b"body");
    let batch = writer.take_batch().unwrap();
    let batch = Sealer::new(start).seal(batch);
    let mut bytes = header.encode();
    bytes.extend_from_slice(&batch.bytes);
    bytes.resize(SEGMENT_BYTES as usize, 0);
    let mut folder = Folder::default();
    folder.slots.insert(SlotNo(1), bytes);
    folder
}

#[test]
fn a_batch_from_an_earlier_opening_behind_the_cut_is_no_log() {
    let mut folder = Folder::default();
    let (mut log, _, _) = folder.open();
    log.writer.append(|| base(0), &mut numbered(0), b"first");
    folder.write_all(&mut log);
    let kept = folder.recover().unwrap().1.events;
    let before = folder.clone();
    log.writer.append(|| base(1), &mut numbered(1), b"second");
    folder.write_all(&mut log);
    // The second batch was lost when the log was opened next, and turns up afterwards.
    let tail = folder.slots.clone();
    let mut folder = before;
    let (mut log, _, _) = folder.open();
    let slot = *tail.keys().next().unwrap();
    folder.slots.insert(slot, tail[&slot].clone());
    assert_eq!(folder.recover().unwrap().1.events, kept);
    log.writer.append(|| base(1), &mut numbered(9), b"other");
    folder.write_all(&mut log);
    let events = folder.recover().unwrap().1.events;
    assert_eq!(events.len(), 2);
    assert!(matches!(&events[1], Event::Enqueued(enqueued) if enqueued.id.seq.0 == 9));
}

#[test]
fn a_copy_of_an_earlier_batch_inside_a_torn_body_is_no_proof_of_corruption() {
    let mut folder = Folder::default();
    let (mut log, _, _) = folder.open();
    log.writer.append(|| base(0), &mut numbered(0), b"first");
    folder.write_all(&mut log);
    let slot = folder.active[&SegmentNo(1)];
    let batch = folder.slots[&slot][4096..4096 + 128].to_vec();
    // At each alignment, so that one of them is found by a search.
    for shift in 0..16 {
        let mut folder = folder.clone();
        let mut body = vec![0; shift];
        body.extend_from_slice(&batch);
        let mut log = reopened(&mut folder);
        log.writer.append(|| base(1), &mut numbered(1), &body);
        log.writer.append(|| base(2), &mut numbered(2), &[1; 200]);
        let len = 40 + 128 + 128 + 60 + shift;
        folder.write_one(&mut log, Some(len));
        let (_, collect) = folder.recover().unwrap();
        assert_eq!(collect.events.len(), 1);
    }
}

fn reopened(folder: &mut Folder) -> OpenLog {
    folder.open().0
}

proptest! {
    #[test]
    fn a_torn_batch_is_cut_wherever_it_tears_and_the_log_goes_on(
        rounds in proptest::collection::vec((1_u64..80, 1_u64..20, any::<usize>(), 1_u64..90), 1..6)
    ) {
        let mut folder = Folder::default();
        let mut events: Vec<Event> = Vec::new();
        for (count, batch, cut, torn) in rounds {
            let (mut log, _, collect) = folder.open();
            prop_assert_eq!(&collect.events, &events);
            for number in 0..count {
                let mut event = numbered(number);
                log.writer.append(|| base(events.len()), &mut event, &[5; 90]);
                events.push(event);
                if number % batch == 0 {
                    folder.write_all(&mut log);
                }
            }
            folder.write_all(&mut log);
            let durable = events.len();
            for number in 0..torn {
                let count = events.len();
                let mut event = numbered(number);
                log.writer.append(|| base(count), &mut event, &[6; 150]);
                events.push(event);
            }
            folder.write_one(&mut log, Some(cut));
            let (_, collect) = folder.recover().unwrap();
            prop_assert_eq!(&collect.events, &events[..durable]);
            events.truncate(durable);
        }
    }
}
