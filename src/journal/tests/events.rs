//! Generators of arbitrary events, for property tests.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::core::event::*;
use crate::core::history::{Attempt, OutcomeCounts, TaskHistory};
use crate::core::ids::*;
use crate::core::limits::{DRAINED_RANGES_MAX, ORIGINS_MAX};
use crate::core::time::{QueueMs, SpanMs};
use crate::core::{JobId, JobKind, PoisonJob};

fn task_id() -> impl Strategy<Value = TaskId> {
    any::<(u64, u64)>().prop_map(|(seq, origin)| TaskId {
        seq: Seq(seq),
        origin: Origin(origin),
    })
}

fn delivery() -> impl Strategy<Value = DeliveryId> {
    (task_id(), epoch()).prop_map(|(task, epoch)| DeliveryId { task, epoch })
}

fn epoch() -> impl Strategy<Value = Epoch> {
    (1_u32..).prop_map(|number| Epoch::new(number).unwrap())
}

fn queue_ms() -> impl Strategy<Value = QueueMs> {
    any::<u64>().prop_map(QueueMs)
}

fn key() -> impl Strategy<Value = Option<(KeyHash, Fingerprint)>> {
    option::of(any::<(u128, u64)>().prop_map(|(key, print)| (KeyHash(key), Fingerprint(print))))
}

/// Optional fields that may be passed over.
fn carried() -> impl Strategy<Value = Carried> {
    let fields = btree_map(1_u8..128, vec(any::<u8>(), 0..20), 0..4);
    fields.prop_map(|fields| {
        let field = |(tag, value): (u8, Vec<u8>)| {
            let len = u16::try_from(value.len()).unwrap().to_le_bytes();
            [&[tag], &len[..], &value].concat()
        };
        Carried::new(&fields.into_iter().flat_map(field).collect::<Vec<u8>>())
    })
}

fn outcome() -> impl Strategy<Value = LeaseOutcome> {
    prop_oneof![
        Just(LeaseOutcome::Done),
        Just(LeaseOutcome::Rejected),
        Just(LeaseOutcome::Refused),
        Just(LeaseOutcome::Unavailable),
        Just(LeaseOutcome::NotSent),
        Just(LeaseOutcome::Released),
        Just(LeaseOutcome::InDoubt(Doubt::NoAnswer)),
        Just(LeaseOutcome::InDoubt(Doubt::LeaseExpired)),
        Just(LeaseOutcome::InDoubt(Doubt::LeaseDropped)),
        Just(LeaseOutcome::InDoubt(Doubt::BridgeDied)),
    ]
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![
        Just(Isolation::None),
        Just(Isolation::Route),
        Just(Isolation::Queue)
    ]
}

fn transport() -> impl Strategy<Value = Option<TransportKind>> {
    prop_oneof![
        Just(None),
        Just(Some(TransportKind::Socket)),
        Just(Some(TransportKind::Grpc))
    ]
}

fn cause() -> impl Strategy<Value = PoisonCause> {
    prop_oneof![
        Just(PoisonCause::RetriesSpent),
        Just(PoisonCause::InDoubtSpent),
        Just(PoisonCause::Refused),
        Just(PoisonCause::Expired),
        Just(PoisonCause::TooOld),
    ]
}

fn error() -> impl Strategy<Value = Option<Box<str>>> {
    option::of("\\PC{0,40}".prop_map(String::into_boxed_str))
}

fn settled() -> impl Strategy<Value = Settled> {
    let next = prop_oneof![
        Just(Next::Done),
        Just(Next::Ready),
        queue_ms().prop_map(Next::Delayed),
        cause().prop_map(Next::Poison),
    ];
    let about = (delivery(), queue_ms(), outcome(), any::<bool>());
    let rest = (isolation(), next, any::<u8>(), transport(), error());
    (about, rest).prop_map(|(about, rest)| Settled {
        delivery: about.0,
        at: about.1,
        outcome: about.2,
        charged: about.3,
        isolation: rest.0,
        next: rest.1,
        sends: rest.2,
        transport: rest.3,
        error: rest.4,
    })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let about = (epoch(), queue_ms(), outcome(), any::<bool>());
    let rest = (transport(), any::<u8>(), error(), any::<u32>());
    (about, rest).prop_map(|(about, rest)| Attempt {
        epoch: about.0,
        at: about.1,
        outcome: about.2,
        charged: about.3,
        transport: rest.0,
        sends: rest.1,
        error: rest.2,
        times: rest.3,
    })
}

fn history() -> impl Strategy<Value = TaskHistory> {
    let counts = any::<[u32; 6]>().prop_map(|counts| OutcomeCounts {
        rejected: counts[0],
        refused: counts[1],
        unavailable: counts[2],
        in_doubt: counts[3],
        not_sent: counts[4],
        released: counts[5],
    });
    let attempts = (vec(attempt(), 0..=5), vec(attempt(), 0..=20));
    let requeued = option::of(any::<u64>().prop_map(QueueMs));
    (attempts, any::<u64>(), counts, requeued).prop_map(
        |((first, last), omitted, counts, requeued_at)| TaskHistory {
            requeued_at,
            first,
            last: last.into(),
            omitted,
            counts,
        },
    )
}

fn image() -> impl Strategy<Value = Box<TaskImage>> {
    let life = prop_oneof![
        Just(LifeImage::Ready),
        queue_ms().prop_map(LifeImage::Delayed),
        any::<(bool, bool)>().prop_map(|(alone_in_route, alone_in_queue)| LifeImage::Leased {
            alone_in_route,
            alone_in_queue
        }),
        (queue_ms(), cause()).prop_map(|(at, cause)| LifeImage::Poison { at, cause }),
    ];
    let budgets = any::<[u16; 5]>().prop_map(|counts| Budgets {
        retries: counts[0],
        in_doubt: counts[1],
        uncharged: counts[2],
        deaths: counts[3],
        setbacks: counts[4],
    });
    let about = (
        task_id(),
        any::<u32>(),
        queue_ms(),
        option::of(queue_ms()),
        key(),
        carried(),
    );
    let history = option::of(history().prop_map(Box::new));
    let rest = (option::of(epoch()), life, budgets, isolation(), history);
    (about, rest).prop_map(|(about, rest)| {
        Box::new(TaskImage {
            id: about.0,
            route: RouteId(about.1),
            enqueued_at: about.2,
            deadline: about.3,
            key: about.4,
            carried: about.5,
            epoch: rest.0,
            life: rest.1,
            budgets: rest.2,
            isolation: rest.3,
            history: rest.4,
        })
    })
}

fn enqueued() -> impl Strategy<Value = Enqueued> {
    (
        task_id(),
        queue_ms(),
        any::<u32>(),
        option::of(queue_ms()),
        key(),
        carried(),
    )
        .prop_map(|(id, at, route, deadline, key, carried)| Enqueued {
            id,
            at,
            route: RouteId(route),
            deadline,
            key,
            carried,
            body: BodyRef::default(),
        })
}

fn key_image() -> impl Strategy<Value = KeyImage> {
    (any::<(u128, u64, bool)>(), task_id(), queue_ms()).prop_map(|((key, print, done), id, at)| {
        KeyImage {
            key: KeyHash(key),
            fingerprint: Fingerprint(print),
            id,
            at,
            done,
        }
    })
}

fn job() -> impl Strategy<Value = PoisonJob> {
    let kind = prop_oneof![
        Just(JobKind::Requeue),
        any::<bool>().prop_map(|release_key| JobKind::Purge { release_key }),
    ];
    let facts = (any::<(u32, u64, u64, bool)>(), kind, queue_ms());
    let route = option::of(any::<u32>());
    (facts, route, option::of(task_id()), option::of(queue_ms())).prop_map(
        |(((id, total, changed, stopped), kind, begun), route, cursor, ended)| PoisonJob {
            id: JobId(id),
            kind,
            route: route.map(RouteId),
            begun,
            total,
            cursor,
            changed,
            ended,
            stopped,
        },
    )
}

fn removal() -> impl Strategy<Value = Removal> {
    prop_oneof![
        Just(Removal::Purged),
        Just(Removal::Drained),
        Just(Removal::PurgedWithKey),
    ]
}

fn origins() -> impl Strategy<Value = Box<OriginsImage>> {
    let opening = any::<(u64, u64)>().prop_map(|(origin, first)| OpeningImage {
        origin: Origin(origin),
        first: Seq(first),
    });
    let range = any::<(u64, u64, u64)>().prop_map(|(origin, one, other)| {
        let (first, last) = (Seq(one.min(other)), Seq(one.max(other)));
        IdRange::new(Origin(origin), first, last).expect("it is in order")
    });
    let openings = vec(opening, 0..=ORIGINS_MAX);
    let drained = vec(range, 0..=DRAINED_RANGES_MAX);
    (openings, drained).prop_map(|(openings, drained)| Box::new(OriginsImage { openings, drained }))
}

/// Any durable event, and a body for those that place one.
pub(super) fn event_and_body() -> impl Strategy<Value = (Event, Vec<u8>)> {
    let body = BodyRef::default();
    let placing = prop_oneof![
        enqueued().prop_map(Event::Enqueued),
        image().prop_map(move |image| Event::Restored { image, body }),
        image().prop_map(move |image| Event::Moved { image, body }),
    ];
    let id_at = || (task_id(), queue_ms());
    let plain = prop_oneof![
        (queue_ms(), any::<u64>()).prop_map(|(at, origin)| Event::Opened {
            at,
            origin: Origin(origin)
        }),
        (any::<u32>(), "[a-z]{1,20}").prop_map(|(route, name)| Event::RouteDefined {
            route: RouteId(route),
            name: name.into()
        }),
        any::<(u32, bool)>().prop_map(|(route, paused)| Event::RoutePaused {
            route: RouteId(route),
            paused
        }),
        (delivery(), queue_ms()).prop_map(|(delivery, at)| Event::Granted {
            delivery,
            at,
            lease: LeaseTimes::default()
        }),
        settled().prop_map(Event::Settled),
        id_at().prop_map(|(id, at)| Event::Expired { id, at }),
        id_at().prop_map(|(id, at)| Event::TooOld { id, at }),
        id_at().prop_map(|(id, at)| Event::Requeued { id, at }),
        (id_at(), removal()).prop_map(|((id, at), why)| Event::Removed { id, at, why }),
        (task_id(), any::<u32>()).prop_map(|(id, route)| Event::Rerouted {
            id,
            route: RouteId(route)
        }),
        key_image().prop_map(move |key| Event::KeyMoved { key, body }),
        queue_ms().prop_map(|before| Event::KeysForgotten { before }),
        any::<u32>().prop_map(|by| Event::EpochsRaised { by }),
        origins().prop_map(move |origins| Event::OriginsKept { origins, body }),
        job().prop_map(Event::Job),
        (queue_ms(), any::<u64>()).prop_map(|(at, ahead)| Event::ClockSet {
            at,
            ahead: SpanMs(ahead)
        }),
    ];
    prop_oneof![
        (placing, vec(any::<u8>(), 0..300)),
        plain.prop_map(|event| (event, Vec::new())),
    ]
}
