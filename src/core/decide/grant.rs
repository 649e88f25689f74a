//! Leases: granting, extending, and the word that one is about to be sent.

use super::super::event::{Event, Isolation, LeaseTimes};
use super::super::ids::{DeliveryId, Epoch, RouteId};
use super::super::limits::QUARANTINE_MS;
use super::super::order::{Gate, Gates};
use super::super::policy::Policy;
use super::super::state::QueueState;
use super::super::task::{HeldLease, Slot, Task, TaskLife};
use super::super::time::{Now, SpanMs};
use super::{Grant, Refusal, Reply, tick};
use crate::coverage::{Site, reached, sometimes};

pub(super) fn grant(
    state: &QueueState,
    policy: &Policy,
    now: Now,
    route: RouteId,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    if route.0 as usize >= state.lanes.len() {
        return Err(Refusal::UnknownRoute(route));
    }
    let task = match next(state, now, route) {
        Candidate::Take(slot) => {
            state.expect(slot);
            state.task(slot)
        }
        Candidate::Nobody => return Ok(Reply::NothingReady),
        Candidate::NeedsQuarantine => {
            reached!(Site::SuspectsQuarantined);
            let until = now.mono.after(SpanMs(QUARANTINE_MS));
            out.push(Event::Quarantined { until });
            return Ok(Reply::NothingReady);
        }
    };
    let at = now.queue.max(state.at);
    if let Some(cause) = state.is_overdue(task, at) {
        out.push(tick::given_up(task.id, at, cause));
        return Ok(Reply::AskAgain);
    }
    let delivery = DeliveryId {
        task: task.id,
        epoch: Epoch::after(task.epoch),
    };
    let deadline = now.mono.after(policy.lease);
    let lease = LeaseTimes {
        granted: now.mono,
        deadline,
    };
    out.push(Event::Granted {
        delivery,
        at,
        lease,
    });
    Ok(Reply::Granted(Grant {
        delivery,
        deadline,
        body: task.body,
        enqueued_at: task.enqueued_at,
        expires_at: task.deadline.get(),
    }))
}

/// Which task of a route is leased next.
enum Candidate {
    Take(Slot),
    Nobody,
    /// The next task must be alone in the queue, and others are in flight.
    NeedsQuarantine,
}

/// The task of the smallest rank, unless isolation forbids it: nothing is leased beside a task that must be alone in
/// its route or in the queue, and such a task is not leased beside others. One that must be alone in its *route* is
/// waited for. One that must be alone in the *queue* is passed over: other routes may never be still, and then its own
/// route would stand still too. It asks for a quarantine in place of that, at most once in 300 s.
fn next(state: &QueueState, now: Now, route: RouteId) -> Candidate {
    let (lane, suspects) = (state.lane(route), &state.suspects);
    let quarantine = suspects.ready > 0 && now.mono < suspects.quarantine_until;
    let closed = Gates::default()
        .and(Gate::Taken, suspects.queue_taken)
        .and(Gate::Quarantine, quarantine);
    let mut head = lane.order.head(closed);
    if let Some(slot) = head
        && state.task(slot).isolation == Isolation::Queue
    {
        if state.leases.is_empty() {
            reached!(Site::SuspectGranted);
            return Candidate::Take(slot);
        }
        if now.mono >= suspects.rest_until {
            return Candidate::NeedsQuarantine;
        }
        head = lane.order.head(closed.and(Gate::Company, true));
    }
    match head {
        // Those behind it wait with it.
        Some(slot) if state.task(slot).isolation == Isolation::Route && lane.counts.leased > 0 => {
            Candidate::Nobody
        }
        Some(slot) => Candidate::Take(slot),
        None => Candidate::Nobody,
    }
}

/// The lease that `delivery` names, if it is held and its time is not over. One that is over and only
/// not swept yet is never resurrected, neither by more time nor by a send.
fn unexpired(state: &QueueState, now: Now, delivery: DeliveryId) -> Result<&HeldLease, Refusal> {
    let (task, lease) = held(state, delivery)?;
    if lease.times.deadline <= now.mono && !planted!(Bug::DeadLeaseRenewed) {
        reached!(Site::DeadLeaseRefused);
        return Err(Refusal::Stale {
            delivery,
            current: task.epoch,
        });
    }
    Ok(lease)
}

/// The lease that `delivery` names, if it is the current one and the task is held.
pub(super) fn held(
    state: &QueueState,
    delivery: DeliveryId,
) -> Result<(&Task, &HeldLease), Refusal> {
    let task = state.slot(delivery.task).map(|slot| state.task(slot));
    let current = task.and_then(|task| task.epoch);
    match task {
        Some(task) if task.epoch == Some(delivery.epoch) => match task.life {
            TaskLife::Leased(at) => Ok((task, &state.leases[at as usize])),
            _ => Err(Refusal::Stale { delivery, current }),
        },
        _ => Err(Refusal::Stale { delivery, current }),
    }
}

pub(super) fn extend(
    state: &QueueState,
    policy: &Policy,
    now: Now,
    delivery: DeliveryId,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    let times = unexpired(state, now, delivery)?.times;
    let last = times.granted.after(policy.hold_max);
    let deadline = now.mono.after(policy.lease).min(last).max(times.deadline);
    let extended = deadline > times.deadline;
    sometimes!(Site::MaxHoldReached, !extended && deadline == last);
    if extended {
        reached!(Site::LeaseExtended);
        out.push(Event::Extended { delivery, deadline });
    }
    Ok(Reply::Until { deadline, extended })
}

pub(super) fn send(
    state: &QueueState,
    now: Now,
    delivery: DeliveryId,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    if unexpired(state, now, delivery)?.sent {
        return Ok(Reply::Unchanged);
    }
    out.push(Event::Sent { delivery });
    Ok(Reply::Changed)
}
