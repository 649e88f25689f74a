//! A crash at every operation.

use std::sync::{Arc, Mutex};

use super::fixture::LogFixture;
use super::session::{Knowledge, Known, Session};
use super::suite::Builder;

/// What a sweep has seen: a sweep that never saw these has shown little.
#[derive(Debug, Default)]
struct Seen {
    /// Lives that ended too early.
    crashes: u32,
    /// Something that was appended and not confirmed was not there,
    cut: u32,
    /// and was there.
    kept: u32,
}

/// Three openings: one that is sealed, one that is dropped, and one that retires.
async fn workload(fixture: &dyn LogFixture, known: &Knowledge) {
    for opening in 0..3 {
        let (mut session, _) = Session::open(&*fixture.store(), known).await;
        if session.log.room().ready == 0 {
            session.log.make_room().await.expect("nothing breaks here");
        }
        for burst in 0..8_u64 {
            session.write(burst % 9 + 1).await;
            while session.writer.segments_in_use() > 3 {
                session.retire_oldest().await;
            }
        }
        // Over the end of a segment.
        session.write(60).await;
        if opening == 0 {
            session.seal().await;
        }
    }
}

pub(crate) fn a_crash_anywhere_takes_nothing_that_was_confirmed(build: Builder<'_>) {
    let mut seen = Seen::default();
    let mut finished = false;
    let mut operation = 0;
    while !finished {
        operation += build().stride();
        for way in 0..build().ways() {
            let fixture = build();
            fixture.die_at(operation, way);
            let known = Knowledge::default();
            finished = fixture.live(Box::pin(workload(&*fixture, &known)));
            seen.crashes += u32::from(!finished);
            let known = known.lock().unwrap().clone();
            survives(&*fixture, &known, way, &mut seen);
        }
    }
    assert!(
        seen.crashes >= 20 && seen.cut > 0 && seen.kept > 0,
        "{seen:?}"
    );
}

/// What is left opens, holds all that was confirmed and nothing that was never appended, goes on, and is the
/// same for the next opening.
fn survives(fixture: &dyn LogFixture, known: &Known, way: u64, seen: &mut Seen) {
    fixture.bury(way);
    let open = Known {
        appended: known.appended,
        ..known.clone()
    };
    let went_on = Knowledge::default();
    let lived = fixture.live(Box::pin(async {
        let mut session = reopened(fixture, &open, seen, &went_on).await;
        // Found once, found for ever: also if it dies before it has written anything.
        if !way.is_multiple_of(2) {
            session.append(3);
            session.flush().await.expect("nothing breaks here");
        }
    }));
    assert!(lived);
    let after = went_on.lock().unwrap().clone();
    fixture.bury(fixture.ways() - 1);
    let last = Arc::new(Mutex::new(Known::default()));
    let lived = fixture.live(Box::pin(async {
        let session = reopened(fixture, &after, &mut Seen::default(), &last).await;
        assert_eq!(session.known.lock().unwrap().appended, after.confirmed);
    }));
    assert!(lived);
}

async fn reopened(
    fixture: &dyn LogFixture,
    before: &Known,
    seen: &mut Seen,
    known: &Knowledge,
) -> Session {
    known.lock().unwrap().retained = before.retained;
    let (session, numbers) = Session::open(&*fixture.store(), known).await;
    let first = numbers.first.unwrap_or(0);
    assert!(
        first <= before.retained,
        "events {first}.. are left of {before:?}"
    );
    assert!(
        (before.confirmed..=before.appended).contains(&numbers.next),
        "events ..{} are left of {before:?}",
        numbers.next
    );
    seen.cut += u32::from(numbers.next < before.appended);
    seen.kept += u32::from(numbers.next > before.confirmed);
    session.check_bodies(&numbers).await;
    session
}
