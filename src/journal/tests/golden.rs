//! The format, byte by byte: what one version wrote, every later one must read.

use std::fmt::Write;

use super::super::Mark;
use super::folder::{Folder, SEGMENT_BYTES, base};
use crate::core::event::*;
use crate::core::history::{Attempt, TaskHistory};
use crate::core::ids::*;
use crate::core::time::{QueueMs, SpanMs};
use crate::core::{JobId, JobKind, PoisonJob};

fn id() -> TaskId {
    TaskId {
        seq: Seq(0x0102),
        origin: Origin(0x0a0b_0c0d_0e0f_1011),
    }
}

fn delivery() -> DeliveryId {
    DeliveryId {
        task: id(),
        epoch: Epoch::new(3).unwrap(),
    }
}

fn key() -> Option<(KeyHash, Fingerprint)> {
    Some((KeyHash(0xaaaa_bbbb), Fingerprint(0xcccc)))
}

/// Fields 5 and 6, of two bytes and of none.
fn carried() -> Carried {
    Carried::new(&[5, 2, 0, 0xf1, 0xf2, 6, 0, 0])
}

fn settled() -> Settled {
    Settled {
        delivery: delivery(),
        at: QueueMs(70_000),
        outcome: LeaseOutcome::InDoubt(Doubt::LeaseExpired),
        charged: true,
        isolation: Isolation::Route,
        next: Next::Delayed(QueueMs(80_000)),
        sends: 2,
        transport: Some(TransportKind::Grpc),
        error: Some("late".into()),
    }
}

fn image() -> TaskImage {
    let mut history = TaskHistory::default();
    history.push(Attempt {
        epoch: Epoch::FIRST,
        at: QueueMs(60_000),
        outcome: LeaseOutcome::Rejected,
        charged: true,
        transport: Some(TransportKind::Socket),
        sends: 1,
        error: Some("no".into()),
        times: 1,
    });
    TaskImage {
        id: id(),
        route: RouteId(5),
        enqueued_at: QueueMs(50_000),
        deadline: Some(QueueMs(90_000)),
        key: key(),
        carried: carried(),
        epoch: Epoch::new(3),
        life: LifeImage::Poison {
            at: QueueMs(85_000),
            cause: PoisonCause::Refused,
        },
        budgets: Budgets {
            retries: 1,
            in_doubt: 2,
            uncharged: 3,
            deaths: 4,
            setbacks: 5,
        },
        isolation: Isolation::Queue,
        history: Some(Box::new(history)),
    }
}

fn one_of_each() -> Vec<(Event, &'static [u8])> {
    let body = BodyRef::default();
    let (id, at) = (id(), QueueMs(50_000));
    let route = RouteId(5);
    let enqueued = Enqueued {
        id,
        at,
        route,
        deadline: Some(QueueMs(90_000)),
        key: key(),
        carried: carried(),
        body,
    };
    let plain = |event| (event, &b""[..]);
    let origin = Origin(0x77);
    let name = "mail".into();
    let lease = LeaseTimes::default();
    let (delivery, why) = (delivery(), Removal::Drained);
    let moved_key = KeyImage {
        key: KeyHash(0xaaaa_bbbb),
        fingerprint: Fingerprint(0xcccc),
        id,
        at,
        done: true,
    };
    vec![
        plain(Event::Opened { at, origin }),
        plain(Event::RouteDefined { route, name }),
        plain(Event::RoutePaused {
            route,
            paused: true,
        }),
        (Event::Enqueued(enqueued), b"body"),
        plain(Event::Granted {
            delivery,
            at,
            lease,
        }),
        plain(Event::Settled(settled())),
        plain(Event::Expired { id, at }),
        plain(Event::Requeued { id, at }),
        plain(Event::Removed { id, at, why }),
        plain(Event::Rerouted { id, route }),
        (
            Event::Restored {
                image: Box::new(image()),
                body,
            },
            b"restored",
        ),
        (
            Event::Moved {
                image: Box::new(image()),
                body,
            },
            b"moved",
        ),
        plain(Event::KeyMoved {
            key: moved_key,
            body,
        }),
        plain(Event::KeysForgotten { before: at }),
        plain(Event::TooOld { id, at }),
        plain(Event::Removed {
            id,
            at,
            why: Removal::PurgedWithKey,
        }),
        plain(Event::EpochsRaised { by: 1 << 20 }),
        plain(Event::OriginsKept {
            origins: Box::new(origins()),
            body,
        }),
        plain(Event::Job(PoisonJob {
            id: JobId(3),
            kind: JobKind::Purge { release_key: true },
            route: Some(route),
            begun: at,
            total: 0x0102_0304,
            cursor: Some(id),
            changed: 0x0203,
            ended: Some(at),
            stopped: false,
        })),
        plain(Event::ClockSet {
            at,
            ahead: SpanMs(0x0506),
        }),
    ]
}

fn origins() -> OriginsImage {
    let opening = |origin, first| OpeningImage {
        origin: Origin(origin),
        first: Seq(first),
    };
    let drained = IdRange::new(Origin(0xaa), Seq(3), Seq(5));
    OriginsImage {
        openings: vec![opening(0xaa, 1), opening(0xbb, 18)],
        drained: drained.into_iter().collect(),
    }
}

fn hex(text: &mut String, title: &str, bytes: &[u8]) {
    writeln!(text, "{title}").unwrap();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        writeln!(text).unwrap();
    }
}

#[test]
fn the_bytes_of_version_2_stay_what_they_are() {
    let mut folder = Folder::default();
    let (mut log, _, _) = folder.open();
    for (count, (mut event, body)) in one_of_each().into_iter().enumerate() {
        log.writer.append(|| base(count), &mut event, body);
    }
    folder.write_all(&mut log);
    log.writer.seal(|| unreachable!("the segment has a base"));
    folder.write_all(&mut log);
    let end = log.writer.durable().offset() as usize;
    let slot = folder.slots.values().next().expect("there is a slot");
    let mut text = String::new();
    hex(&mut text, "segment header", &slot[..48]);
    hex(&mut text, "its CRC", &slot[4092..4096]);
    hex(&mut text, "batches", &slot[4096..end]);
    let witness = SEGMENT_BYTES as usize - 4096;
    hex(&mut text, "a witness", &slot[witness..witness + 40]);
    let mark = Mark::of_whole(&folder.recover().unwrap().0).expect("the log holds something");
    let page = mark.encode();
    hex(&mut text, "mark", &page[..48]);
    hex(&mut text, "its CRC", &page[4092..]);
    assert_eq!(Mark::decode(&page), Ok(mark));
    insta::assert_snapshot!(text);
}
