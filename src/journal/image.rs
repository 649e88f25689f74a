//! The parts records share: a task's image with its history, and the codes of small enums.

use std::collections::VecDeque;

use super::codec::{DecodeError, Put, Reader};
use super::fields;
use super::layout::FormatVersion;
use super::limits::ATTEMPT_BYTES;
use super::record::{epoch, put_task_id, task_id};
use crate::core::event::{
    Budgets, Carried, Doubt, Isolation, LeaseOutcome, LifeImage, Next, PoisonCause, TaskImage,
    TransportKind,
};
use crate::core::history::{Attempt, OutcomeCounts, TaskHistory};
use crate::core::ids::{Epoch, Fingerprint, KeyHash, RouteId};
use crate::core::time::QueueMs;

/// Bytes that an image without history stays under, with its tag and its body's length.
const IMAGE_BYTES_MAX: usize = 160;

/// At least the bytes the image's record takes without its body.
pub(super) fn size_bound(image: &TaskImage) -> usize {
    let attempt = |attempt: &Attempt| {
        let error = attempt.error.as_ref().map_or(0, |error| error.len());
        error.saturating_add(ATTEMPT_BYTES as usize)
    };
    let history = |history: &TaskHistory| history.attempts().map(attempt).sum::<usize>();
    let fields = image.carried.as_bytes().len();
    let history = image.history.as_deref().map_or(0, history);
    IMAGE_BYTES_MAX
        .saturating_add(fields)
        .saturating_add(history)
}

const HAS_DEADLINE: u8 = 1;
const HAS_KEY: u8 = 2;
/// Since version 2.
const HAS_FIELDS: u8 = 4;

const NO_HISTORY: u8 = 0;
const HISTORY: u8 = 1;
/// With the time of the last requeue.
const HISTORY_SINCE_REQUEUE: u8 = 2;

pub(super) fn put_options(
    out: &mut Vec<u8>,
    deadline: Option<QueueMs>,
    key: Option<(KeyHash, Fingerprint)>,
    carried: &Carried,
) {
    let has_deadline = deadline.map_or(0, |_| HAS_DEADLINE);
    let has_key = key.map_or(0, |_| HAS_KEY);
    let has_fields = if carried.is_empty() { 0 } else { HAS_FIELDS };
    out.put_u8(has_deadline | has_key | has_fields);
    if let Some(deadline) = deadline {
        out.put_u64(deadline.0);
    }
    if let Some((key, fingerprint)) = key {
        out.put_u128(key.0);
        out.put_u64(fingerprint.0);
    }
    if !carried.is_empty() {
        fields::put(out, carried);
    }
}

type Options = (Option<QueueMs>, Option<(KeyHash, Fingerprint)>, Carried);

pub(super) fn options(
    reader: &mut Reader<'_>,
    format: FormatVersion,
) -> Result<Options, DecodeError> {
    let flags = reader.u8()?;
    let known = match format {
        FormatVersion::One => HAS_DEADLINE | HAS_KEY,
        FormatVersion::Two => HAS_DEADLINE | HAS_KEY | HAS_FIELDS,
    };
    if flags & !known != 0 {
        return Err(DecodeError::Value {
            field: "set of options",
            value: flags,
        });
    }
    let has = |flag| flags & flag != 0;
    let deadline = reader.when(has(HAS_DEADLINE), |reader| Ok(QueueMs(reader.u64()?)))?;
    let key = reader.when(has(HAS_KEY), |reader| {
        Ok((KeyHash(reader.u128()?), Fingerprint(reader.u64()?)))
    })?;
    let carried = reader.when(has(HAS_FIELDS), fields::read)?;
    Ok((deadline, key, carried.unwrap_or_default()))
}

pub(super) fn put_task(out: &mut Vec<u8>, image: &TaskImage) {
    put_task_id(out, image.id);
    out.put_u32(image.route.0);
    out.put_u64(image.enqueued_at.0);
    put_options(out, image.deadline, image.key, &image.carried);
    out.put_u32(Epoch::or_zero(image.epoch));
    put_life(out, image.life);
    let budgets = &image.budgets;
    for count in [
        budgets.retries,
        budgets.in_doubt,
        budgets.uncharged,
        budgets.deaths,
        budgets.setbacks,
    ] {
        out.put_u16(count);
    }
    out.put_u8(isolation_code(image.isolation));
    match image.history.as_deref() {
        None => out.put_u8(NO_HISTORY),
        Some(history) => match history.requeued_at {
            None => out.put_u8(HISTORY),
            Some(at) => {
                out.put_u8(HISTORY_SINCE_REQUEUE);
                out.put_u64(at.0);
            }
        },
    }
    if let Some(history) = &image.history {
        put_history(out, history);
    }
}

pub(super) fn task(
    reader: &mut Reader<'_>,
    format: FormatVersion,
) -> Result<TaskImage, DecodeError> {
    let id = task_id(reader)?;
    let route = RouteId(reader.u32()?);
    let enqueued_at = QueueMs(reader.u64()?);
    let (deadline, key, carried) = options(reader, format)?;
    Ok(TaskImage {
        id,
        route,
        enqueued_at,
        deadline,
        key,
        carried,
        epoch: Epoch::new(reader.u32()?),
        life: life(reader)?,
        budgets: Budgets {
            retries: reader.u16()?,
            in_doubt: reader.u16()?,
            uncharged: reader.u16()?,
            deaths: reader.u16()?,
            setbacks: reader.u16()?,
        },
        isolation: isolation(reader.u8()?)?,
        history: match reader.u8()? {
            NO_HISTORY => None,
            HISTORY => Some(Box::new(history(reader)?)),
            HISTORY_SINCE_REQUEUE => {
                let requeued_at = Some(QueueMs(reader.u64()?));
                Some(Box::new(TaskHistory {
                    requeued_at,
                    ..history(reader)?
                }))
            }
            value => {
                return Err(DecodeError::Value {
                    field: "presence of a history",
                    value,
                });
            }
        },
    })
}

fn put_life(out: &mut Vec<u8>, life: LifeImage) {
    match life {
        LifeImage::Ready => out.put_u8(0),
        LifeImage::Delayed(until) => {
            out.put_u8(1);
            out.put_u64(until.0);
        }
        LifeImage::Leased {
            alone_in_route,
            alone_in_queue,
        } => {
            out.put_u8(2);
            out.put_u8(u8::from(alone_in_route));
            out.put_u8(u8::from(alone_in_queue));
        }
        LifeImage::Poison { at, cause } => {
            out.put_u8(3);
            out.put_u64(at.0);
            out.put_u8(cause_code(cause));
        }
    }
}

fn life(reader: &mut Reader<'_>) -> Result<LifeImage, DecodeError> {
    Ok(match reader.u8()? {
        0 => LifeImage::Ready,
        1 => LifeImage::Delayed(QueueMs(reader.u64()?)),
        2 => LifeImage::Leased {
            alone_in_route: reader.bool("solitude")?,
            alone_in_queue: reader.bool("solitude")?,
        },
        3 => LifeImage::Poison {
            at: QueueMs(reader.u64()?),
            cause: cause(reader.u8()?)?,
        },
        value => {
            return Err(DecodeError::Value {
                field: "state of a task",
                value,
            });
        }
    })
}

fn put_history(out: &mut Vec<u8>, history: &TaskHistory) {
    out.put_u8(u8::try_from(history.first.len()).expect("a history is capped"));
    out.put_u8(u8::try_from(history.last.len()).expect("a history is capped"));
    for attempt in history.attempts() {
        out.put_u32(attempt.epoch.get());
        out.put_u64(attempt.at.0);
        out.put_u8(outcome_code(attempt.outcome));
        out.put_u8(
            u8::from(attempt.charged)
                | transport_code(attempt.transport) << 1
                | u8::from(attempt.error.is_some()) << 3,
        );
        out.put_u8(attempt.sends);
        out.put_u32(attempt.times);
        if let Some(error) = &attempt.error {
            out.put_text(error);
        }
    }
    out.put_u64(history.omitted);
    let counts = &history.counts;
    for count in [
        counts.rejected,
        counts.refused,
        counts.unavailable,
        counts.in_doubt,
        counts.not_sent,
        counts.released,
    ] {
        out.put_u32(count);
    }
}

fn history(reader: &mut Reader<'_>) -> Result<TaskHistory, DecodeError> {
    let (first_len, last_len) = (reader.u8()?, reader.u8()?);
    let mut history = TaskHistory::default();
    for _ in 0..first_len {
        history.first.push(attempt(reader)?);
    }
    let mut last = VecDeque::new();
    for _ in 0..last_len {
        last.push_back(attempt(reader)?);
    }
    history.last = last;
    history.omitted = reader.u64()?;
    history.counts = OutcomeCounts {
        rejected: reader.u32()?,
        refused: reader.u32()?,
        unavailable: reader.u32()?,
        in_doubt: reader.u32()?,
        not_sent: reader.u32()?,
        released: reader.u32()?,
    };
    Ok(history)
}

fn attempt(reader: &mut Reader<'_>) -> Result<Attempt, DecodeError> {
    let epoch = epoch(reader)?;
    let at = QueueMs(reader.u64()?);
    let outcome = outcome(reader.u8()?)?;
    let flags = reader.u8()?;
    if flags >> 4 != 0 {
        return Err(DecodeError::Value {
            field: "attempt flags",
            value: flags,
        });
    }
    let (sends, times) = (reader.u8()?, reader.u32()?);
    Ok(Attempt {
        epoch,
        at,
        outcome,
        charged: flags & 1 != 0,
        transport: transport(flags >> 1 & 3)?,
        sends,
        error: (flags & 1 << 3 != 0).then(|| reader.text()).transpose()?,
        times,
    })
}

pub(super) fn outcome_code(outcome: LeaseOutcome) -> u8 {
    match outcome {
        LeaseOutcome::Done => 0,
        LeaseOutcome::Rejected => 1,
        LeaseOutcome::Refused => 2,
        LeaseOutcome::Unavailable => 3,
        LeaseOutcome::NotSent => 4,
        LeaseOutcome::Released => 5,
        LeaseOutcome::InDoubt(Doubt::NoAnswer) => 8,
        LeaseOutcome::InDoubt(Doubt::LeaseExpired) => 9,
        LeaseOutcome::InDoubt(Doubt::LeaseDropped) => 10,
        LeaseOutcome::InDoubt(Doubt::BridgeDied) => 11,
    }
}

pub(super) fn outcome(value: u8) -> Result<LeaseOutcome, DecodeError> {
    Ok(match value {
        0 => LeaseOutcome::Done,
        1 => LeaseOutcome::Rejected,
        2 => LeaseOutcome::Refused,
        3 => LeaseOutcome::Unavailable,
        4 => LeaseOutcome::NotSent,
        5 => LeaseOutcome::Released,
        8 => LeaseOutcome::InDoubt(Doubt::NoAnswer),
        9 => LeaseOutcome::InDoubt(Doubt::LeaseExpired),
        10 => LeaseOutcome::InDoubt(Doubt::LeaseDropped),
        11 => LeaseOutcome::InDoubt(Doubt::BridgeDied),
        value => {
            return Err(DecodeError::Value {
                field: "outcome",
                value,
            });
        }
    })
}

#[inline]
pub(super) fn put_next(out: &mut impl Put, next: Next) {
    match next {
        Next::Done => out.put_u8(0),
        Next::Ready => out.put_u8(1),
        Next::Delayed(until) => {
            out.put_u8(2);
            out.put_u64(until.0);
        }
        Next::Poison(cause) => {
            out.put_u8(3);
            out.put_u8(cause_code(cause));
        }
    }
}

pub(super) fn next(reader: &mut Reader<'_>) -> Result<Next, DecodeError> {
    Ok(match reader.u8()? {
        0 => Next::Done,
        1 => Next::Ready,
        2 => Next::Delayed(QueueMs(reader.u64()?)),
        3 => Next::Poison(cause(reader.u8()?)?),
        value => {
            return Err(DecodeError::Value {
                field: "next state",
                value,
            });
        }
    })
}

fn cause_code(cause: PoisonCause) -> u8 {
    match cause {
        PoisonCause::RetriesSpent => 0,
        PoisonCause::InDoubtSpent => 1,
        PoisonCause::Refused => 2,
        PoisonCause::Expired => 3,
        PoisonCause::TooOld => 4,
    }
}

fn cause(value: u8) -> Result<PoisonCause, DecodeError> {
    Ok(match value {
        0 => PoisonCause::RetriesSpent,
        1 => PoisonCause::InDoubtSpent,
        2 => PoisonCause::Refused,
        3 => PoisonCause::Expired,
        4 => PoisonCause::TooOld,
        value => {
            return Err(DecodeError::Value {
                field: "cause of poison",
                value,
            });
        }
    })
}

pub(super) fn isolation_code(isolation: Isolation) -> u8 {
    match isolation {
        Isolation::None => 0,
        Isolation::Route => 1,
        Isolation::Queue => 2,
    }
}

pub(super) fn isolation(value: u8) -> Result<Isolation, DecodeError> {
    Ok(match value {
        0 => Isolation::None,
        1 => Isolation::Route,
        2 => Isolation::Queue,
        value => {
            return Err(DecodeError::Value {
                field: "isolation",
                value,
            });
        }
    })
}

pub(super) fn transport_code(transport: Option<TransportKind>) -> u8 {
    match transport {
        None => 0,
        Some(TransportKind::Socket) => 1,
        Some(TransportKind::Grpc) => 2,
    }
}

pub(super) fn transport(value: u8) -> Result<Option<TransportKind>, DecodeError> {
    Ok(match value {
        0 => None,
        1 => Some(TransportKind::Socket),
        2 => Some(TransportKind::Grpc),
        value => {
            return Err(DecodeError::Value {
                field: "transport",
                value,
            });
        }
    })
}
