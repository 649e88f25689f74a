//! What is written is what is recovered.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::record::{RecordPlace, encode_event, size_bound};
use super::super::*;
use super::events::event_and_body;
use super::folder::{Folder, base};
use crate::core::event::{Carried, Enqueued, Event, LeaseTimes};
use crate::core::ids::{BodyRef, DeliveryId, Epoch, RouteId, SegmentNo};
use crate::core::time::QueueMs;

fn body_of(event: &Event) -> Option<BodyRef> {
    match event {
        Event::Enqueued(Enqueued { body, .. })
        | Event::Restored { body, .. }
        | Event::Moved { body, .. }
        | Event::KeyMoved { body, .. }
        | Event::OriginsKept { body, .. } => Some(*body),
        _ => None,
    }
}

proptest! {
    #[test]
    fn a_record_decodes_to_its_event_and_its_body_place((mut event, body) in event_and_body()) {
        let place = RecordPlace { segment: SegmentNo(7), origin: 4136 };
        let mut out = vec![0xee; 11];
        encode_event(&mut out, place, &mut event, &body);
        prop_assert!(out.len() - 11 <= size_bound(&event) + body.len());
        let mut records = Records::new(&out[11..], FormatVersion::WRITTEN, SegmentNo(7), 4147);
        let placed = records.next().unwrap().unwrap();
        prop_assert_eq!(placed.record, LogRecord::Event(event));
        prop_assert_eq!(placed.body, &body[..]);
        prop_assert!(records.next().is_none());
    }

    #[test]
    fn every_proper_prefix_of_a_record_is_refused((mut event, body) in event_and_body()) {
        let place = RecordPlace { segment: SegmentNo(1), origin: 0 };
        let mut out = Vec::new();
        encode_event(&mut out, place, &mut event, &body);
        for len in 1..out.len() {
            let mut records = Records::new(&out[..len], FormatVersion::WRITTEN, SegmentNo(1), 0);
            let first = records.next().unwrap();
            prop_assert_eq!(first.map(|_| ()), Err(DecodeError::Short));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(tag in 0_u8..32, bytes in vec(any::<u8>(), 0..400)) {
        let tagged: Vec<u8> = std::iter::once(tag).chain(bytes).collect();
        for format in [FormatVersion::One, FormatVersion::Two] {
            let records = Records::new(&tagged, format, SegmentNo(u32::MAX), u32::MAX - 100);
            prop_assert!(records.count() <= tagged.len());
        }
        let _ = SegmentHeader::decode(&tagged);
        let _ = BatchHeader::decode(&tagged);
    }

    #[test]
    fn a_log_over_many_segments_and_openings_comes_back_whole(
        openings in vec((vec((event_and_body(), 0_u8..6), 1..60), any::<bool>()), 1..4)
    ) {
        let mut folder = Folder::default();
        let mut expected = Vec::new();
        let mut bodies = Vec::new();
        for (events, sealed) in openings {
            let (mut log, recovered, collect) = folder.open();
            prop_assert_eq!(&collect.events, &expected);
            prop_assert_eq!(recovered.torn, None);
            let mut position = log.writer.appended();
            for ((mut event, body), drain) in events {
                let count = expected.len();
                let next = log.writer.append(|| base(count), &mut event, &body);
                prop_assert!(next > position);
                position = next;
                bodies.push((body_of(&event), body));
                expected.push(event);
                if drain == 0 {
                    folder.write_all(&mut log);
                    prop_assert_eq!(log.writer.durable(), position);
                }
            }
            if sealed {
                log.writer.seal(|| base(expected.len()));
            }
            folder.write_all(&mut log);
            let (recovered, collect) = folder.recover().unwrap();
            prop_assert_eq!(&collect.events, &expected);
            prop_assert_eq!(recovered.sealed, sealed);
            prop_assert_eq!(recovered.start.previous_end, log.writer.durable());
        }
        let (_, _, _) = folder.open();
        for (place, body) in bodies {
            if let Some(place) = place {
                prop_assert_eq!(folder.body(place), &body[..]);
                prop_assert_eq!(crc32c::crc32c(&body), place.crc);
            }
        }
    }
}

#[test]
fn a_lease_with_epoch_zero_is_refused() {
    let delivery = DeliveryId {
        task: crate::core::TaskId::default(),
        epoch: Epoch::FIRST,
    };
    let mut granted = Event::Granted {
        delivery,
        at: QueueMs(0),
        lease: LeaseTimes::default(),
    };
    let place = RecordPlace {
        segment: SegmentNo(1),
        origin: 0,
    };
    let mut bytes = Vec::new();
    encode_event(&mut bytes, place, &mut granted, &[]);
    // Behind the tag and the task.
    assert_eq!(bytes[17..21], 1_u32.to_le_bytes());
    bytes[17..21].fill(0);
    let field = "epoch of a lease";
    let refused = Err(DecodeError::Value { field, value: 0 });
    let mut records = Records::new(&bytes, FormatVersion::WRITTEN, SegmentNo(1), 0);
    let decoded = records.next().unwrap();
    assert_eq!(decoded.map(|_| ()), refused);
}

/// An event that tells which one it is.
pub(super) fn numbered(number: u64) -> Event {
    let mut id = crate::core::TaskId::default();
    id.seq.0 = number;
    Event::Enqueued(Enqueued {
        id,
        at: QueueMs(number),
        route: RouteId(0),
        deadline: None,
        key: None,
        carried: Carried::default(),
        body: BodyRef::default(),
    })
}

#[test]
fn a_volatile_event_is_not_written_and_rests_on_what_came_before() {
    let mut folder = Folder::default();
    let (mut log, _, _) = folder.open();
    let before = log.writer.append(|| base(0), &mut numbered(0), b"body");
    let mut due = Event::Due {
        id: crate::core::TaskId::default(),
    };
    let after = log.writer.append(|| unreachable!(), &mut due, &[]);
    assert_eq!(before, after);
    folder.write_all(&mut log);
    assert_eq!(folder.recover().unwrap().1.events.len(), 1);
}

#[test]
fn one_batch_is_in_flight_and_positions_become_durable_in_order() {
    let mut folder = Folder::default();
    let (mut log, _, _) = folder.open();
    let first = log.writer.append(|| base(0), &mut numbered(0), b"1");
    let batch = log.writer.take_batch().unwrap();
    assert_eq!(batch.end, first);
    let second = log.writer.append(|| base(1), &mut numbered(1), b"2");
    assert!(log.writer.take_batch().is_none());
    assert!(log.writer.durable() < first);
    assert!(log.writer.pending_bytes() > 0);
    log.writer.completed(batch.end);
    assert_eq!(log.writer.durable(), first);
    let batch = log.writer.take_batch().unwrap();
    assert_eq!(batch.end, second);
    assert_eq!(log.writer.pending_bytes(), 0);
}

#[test]
fn openings_that_write_nothing_take_no_segments() {
    let mut folder = Folder::default();
    for opening in 1..20 {
        let (log, recovered, _) = folder.open();
        assert_eq!(recovered.start.segment, SegmentNo(1));
        assert_eq!(recovered.start.generation.0, opening);
        drop(log);
    }
    assert!(folder.slots.len() <= 2, "{} slots", folder.slots.len());
}

#[test]
fn retired_segments_are_recycled_and_what_they_held_never_comes_back() {
    let mut folder = Folder::default();
    let mut count = 0_u64;
    for _ in 0..6 {
        let (mut log, recovered, collect) = folder.open();
        let from = collect.events.first().map_or(0, |event| match event {
            Event::Enqueued(enqueued) => enqueued.id.seq.0,
            other => panic!("never written: {other:?}"),
        });
        let got: Vec<Event> = collect.events.iter().map(strip).collect();
        let expected: Vec<Event> = (from..count).map(numbered).collect();
        assert_eq!(got, expected);
        assert!(recovered.segments.len() <= 3, "{recovered:?}");
        for _ in 0..500 {
            let events = count as usize;
            log.writer
                .append(|| base(events), &mut numbered(count), &[7; 100]);
            count += 1;
            folder.write_all(&mut log);
            while log.writer.segments_in_use() > 2 {
                let oldest = log.writer.oldest_segment();
                folder.retire(&mut log, count as usize, oldest);
            }
        }
    }
    assert!(folder.slots.len() <= 4, "{} slots", folder.slots.len());
}

fn strip(event: &Event) -> Event {
    let mut event = event.clone();
    if let Event::Enqueued(enqueued) = &mut event {
        enqueued.body = BodyRef::default();
    }
    event
}
