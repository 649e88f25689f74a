//! Optional fields: what an older program does with those of a newer one.

use super::super::fields::FIELDS_BYTES_MAX;
use super::super::limits::RECORD_META_BYTES_MAX;
use super::super::record::{RecordPlace, encode_event};
use super::super::*;
use super::folder::{Folder, base};
use super::roundtrip::numbered;
use crate::core::event::{
    Carried, Enqueued, Event, LeaseOutcome, LifeImage, Next, PoisonCause, Settled, TaskImage,
};
use crate::core::history::Attempt;
use crate::core::ids::{BodyRef, Fingerprint, KeyHash, SegmentNo};
use crate::core::limits::ERROR_BYTES_MAX;
use crate::core::time::Now;
use crate::core::{DeliveryId, Epoch, Origin, QueueMs, QueueState, RouteId, Seq, TaskId};

/// Field 1 with two bytes, field 9 with none.
const FIELDS: [u8; 8] = [1, 2, 0, 0xaa, 0xbb, 9, 0, 0];

fn enqueued(fields: &[u8]) -> Event {
    let Event::Enqueued(enqueued) = numbered(1) else {
        unreachable!("it is one");
    };
    Event::Enqueued(Enqueued {
        carried: Carried::new(fields),
        ..enqueued
    })
}

fn encoded(event: &mut Event) -> Vec<u8> {
    let mut out = Vec::new();
    let place = RecordPlace {
        segment: SegmentNo(1),
        origin: 0,
    };
    encode_event(&mut out, place, event, b"body");
    out
}

fn decoded(bytes: &[u8], format: FormatVersion) -> Result<Event, DecodeError> {
    let mut records = Records::new(bytes, format, SegmentNo(1), 0);
    let placed = records.next().expect("there is a record")?;
    assert_eq!(placed.body, b"body");
    match placed.record {
        LogRecord::Event(event) => Ok(event),
        other => panic!("no event: {other:?}"),
    }
}

#[test]
fn fields_that_nobody_knows_are_read_as_they_are_and_only_since_version_2() {
    let mut event = enqueued(&FIELDS);
    let bytes = encoded(&mut event);
    assert_eq!(decoded(&bytes, FormatVersion::Two), Ok(event));
    let refused = DecodeError::Value {
        field: "set of options",
        value: 4,
    };
    assert_eq!(decoded(&bytes, FormatVersion::One), Err(refused));
}

#[test]
fn without_fields_both_versions_write_the_same_bytes() {
    let mut event = enqueued(&[]);
    let bytes = encoded(&mut event);
    assert_eq!(bytes.len(), encoded(&mut enqueued(&FIELDS)).len() - 10);
    assert_eq!(decoded(&bytes, FormatVersion::One), Ok(event.clone()));
    assert_eq!(decoded(&bytes, FormatVersion::Two), Ok(event));
}

#[test]
fn fields_out_of_order_too_long_or_none_at_all_are_damage() {
    let whole = encoded(&mut enqueued(&FIELDS));
    let at = whole.len() - b"body".len() - 4 - FIELDS.len() - 2;
    assert_eq!(whole[at..at + 2], [8, 0]);
    let longest: Vec<u8> = [&[1, 0xfd, 3][..], &[7; 1021]].concat();
    let longer: Vec<u8> = [&[1, 0xfe, 3][..], &[7; 1022]].concat();
    for (fields, fits) in [
        (&FIELDS[..], true),
        (&longest[..], true),
        (&longer[..], false),
        (&[][..], false),
        // Twice the same, falling, number zero, longer than it is, less than a field.
        (&[1, 0, 0, 1, 0, 0][..], false),
        (&[2, 0, 0, 1, 0, 0][..], false),
        (&[0, 0, 0][..], false),
        (&[1, 1, 0][..], false),
        (&[1, 0, 0, 2][..], false),
    ] {
        let len = u16::try_from(fields.len()).unwrap().to_le_bytes();
        let (front, rest) = (&whole[..at], &whole[at + 2 + FIELDS.len()..]);
        let read = decoded(&[front, &len, fields, rest].concat(), FormatVersion::Two);
        match fits {
            true => assert_eq!(read.map(|_| ()), Ok(()), "{fields:?}"),
            false => assert_eq!(read, Err(DecodeError::Fields), "{fields:?}"),
        }
    }
}

#[test]
fn a_field_that_must_be_known_refuses_the_log_as_a_newer_ones_and_not_as_damaged() {
    let mut folder = Folder::default();
    let (mut log, _, _) = folder.open();
    log.writer.append(|| base(0), &mut enqueued(&FIELDS), b"");
    folder.write_all(&mut log);
    assert_eq!(folder.recover().unwrap().1.events.len(), 1);
    // Field 3 may be passed over, field 5 may not.
    let fields = [3, 0, 0, 0x85, 1, 0, 0];
    log.writer.append(|| base(1), &mut enqueued(&fields), b"");
    folder.write_all(&mut log);
    let slot = *folder.slots.keys().next().unwrap();
    let error = folder.recover().unwrap_err();
    let what = Newer::Field(5);
    assert_eq!(error, RecoveryError::Newer { slot, what });
    assert!(error.to_string().contains("optional field 5"), "{error}");
}

/// A state with one task that carries fields.
fn state() -> (QueueState, TaskId) {
    let mut state = QueueState::new(0);
    let (at, origin) = (QueueMs(1), Origin(7));
    state.apply(&Event::Opened { at, origin });
    let (route, name) = (RouteId(0), "a".into());
    state.apply(&Event::RouteDefined { route, name });
    let id = TaskId {
        seq: state.next_seq(),
        origin,
    };
    enqueue(&mut state, id, &FIELDS);
    (state, id)
}

fn enqueue(state: &mut QueueState, id: TaskId, fields: &[u8]) {
    let Event::Enqueued(enqueued) = enqueued(fields) else {
        unreachable!("it is one");
    };
    state.apply(&Event::Enqueued(Enqueued { id, ..enqueued }));
}

fn image(state: &QueueState, id: TaskId) -> TaskImage {
    state.image(id).expect("it lives")
}

#[test]
fn a_task_carries_its_fields_through_moves_restarts_and_drains_and_takes_them_along() {
    let (mut state, id) = state();
    let moved = image(&state, id);
    assert_eq!(moved.carried.as_bytes(), FIELDS);
    // Moved by compaction, it is found by a recovery that never sees its enqueue.
    let mut event = Event::Moved {
        image: Box::new(moved.clone()),
        body: BodyRef::default(),
    };
    let mut recovered = QueueState::from_base(state.base());
    let read = decoded(&encoded(&mut event), FormatVersion::Two).unwrap();
    recovered.replay(&read).unwrap();
    assert_eq!(image(&recovered, id), moved);
    // Drained and restored elsewhere.
    let mut other = QueueState::new(1);
    let (route, name) = (RouteId(0), "a".into());
    other.apply(&Event::RouteDefined { route, name });
    let input = crate::core::Input::Restore { image: &moved };
    let (policy, mut events) = (crate::core::Policy::default(), Vec::new());
    crate::core::decide(&other, &policy, Now::default(), input, &mut events).unwrap();
    other.apply(&events[0]);
    assert_eq!(image(&other, id).carried.as_bytes(), FIELDS);
    // Whoever gets its place in memory has none.
    finish(&mut state, id);
    let next = TaskId { seq: Seq(2), ..id };
    enqueue(&mut state, next, &[]);
    assert!(image(&state, next).carried.is_empty());
    assert_eq!(state.carried_len(), 0);
}

fn finish(state: &mut QueueState, id: TaskId) {
    let delivery = DeliveryId {
        task: id,
        epoch: Epoch::FIRST,
    };
    let at = QueueMs(2);
    let lease = Default::default();
    state.apply(&Event::Granted {
        delivery,
        at,
        lease,
    });
    state.apply(&Event::Settled(Settled {
        delivery,
        at,
        outcome: LeaseOutcome::Done,
        charged: false,
        isolation: Default::default(),
        next: Next::Done,
        sends: 1,
        transport: None,
        error: None,
    }));
}

/// What every segment has to have room for.
#[test]
fn the_largest_record_is_as_large_as_the_sizes_reckon_with() {
    let (state, id) = state();
    let mut largest = image(&state, id);
    let longest = vec![7; FIELDS_BYTES_MAX - 3];
    let len = u16::try_from(longest.len()).unwrap().to_le_bytes();
    largest.carried = Carried::new(&[&[1], &len[..], &longest].concat());
    (largest.deadline, largest.key) = (Some(QueueMs(9)), Some((KeyHash(1), Fingerprint(2))));
    largest.life = LifeImage::Poison {
        at: QueueMs(9),
        cause: PoisonCause::Expired,
    };
    let history = largest.history.get_or_insert_default();
    for epoch in 1..=100 {
        history.push(Attempt {
            epoch: Epoch::new(epoch).unwrap(),
            at: QueueMs(1),
            outcome: LeaseOutcome::Rejected,
            charged: true,
            transport: None,
            sends: 1,
            error: Some("e".repeat(ERROR_BYTES_MAX).into()),
            times: 1,
        });
    }
    let mut event = Event::Moved {
        image: Box::new(largest),
        body: BodyRef::default(),
    };
    let bytes = encoded(&mut event);
    assert_eq!(decoded(&bytes, FormatVersion::Two), Ok(event));
    let meta = bytes.len() - b"body".len();
    let reckoned = RECORD_META_BYTES_MAX as usize;
    assert!((reckoned - 256..=reckoned).contains(&meta), "{meta} bytes");
}
