//! Records as JSON. Keys and hashes are hexadecimal, ids as they are printed everywhere, times in
//! milliseconds of queue time.

use serde_json::{Value, json};

use crate::core::event::{
    Carried, Event, KeyImage, LeaseOutcome, LifeImage, Next, OriginsImage, Removal, Settled,
    TaskImage, TransportKind,
};
use crate::core::history::Attempt;
use crate::core::ids::{BodyRef, Epoch, Fingerprint, KeyHash, SegmentNo, TaskId};
use crate::core::time::QueueMs;
use crate::core::{JobKind, PoisonJob};
use crate::journal::{Control, LogRecord, Placed};

/// A record and where it stands.
pub(super) fn record(segment: SegmentNo, placed: &Placed<'_>) -> Value {
    let (kind, about) = match &placed.record {
        LogRecord::Event(event) => (kind(event), event_json(event)),
        LogRecord::Base(base) => (
            "base",
            json!({
                "next_seq": base.next_seq.0,
                "origin": format!("{:016x}", base.origin.0),
                "at": base.at.0,
                "routes": base.routes.iter().map(|(name, paused)| {
                    json!({ "name": name, "paused": paused })
                }).collect::<Vec<_>>(),
                "ahead_ms": base.ahead.0,
                "jobs": base.jobs.iter().map(job_json).collect::<Vec<_>>(),
            }),
        ),
        LogRecord::Control(Control::Roll { next }) => ("roll", json!({ "next": next.0 })),
        LogRecord::Control(Control::Seal) => ("seal", json!({})),
        LogRecord::Control(Control::Retired { segment }) => {
            ("retired", json!({ "retired": segment.0 }))
        }
    };
    let mut line = json!({ "segment": segment.0, "offset": placed.offset, "type": kind });
    if let (Value::Object(line), Value::Object(about)) = (&mut line, about) {
        line.extend(about);
    }
    line
}

/// Bytes that are no record.
pub(super) fn damage(segment: SegmentNo, offset: u32, what: &str) -> Value {
    json!({ "segment": segment.0, "offset": offset, "type": "damage", "what": what })
}

/// The event's name.
pub(super) fn kind(event: &Event) -> &'static str {
    match event {
        Event::Opened { .. } => "opened",
        Event::RouteDefined { .. } => "route_defined",
        Event::RoutePaused { .. } => "route_paused",
        Event::Enqueued(_) => "enqueued",
        Event::Granted { .. } => "granted",
        Event::Settled(_) => "settled",
        Event::Expired { .. } => "expired",
        Event::TooOld { .. } => "too_old",
        Event::Requeued { .. } => "requeued",
        Event::Removed { .. } => "removed",
        Event::Rerouted { .. } => "rerouted",
        Event::Restored { .. } => "restored",
        Event::Moved { .. } => "moved",
        Event::KeyMoved { .. } => "key_moved",
        Event::KeysForgotten { .. } => "keys_forgotten",
        Event::EpochsRaised { .. } => "epochs_raised",
        Event::OriginsKept { .. } => "origins_kept",
        Event::Job(_) => "job",
        Event::ClockSet { .. } => "clock_set",
        _ => "volatile",
    }
}

/// The task the event is about, if it is about one that may still be in the queue.
pub(super) fn task(event: &Event) -> Option<TaskId> {
    match event {
        Event::Enqueued(enqueued) => Some(enqueued.id),
        Event::Granted { delivery, .. } => Some(delivery.task),
        Event::Settled(settled) => Some(settled.delivery.task),
        Event::Expired { id, .. }
        | Event::TooOld { id, .. }
        | Event::Requeued { id, .. }
        | Event::Removed { id, .. }
        | Event::Rerouted { id, .. } => Some(*id),
        Event::Restored { image, .. } | Event::Moved { image, .. } => Some(image.id),
        _ => None,
    }
}

fn event_json(event: &Event) -> Value {
    match event {
        Event::Opened { at, origin } => {
            json!({ "at": at.0, "origin": format!("{:016x}", origin.0) })
        }
        Event::RouteDefined { route, name } => json!({ "route": route.0, "name": name }),
        Event::RoutePaused { route, paused } => json!({ "route": route.0, "paused": paused }),
        Event::Enqueued(enqueued) => {
            let told = json!({
                "task": enqueued.id.to_string(),
                "at": enqueued.at.0,
                "route": enqueued.route.0,
                "deadline": time(enqueued.deadline),
                "key": key(enqueued.key),
                "body": body(enqueued.body),
            });
            with_carried(told, &enqueued.carried)
        }
        Event::Granted { delivery, at, .. } => {
            json!({ "task": delivery.task.to_string(), "epoch": delivery.epoch.get(), "at": at.0 })
        }
        Event::Settled(settled) => settled_json(settled),
        Event::Expired { id, at } | Event::TooOld { id, at } | Event::Requeued { id, at } => {
            json!({ "task": id.to_string(), "at": at.0 })
        }
        Event::Removed { id, at, why } => {
            let why = match why {
                Removal::Purged => "purged",
                Removal::Drained => "drained",
                Removal::PurgedWithKey => "purged with its key",
            };
            json!({ "task": id.to_string(), "at": at.0, "why": why })
        }
        Event::Rerouted { id, route } => json!({ "task": id.to_string(), "route": route.0 }),
        Event::Restored { image, body: at } | Event::Moved { image, body: at } => {
            image_json(image, *at)
        }
        Event::KeyMoved { key, .. } => key_json(key),
        Event::KeysForgotten { before } => json!({ "before": before.0 }),
        Event::EpochsRaised { by } => json!({ "by": by }),
        Event::OriginsKept { origins, .. } => origins_json(origins),
        Event::Job(job) => job_json(job),
        Event::ClockSet { at, ahead } => json!({ "at": at.0, "ahead_ms": ahead.0 }),
        _ => json!({}),
    }
}

fn origins_json(origins: &OriginsImage) -> Value {
    let openings = origins
        .openings
        .iter()
        .map(|of| json!({ "origin": format!("{:016x}", of.origin.0), "first": of.first.0 }));
    let drained = origins.drained.iter().map(|range| {
        let (first, last) = range.ends();
        json!({ "first": first.to_string(), "last": last.to_string() })
    });
    json!({ "openings": openings.collect::<Vec<_>>(), "drained": drained.collect::<Vec<_>>() })
}

fn job_json(job: &PoisonJob) -> Value {
    json!({
        "job": job.id.0,
        "kind": match job.kind {
            JobKind::Requeue => "requeue",
            JobKind::Purge { release_key: false } => "purge",
            JobKind::Purge { release_key: true } => "purge with keys",
        },
        "route": job.route.map(|route| route.0),
        "begun": job.begun.0,
        "total": job.total,
        "cursor": job.cursor.map(|id| id.to_string()),
        "changed": job.changed,
        "ended": job.ended.map(|at| at.0),
        "stopped": job.stopped,
    })
}

fn settled_json(settled: &Settled) -> Value {
    json!({
        "task": settled.delivery.task.to_string(),
        "epoch": settled.delivery.epoch.get(),
        "at": settled.at.0,
        "outcome": outcome(settled.outcome),
        "charged": settled.charged,
        "isolation": format!("{:?}", settled.isolation).to_lowercase(),
        "next": match settled.next {
            Next::Done => json!("done"),
            Next::Ready => json!("ready"),
            Next::Delayed(until) => json!({ "delayed": until.0 }),
            Next::Poison(cause) => json!({ "poison": cause.as_str() }),
        },
        "sends": settled.sends,
        "transport": settled.transport.map(TransportKind::as_str),
        "error": settled.error,
    })
}

fn image_json(image: &TaskImage, at: BodyRef) -> Value {
    let budgets = &image.budgets;
    let told = json!({
        "task": image.id.to_string(),
        "route": image.route.0,
        "enqueued_at": image.enqueued_at.0,
        "deadline": time(image.deadline),
        "key": key(image.key),
        "epoch": Epoch::or_zero(image.epoch),
        "life": match image.life {
            LifeImage::Ready => json!("ready"),
            LifeImage::Delayed(until) => json!({ "delayed": until.0 }),
            LifeImage::Leased { alone_in_route, alone_in_queue } => json!({
                "leased": { "alone_in_route": alone_in_route, "alone_in_queue": alone_in_queue }
            }),
            LifeImage::Poison { at, cause } => json!({
                "poison": { "at": at.0, "cause": cause.as_str() }
            }),
        },
        "budgets": {
            "retries": budgets.retries,
            "in_doubt": budgets.in_doubt,
            "uncharged": budgets.uncharged,
            "deaths": budgets.deaths,
            "setbacks": budgets.setbacks,
        },
        "isolation": format!("{:?}", image.isolation).to_lowercase(),
        "history": image.history.as_ref().map(|history| json!({
            "attempts": history.attempts().map(attempt).collect::<Vec<_>>(),
            "omitted": history.omitted,
        })),
        "body": body(at),
    });
    with_carried(told, &image.carried)
}

/// Adds what a newer program said, as the bytes that it wrote, if it said anything.
fn with_carried(mut told: Value, carried: &Carried) -> Value {
    if !carried.is_empty() {
        let bytes = carried.as_bytes().iter();
        let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        told["unknown_fields"] = hex.into();
    }
    told
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "epoch": attempt.epoch.get(),
        "at": attempt.at.0,
        "outcome": outcome(attempt.outcome),
        "charged": attempt.charged,
        "transport": attempt.transport.map(TransportKind::as_str),
        "sends": attempt.sends,
        "error": attempt.error,
        "times": attempt.times,
    })
}

fn key_json(image: &KeyImage) -> Value {
    json!({
        "key": key(Some((image.key, image.fingerprint))),
        "task": image.id.to_string(),
        "at": image.at.0,
        "done": image.done,
    })
}

fn outcome(outcome: LeaseOutcome) -> Value {
    match outcome {
        LeaseOutcome::InDoubt(doubt) => json!({ "in doubt": format!("{doubt:?}") }),
        other => json!(other.as_str()),
    }
}

fn time(at: Option<QueueMs>) -> Option<u64> {
    at.map(|at| at.0)
}

fn key(key: Option<(KeyHash, Fingerprint)>) -> Option<Value> {
    key.map(|(hash, print)| {
        json!({ "hash": format!("{:032x}", hash.0), "fingerprint": format!("{:016x}", print.0) })
    })
}

fn body(body: BodyRef) -> Value {
    json!({ "offset": body.offset, "bytes": body.len, "crc": format!("{:08x}", body.crc) })
}
