//! What time alone changes: leases end, delays end, commands expire, keys are forgotten.

use super::super::event::{Doubt, Event, PoisonCause};
use super::super::ids::TaskId;
use super::super::policy::Policy;
use super::super::state::QueueState;
use super::super::task::{HeldLease, TaskLife};
use super::super::time::{MonoMs, Now, QueueMs};
use super::{Reply, Report, Settlement, mix, settle};
use crate::coverage::{Site, reached};

pub(super) fn tick(
    state: &QueueState,
    policy: &Policy,
    now: Now,
    jitter: u64,
    limit: usize,
    out: &mut Vec<Event>,
) -> Reply {
    let at = now.queue.max(state.at);
    let over = state
        .lease_ends
        .iter()
        .take_while(|(deadline, _)| *deadline <= now.mono);
    for (_, slot) in over.take(limit) {
        let task = state.task(slot);
        let TaskLife::Leased(lease) = task.life else {
            unreachable!("only held tasks have a lease end");
        };
        let lease: &HeldLease = &state.leases[lease as usize];
        let report = if lease.sent {
            reached!(Site::LeaseExpiredInDoubt);
            Report::InDoubt(Doubt::LeaseExpired)
        } else {
            reached!(Site::LeaseExpiredUnsent);
            Report::Released
        };
        let settlement = Settlement {
            delivery: task.delivery(),
            report,
            sends: 0,
            transport: None,
            error: Some("the lease's deadline passed".into()),
            jitter: mix(jitter, task.id),
        };
        out.push(Event::Settled(settle::end(
            state, policy, at, task, lease, settlement,
        )));
    }
    let expired = state
        .expiries
        .iter()
        .take_while(|(deadline, ..)| *deadline <= at && !state.clock_doubted);
    let room = limit - out.len();
    out.extend(expired.take(room).filter_map(|(_, _, slot)| {
        let task = state.task(*slot);
        let cause = state.is_overdue(task, at)?;
        Some(given_up(task.id, at, cause))
    }));
    let room = limit - out.len();
    let due = state.delayed.iter().take_while(|(until, ..)| *until <= at);
    // One that is due and overdue at once has been dealt with above.
    let due = due.filter(|(_, _, slot)| {
        state.clock_doubted || state.is_overdue(state.task(*slot), at).is_none()
    });
    out.extend(due.take(room).map(|(_, _, slot)| Event::Due {
        id: state.task(*slot).id,
    }));
    let oldest_kept = QueueMs(at.0.saturating_sub(policy.key_window.0));
    if out.len() < limit
        && let Some(before) = state.keys.due(oldest_kept, policy.keys_max)
    {
        reached!(Site::KeysForgotten);
        out.push(Event::KeysForgotten { before });
    }
    // Over: whoever sleeps until it ends sleeps on, and those kept back can go.
    let quarantine_until = state.suspects.quarantine_until;
    if out.len() < limit && quarantine_until.0 > 0 && quarantine_until <= now.mono {
        out.push(Event::Quarantined { until: MonoMs(0) });
    }
    Reply::Ticked {
        more: out.len() >= limit,
    }
}

/// A task that nobody holds is granted no more.
pub(super) fn given_up(id: TaskId, at: QueueMs, cause: PoisonCause) -> Event {
    match cause {
        PoisonCause::TooOld => {
            reached!(Site::TooOldWaiting);
            Event::TooOld { id, at }
        }
        _ => {
            reached!(Site::ExpiredWaiting);
            Event::Expired { id, at }
        }
    }
}
