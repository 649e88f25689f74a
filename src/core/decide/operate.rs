//! What operators, drains and compaction do to tasks.

use super::super::event::{Event, LifeImage, Removal, TaskImage};
use super::super::ids::{BodyRef, DeliveryId, Epoch, KeyHash, RouteId, SegmentNo, Seq, TaskId};
use super::super::limits::{ROUTE_NAME_BYTES_MAX, ROUTES_MAX};
use super::super::order::Gate;
use super::super::policy::Policy;
use super::super::state::QueueState;
use super::super::task::{Task, TaskLife};
use super::super::time::{Now, SpanMs};
use super::{Refusal, Reply, grant};
use crate::coverage::{Site, reached, sometimes};

type Decided = Result<Reply, Refusal>;

pub(super) fn define_route(state: &QueueState, name: &str, out: &mut Vec<Event>) -> Decided {
    if let Some(route) = state.route(name) {
        return Ok(Reply::Route(route));
    }
    if name.is_empty() {
        return Err(Refusal::BadRoute("its name is empty"));
    }
    if name.len() > ROUTE_NAME_BYTES_MAX {
        return Err(Refusal::BadRoute("its name is longer than 128 bytes"));
    }
    if name.contains(char::is_control) {
        return Err(Refusal::BadRoute("its name has control characters"));
    }
    if state.lanes.len() >= ROUTES_MAX {
        return Err(Refusal::BadRoute("there are 4096 routes already"));
    }
    let route = RouteId(u32::try_from(state.lanes.len()).expect("few routes"));
    out.push(Event::RouteDefined {
        route,
        name: name.into(),
    });
    Ok(Reply::Route(route))
}

pub(super) fn pause(
    state: &QueueState,
    route: RouteId,
    paused: bool,
    out: &mut Vec<Event>,
) -> Decided {
    let lane = state
        .lanes
        .get(route.0 as usize)
        .ok_or(Refusal::UnknownRoute(route))?;
    if lane.order.is_closed(Gate::Paused) == paused {
        return Ok(Reply::Unchanged);
    }
    out.push(Event::RoutePaused { route, paused });
    Ok(Reply::Changed)
}

pub(super) fn limit_age(
    state: &QueueState,
    route: RouteId,
    age_max: Option<SpanMs>,
    out: &mut Vec<Event>,
) -> Decided {
    let lane = state
        .lanes
        .get(route.0 as usize)
        .ok_or(Refusal::UnknownRoute(route))?;
    if lane.age_max == age_max {
        return Ok(Reply::Unchanged);
    }
    out.push(Event::AgeLimited { route, age_max });
    Ok(Reply::Changed)
}

fn in_poison(state: &QueueState, id: TaskId) -> Result<(), Refusal> {
    let there = state
        .slot(id)
        .is_some_and(|slot| matches!(state.task(slot).life, TaskLife::Poison { .. }));
    if there {
        Ok(())
    } else {
        Err(Refusal::NotThere {
            id,
            wanted: "in the poison store",
        })
    }
}

pub(super) fn requeue(state: &QueueState, now: Now, id: TaskId, out: &mut Vec<Event>) -> Decided {
    in_poison(state, id)?;
    reached!(Site::Requeued);
    out.push(Event::Requeued {
        id,
        at: now.queue.max(state.at),
    });
    Ok(Reply::Changed)
}

pub(super) fn purge(
    state: &QueueState,
    now: Now,
    id: TaskId,
    release_key: bool,
    out: &mut Vec<Event>,
) -> Decided {
    in_poison(state, id)?;
    reached!(Site::Purged);
    let task = state.slot(id).map(|slot| state.task(slot));
    let keyed = task.filter(|task| task.key.is_some());
    let released = keyed
        .is_some_and(|task| release_key || !is_in_doubt(task) || planted!(Bug::PurgeFreesAnyKey));
    sometimes!(Site::KeyOutlivedPurge, keyed.is_some() && !released);
    sometimes!(Site::KeyReleased, released);
    out.push(Event::Removed {
        id,
        at: now.queue.max(state.at),
        why: match released {
            true => Removal::PurgedWithKey,
            false => Removal::Purged,
        },
    });
    Ok(Reply::Changed)
}

pub(super) fn drain_out(
    state: &QueueState,
    now: Now,
    delivery: DeliveryId,
    out: &mut Vec<Event>,
) -> Decided {
    grant::held(state, delivery)?;
    let at = now.queue.max(state.at);
    out.push(Event::Removed {
        id: delivery.task,
        at,
        why: Removal::Drained,
    });
    Ok(Reply::Changed)
}

pub(super) fn reroute(
    state: &QueueState,
    id: TaskId,
    to: RouteId,
    out: &mut Vec<Event>,
) -> Decided {
    if to.0 as usize >= state.lanes.len() {
        return Err(Refusal::UnknownRoute(to));
    }
    let waiting = state.slot(id).map(|slot| state.task(slot));
    let waiting = waiting.filter(|task| !matches!(task.life, TaskLife::Leased(_)));
    let Some(task) = waiting else {
        return Err(Refusal::NotThere {
            id,
            wanted: "waiting",
        });
    };
    if is_in_doubt(task) {
        reached!(Site::RerouteInDoubtRefused);
        return Err(Refusal::NotThere {
            id,
            wanted: "free of doubt (it may have been executed)",
        });
    }
    if task.route == to {
        return Ok(Reply::Unchanged);
    }
    out.push(Event::Rerouted { id, route: to });
    Ok(Reply::Changed)
}

/// Whether an earlier delivery may have been executed by the endpoint of the old route, whose inbox
/// is the only one that knows.
fn is_in_doubt(task: &Task) -> bool {
    task.history
        .as_ref()
        .is_some_and(|history| history.counts.in_doubt > 0)
}

pub(super) fn restore(
    state: &QueueState,
    policy: &Policy,
    now: Now,
    image: &TaskImage,
    out: &mut Vec<Event>,
) -> Decided {
    if image.route.0 as usize >= state.lanes.len() {
        return Err(Refusal::UnknownRoute(image.route));
    }
    // Made up by somebody: no queue comes this far, and nothing could follow it.
    if image.id.seq == Seq(u64::MAX) || image.epoch == Some(Epoch::MAX) {
        return Err(Refusal::NotThere {
            id: image.id,
            wanted: "a task whose number and epoch leave room for another",
        });
    }
    // One that was executed or purged here would never be executed again: its endpoint was told so.
    let knows = state.slot(image.id).is_some() || state.settled_range(image.id).is_some();
    if knows || state.left_earlier(image.id) {
        reached!(Site::RestoreKnownRefused);
        return Err(Refusal::NotThere {
            id: image.id,
            wanted: "absent from this queue",
        });
    }
    let mut image = Box::new(image.clone());
    // A key that has found another task meanwhile stays with that one.
    image.key = image.key.filter(|(key, _)| {
        let known = state.known_key(*key);
        known.is_none_or(|known| known.id == image.id)
    });
    match &mut image.life {
        LifeImage::Leased { .. } => image.life = LifeImage::Ready,
        // The other queue's time may be far ahead of this one's: no delay outlasts the longest that is ever set.
        LifeImage::Delayed(until) => {
            let latest = now
                .queue
                .max(state.at)
                .after(policy.of(image.route).wait_max());
            *until = (*until).min(latest);
        }
        LifeImage::Ready | LifeImage::Poison { .. } => {}
    }
    let id = image.id;
    out.push(Event::Restored {
        image,
        body: BodyRef::default(),
    });
    Ok(Reply::Enqueued(id))
}

pub(super) fn move_task(
    state: &QueueState,
    id: TaskId,
    from: SegmentNo,
    out: &mut Vec<Event>,
) -> Reply {
    let stands = state
        .slot(id)
        .is_some_and(|slot| state.task(slot).body.segment == from);
    match state.image(id).filter(|_| stands) {
        Some(image) => {
            reached!(Site::LiveTaskMoved);
            out.push(Event::Moved {
                image: Box::new(image),
                body: BodyRef::default(),
            });
            Reply::Changed
        }
        None => Reply::Unchanged,
    }
}

pub(super) fn move_key(
    state: &QueueState,
    key: KeyHash,
    from: SegmentNo,
    out: &mut Vec<Event>,
) -> Reply {
    let stands = state.known_key(key).is_some_and(|known| known.home == from);
    match state.key_image(key).filter(|_| stands) {
        Some(key) => {
            reached!(Site::KeyMoved);
            out.push(Event::KeyMoved {
                key,
                body: BodyRef::default(),
            });
            Reply::Changed
        }
        None => Reply::Unchanged,
    }
}

pub(super) fn keep_origins(state: &QueueState, from: SegmentNo, out: &mut Vec<Event>) -> Reply {
    if state.origins_home() != Some(from) {
        return Reply::Unchanged;
    }
    reached!(Site::OriginsMoved);
    out.push(Event::OriginsKept {
        origins: Box::new(state.origins.image()),
        body: BodyRef::default(),
    });
    Reply::Changed
}
