//! Jobs on the poison store: how one begins, and each of its steps.

use super::super::event::Event;
use super::super::ids::RouteId;
use super::super::jobs::{JobId, JobKind, PoisonJob};
use super::super::state::QueueState;
use super::super::time::{Now, SpanMs};
use super::{Refusal, Reply, operate};
use crate::coverage::{Site, reached, sometimes};

type Decided = Result<Reply, Refusal>;

pub(super) fn begin(
    state: &QueueState,
    now: Now,
    (kind, route): (JobKind, Option<RouteId>),
    out: &mut Vec<Event>,
) -> Decided {
    if let Some(route) = route.filter(|route| route.0 as usize >= state.lanes.len()) {
        return Err(Refusal::UnknownRoute(route));
    }
    let id = state.jobs.next_id().ok_or(Refusal::TooManyJobs)?;
    // Later than whatever is in poison: a millisecond holds many events.
    let begun = now.queue.max(state.at.after(SpanMs(1)));
    let total = state.in_poison(route);
    reached!(Site::JobBegun);
    out.push(Event::Job(PoisonJob {
        id,
        kind,
        route,
        begun,
        total,
        cursor: None,
        changed: 0,
        ended: (total == 0).then_some(begun),
        stopped: false,
    }));
    Ok(Reply::Job(id))
}

/// Looks at about `limit` tasks.
pub(super) fn step(
    state: &QueueState,
    now: Now,
    (id, limit): (JobId, usize),
    out: &mut Vec<Event>,
) -> Decided {
    let running = state.jobs.get(id).filter(|job| job.ended.is_none());
    let Some(job) = running else {
        return Ok(Reply::Unchanged);
    };
    let at = now.queue.max(state.at);
    let page = state.job_page(job, limit);
    for (id, since) in &page.tasks {
        let came_later = *since >= job.begun;
        sometimes!(Site::JobPassedOver, came_later);
        if came_later && !planted!(Bug::JobForgetsStart) {
            continue;
        }
        match job.kind {
            JobKind::Requeue => operate::requeue(state, now, *id, out)?,
            JobKind::Purge { release_key } => operate::purge(state, now, *id, release_key, out)?,
        };
    }
    let changed = job.changed.saturating_add(out.len() as u64);
    let cursor = page.tasks.last().map(|(id, _)| *id).or(job.cursor);
    sometimes!(Site::JobEnded, !page.more);
    out.push(Event::Job(PoisonJob {
        cursor,
        changed,
        ended: (!page.more).then_some(at),
        ..*job
    }));
    Ok(Reply::Changed)
}

/// Ends a job where it stands. One that is over already stays as it is.
pub(super) fn stop(state: &QueueState, now: Now, id: JobId, out: &mut Vec<Event>) -> Decided {
    let job = state.jobs.get(id).ok_or(Refusal::UnknownJob(id))?;
    if job.ended.is_some() {
        return Ok(Reply::Unchanged);
    }
    out.push(Event::Job(PoisonJob {
        ended: Some(now.queue.max(state.at)),
        stopped: true,
        ..*job
    }));
    Ok(Reply::Changed)
}
