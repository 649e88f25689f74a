//! What any log must do. Each check takes a fixture that was never used.

use std::sync::{Arc, Mutex};

use leasebridge::core::event::Event;
use leasebridge::core::ids::{BodyRef, SegmentNo, Seq};
use leasebridge::queue::log::{LogFailure, LogReadError};

use super::fixture::LogFixture;
use super::session::{Knowledge, Known, Numbers, Session, body};

/// Makes a fixture.
pub(crate) type Builder<'a> = &'a dyn Fn() -> Box<dyn LogFixture>;

/// Runs the whole suite.
pub(crate) fn holds(build: Builder<'_>) {
    what_is_appended_is_read_back(&*build());
    an_opening_finds_what_the_ones_before_confirmed(&*build());
    what_is_retired_is_gone_and_gives_its_room_back(&*build());
    room_is_made_one_segment_at_a_time(&*build());
    for does in [First::Appends, First::Retires, First::Listens] {
        for writes in [false, true] {
            a_second_opening_is_refused_or_fences_the_first(&*build(), does, writes);
        }
    }
    for arrived in [false, true] {
        a_broken_append_ends_the_opening_and_promises_nothing(&*build(), arrived);
    }
    damage_is_reported_and_nothing_is_changed(&*build());
    a_segment_that_is_needed_and_missing_is_damage(&*build());
    super::sweep::a_crash_anywhere_takes_nothing_that_was_confirmed(build);
}

/// Lets one process live that must not die.
fn live<'a>(fixture: &'a dyn LogFixture, life: impl Future<Output = ()> + 'a) {
    assert!(fixture.live(Box::pin(life)), "the process got stuck");
}

fn what_is_appended_is_read_back(fixture: &dyn LogFixture) {
    let known = Knowledge::default();
    live(fixture, async {
        let store = fixture.store();
        let (mut session, found) = Session::open(&*store, &known).await;
        assert_eq!(found, Numbers::default(), "a new log is empty");
        session.fill(4).await;
        session.log.holds().expect("nobody else has it");
        drop(session);
        let (session, numbers) = Session::open(&*store, &known).await;
        session.check_bodies(&numbers).await;
        for segment in [1, 2].map(SegmentNo) {
            let records = session.log.read_segment(segment).await.unwrap();
            let here: Vec<_> = numbers
                .bodies
                .iter()
                .filter(|(_, body)| body.segment == segment)
                .collect();
            assert_eq!(records.len(), here.len());
            for (record, (number, place)) in records.iter().zip(here) {
                assert_eq!(record.body, body(*number));
                let Event::Enqueued(enqueued) = &record.event else {
                    panic!("{record:?}");
                };
                assert_eq!((enqueued.id.seq, enqueued.body), (Seq(*number), *place));
            }
        }
        let place = numbers.bodies[&3];
        let other = BodyRef {
            crc: place.crc ^ 1,
            ..place
        };
        let read = session.log.read_bodies(&[other, place]).await;
        assert!(matches!(read[0], Err(LogReadError::Damaged(_))), "{read:?}");
        assert_eq!(read[1].as_ref().unwrap(), &body(3));
    });
}

fn an_opening_finds_what_the_ones_before_confirmed(fixture: &dyn LogFixture) {
    let known = Knowledge::default();
    live(fixture, async {
        let mut generation = None;
        for opening in 0..4_u64 {
            let (mut session, numbers) = Session::open(&*fixture.store(), &known).await;
            assert_eq!(numbers.next, opening * 65);
            session.check_bodies(&numbers).await;
            let start = session.start;
            assert!(generation < Some(start.generation), "{start:?}");
            let newest = numbers
                .bodies
                .last_key_value()
                .map(|(_, body)| body.segment);
            assert!(newest < Some(start.segment), "{start:?} behind {newest:?}");
            generation = Some(start.generation);
            for count in [1, 30, 34] {
                session.write(count).await;
            }
            if opening == 1 {
                session.seal().await;
            }
        }
    });
}

fn what_is_retired_is_gone_and_gives_its_room_back(fixture: &dyn LogFixture) {
    let known = Knowledge::default();
    live(fixture, async {
        let (mut session, _) = Session::open(&*fixture.store(), &known).await;
        session.fill(4).await;
        drop(session);
        let (mut session, numbers) = Session::open(&*fixture.store(), &known).await;
        session.write(1).await;
        let before = session.log.room();
        for segment in [1, 2].map(SegmentNo) {
            session.retire_oldest().await;
            let gone = session.log.read_segment(segment).await;
            assert_eq!(gone, Err(LogReadError::Gone(segment)));
        }
        assert_eq!(session.log.room().ready, before.ready + 2);
        let read = session.log.read_bodies(&[numbers.bodies[&0]]).await;
        assert_eq!(read, [Err(LogReadError::Gone(SegmentNo(1)))]);
        session.check_bodies(&numbers).await;
        let retained = known.lock().unwrap().retained;
        drop(session);
        let (session, left) = Session::open(&*fixture.store(), &known).await;
        assert_eq!(session.start.oldest, SegmentNo(3));
        // What is retired may still be found, as long as it is still there.
        assert!(left.first.is_some_and(|first| first <= retained));
        assert_eq!(left.next, numbers.next + 1);
    });
}

fn room_is_made_one_segment_at_a_time(fixture: &dyn LogFixture) {
    let known = Knowledge::default();
    live(fixture, async {
        let (mut session, _) = Session::open(&*fixture.store(), &known).await;
        let before = session.log.room();
        assert!(before.ready < before.held, "one is begun: {before:?}");
        let made = session.log.make_room().await.unwrap();
        let room = session.log.room();
        assert_eq!(room.ready, before.ready + u32::from(made));
        session.fill(2).await;
        assert_eq!(session.log.room().ready + 1, room.ready, "one was begun");
    });
}

/// What a process does first that has lost its log and not heard of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Appends,
    Retires,
    Listens,
}

/// Two processes have the log at once: one of them has to go, whatever it does first, and whether the second has
/// written anything (`writes`) or not.
fn a_second_opening_is_refused_or_fences_the_first(
    fixture: &dyn LogFixture,
    does: First,
    writes: bool,
) {
    let known = Knowledge::default();
    live(fixture, async {
        let (mut first, _) = Session::open(&*fixture.store(), &known).await;
        first.fill(2).await;
        let confirmed = known.lock().unwrap().confirmed;
        let others = Arc::new(Mutex::new(Known::default()));
        let (mut second, numbers) = match Session::try_open(&*fixture.store(), &others).await {
            Ok(opened) => opened,
            Err(error) => {
                assert!(error.is_held(), "{error}");
                first.log.holds().expect("it was not lost");
                return first.write(1).await;
            }
        };
        assert_eq!(numbers.next, confirmed);
        second.write(u64::from(writes)).await;
        let fenced = |failure| matches!(failure, Err(LogFailure::Fenced(_)));
        first.append(1);
        match does {
            First::Appends => assert!(fenced(first.flush().await)),
            First::Retires => assert!(fenced(first.log.retire(SegmentNo(1)).await)),
            First::Listens => assert!(matches!(first.log.lost().await, LogFailure::Fenced(_))),
        }
        assert!(fenced(first.log.holds()), "it may not speak any more");
        assert!(fenced(first.log.retire(SegmentNo(1)).await));
        second.write(1).await;
        second.log.holds().expect("it is its own");
        let kept = second.log.read_segment(SegmentNo(1)).await;
        kept.expect("it was not the first's to retire");
        drop((first, second));
        let (session, numbers) = Session::open(&*fixture.store(), &others).await;
        let written = confirmed + 1 + u64::from(writes);
        assert_eq!(numbers.next, written, "what was fenced is not there");
        session.check_bodies(&numbers).await;
    });
}

fn a_broken_append_ends_the_opening_and_promises_nothing(fixture: &dyn LogFixture, arrived: bool) {
    let known = Knowledge::default();
    let mut found = Vec::new();
    live(fixture, async {
        let (mut session, _) = Session::open(&*fixture.store(), &known).await;
        session.write(20).await;
        fixture.break_append(arrived);
        session.append(3);
        let failure = session.flush().await.expect_err("it was never told");
        assert!(!matches!(failure, LogFailure::Fenced(_)), "{failure}");
        if failure.may_pass() {
            assert!(session.log.holds().is_err(), "nobody may be told anything");
        }
        // What is left to do comes too late.
        let again = [
            session.log.retire(SegmentNo(1)).await.err(),
            session.log.make_room().await.err(),
        ];
        for again in again {
            assert!(again.is_some(), "it goes on as if nothing had happened");
        }
    });
    fixture.bury(0);
    live(fixture, async {
        for _ in 0..2 {
            let (session, numbers) = Session::open(&*fixture.store(), &known).await;
            session.check_bodies(&numbers).await;
            found.push(numbers.next);
        }
    });
    // Whole or not at all, and once and for all.
    assert!(found == [20, 20] || found == [23, 23], "{found:?}");
}

fn damage_is_reported_and_nothing_is_changed(fixture: &dyn LogFixture) {
    let known = Knowledge::default();
    live(fixture, async {
        let (mut session, _) = Session::open(&*fixture.store(), &known).await;
        session.fill(4).await;
        drop(session);
        fixture.rot();
        for _ in 0..2 {
            let refused = Session::try_open(&*fixture.store(), &known).await;
            let error = refused.err().expect("a damaged log is refused");
            assert!(error.is_damaged(), "{error}");
        }
        fixture.rot();
        let (_, numbers) = Session::open(&*fixture.store(), &known).await;
        assert_eq!(numbers.first, Some(0));
    });
}

fn a_segment_that_is_needed_and_missing_is_damage(fixture: &dyn LogFixture) {
    let known = Knowledge::default();
    live(fixture, async {
        let (mut session, _) = Session::open(&*fixture.store(), &known).await;
        session.fill(4).await;
        drop(session);
        fixture.lose_oldest();
        let refused = Session::try_open(&*fixture.store(), &known).await;
        let error = refused
            .err()
            .expect("a log without its beginning is refused");
        assert!(error.is_damaged(), "{error}");
    });
}
