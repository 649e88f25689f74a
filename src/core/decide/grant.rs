//! Leases: granting, extending, and the word that one is about to be sent.

use super::super::event::{Event, Isolation, LeaseTimes};
use super::super::ids::{DeliveryId, RouteId};
use super::super::policy::Policy;
use super::super::state::State;
use super::super::task::{Lease, Life, Task};
use super::super::time::Now;
use super::{Grant, Refusal, Reply};

pub(super) fn grant(
    state: &State,
    policy: &Policy,
    now: Now,
    route: RouteId,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    let Some(lane) = state.lanes.get(route.0 as usize) else {
        return Err(Refusal::UnknownRoute(route));
    };
    let Some(slot) = state.head(route).filter(|_| !lane.paused) else {
        return Ok(Reply::NothingReady);
    };
    let task = state.task(slot);
    let at = now.queue.max(state.at);
    if task.deadline.is_some_and(|deadline| deadline <= at) {
        out.push(Event::Expired { id: task.id, at });
        return Ok(Reply::AskAgain);
    }
    if !may_fly(state, now, route, task) {
        return Ok(Reply::NothingReady);
    }
    let delivery = DeliveryId {
        task: task.id,
        epoch: task.epoch.next(),
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
        expires_at: task.deadline,
    }))
}

/// Whether the head of a route may take off beside whoever is in the air.
fn may_fly(state: &State, now: Now, route: RouteId, task: &Task) -> bool {
    let suspects = &state.suspects;
    if suspects.queue_taken || suspects.routes_taken.contains(&route) {
        return false;
    }
    let route_empty = state.lane(route).counts.leased == 0;
    let quarantine = suspects.ready > 0 && now.mono < suspects.quarantine_until;
    match task.isolation {
        Isolation::Queue => state.leases.is_empty(),
        Isolation::Route => route_empty && !quarantine,
        Isolation::None => !quarantine,
    }
}

/// The lease that `delivery` names, if it is the current one and the task is held.
pub(super) fn held(state: &State, delivery: DeliveryId) -> Result<(&Task, &Lease), Refusal> {
    let task = state.slot(delivery.task).map(|slot| state.task(slot));
    let current = task.map(|task| task.epoch);
    match task {
        Some(task) if task.epoch == delivery.epoch => match task.life {
            Life::Leased(at) => Ok((task, &state.leases[at as usize])),
            _ => Err(Refusal::Stale { delivery, current }),
        },
        _ => Err(Refusal::Stale { delivery, current }),
    }
}

pub(super) fn extend(
    state: &State,
    policy: &Policy,
    now: Now,
    delivery: DeliveryId,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    let (task, lease) = held(state, delivery)?;
    let times = lease.times;
    if times.deadline <= now.mono {
        // Passed, and only not swept yet: an expired lease is never resurrected.
        return Err(Refusal::Stale {
            delivery,
            current: Some(task.epoch),
        });
    }
    let last = times.granted.after(policy.hold_max);
    let deadline = now.mono.after(policy.lease).min(last).max(times.deadline);
    let extended = deadline > times.deadline;
    if extended {
        out.push(Event::Extended { delivery, deadline });
    }
    Ok(Reply::Until { deadline, extended })
}

pub(super) fn send(
    state: &State,
    delivery: DeliveryId,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    let (_, lease) = held(state, delivery)?;
    if lease.sent {
        return Ok(Reply::Unchanged);
    }
    out.push(Event::Sent { delivery });
    Ok(Reply::Changed)
}
