//! The queue's types as messages.

use crate::core::event::PoisonCause;
use crate::core::history::{Attempt, TaskHistory};
use crate::core::{Epoch, JobKind, TaskState};
use crate::env::Wall;
use crate::queue::{Command, Explained, JobStatus, LeaseError, LifecycleEvent};
use crate::wire::v1;
use tonic::Status;

pub(super) fn state(state: TaskState) -> v1::TaskState {
    match state {
        TaskState::Ready => v1::TaskState::Ready,
        TaskState::Delayed(_) => v1::TaskState::Delayed,
        TaskState::Leased(_) => v1::TaskState::Leased,
        TaskState::Done => v1::TaskState::Done,
        TaskState::Poison(_) => v1::TaskState::Poison,
        TaskState::Removed => v1::TaskState::Removed,
    }
}

/// Why a task is in poison; empty if it isn't.
pub(super) fn poison_cause(state: TaskState) -> &'static str {
    match state {
        TaskState::Poison(cause) => PoisonCause::as_str(cause),
        _ => "",
    }
}

/// All about a task as of `now`; its body and headers only `with_body`.
pub(super) fn task_info(task: &Explained<Command>, now: Wall, with_body: bool) -> v1::TaskInfo {
    let history = task.history.as_ref();
    let left_ms = task
        .left
        .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    let value = task.value.as_ref();
    let shown = value.filter(|_| with_body);
    v1::TaskInfo {
        task: Some(task.id.into()),
        route: task.route.clone(),
        key: task.key.clone().unwrap_or_default(),
        state: state(task.state).into(),
        epoch: Epoch::or_zero(task.epoch),
        enqueued_unix_ms: task.enqueued_at.unix_ms(),
        deadline_unix_ms: task.deadline.map_or(0, Wall::unix_ms),
        until_unix_ms: left_ms.map_or(0, |left| now.unix_ms().saturating_add(left)),
        poison_cause: poison_cause(task.state).into(),
        retries_charged: task.retries.into(),
        in_doubt_charged: task.in_doubt.into(),
        body_bytes: value.map_or(task.bytes, |command| {
            u32::try_from(command.body.len()).unwrap_or(u32::MAX)
        }),
        attempts: history.map_or_else(Vec::new, |history| {
            history.attempts().map(attempt).collect()
        }),
        attempts_omitted: history.map_or(0, |history: &TaskHistory| history.omitted),
        body: shown
            .map(|command| command.body.clone())
            .unwrap_or_default(),
        headers: shown
            .map(|command| command.headers.clone())
            .unwrap_or_default(),
    }
}

fn attempt(attempt: &Attempt) -> v1::Attempt {
    v1::Attempt {
        epoch: attempt.epoch.get(),
        // Queue time is close to Unix time, and all that was kept.
        at_unix_ms: attempt.at.0,
        outcome: attempt.outcome.as_str().into(),
        charged: attempt.charged,
        transport: attempt.transport.map_or("", |kind| kind.as_str()).into(),
        sends: attempt.sends.into(),
        error: attempt.error.as_deref().unwrap_or_default().into(),
        times: attempt.times,
    }
}

/// A job as it is told of.
pub(super) fn job(job: &JobStatus) -> v1::PoisonJob {
    v1::PoisonJob {
        id: job.id.0,
        kind: match job.kind {
            JobKind::Requeue => "requeue",
            JobKind::Purge { release_key: false } => "purge",
            JobKind::Purge { release_key: true } => "purge with keys",
        }
        .into(),
        route: job.route.clone().unwrap_or_default(),
        begun_unix_ms: job.begun.unix_ms(),
        total: job.total,
        changed: job.changed,
        ended_unix_ms: job.ended.map_or(0, Wall::unix_ms),
        stopped: job.stopped,
    }
}

pub(super) fn lifecycle_event(event: &LifecycleEvent) -> v1::LifecycleEvent {
    v1::LifecycleEvent {
        sequence: event.sequence,
        at_unix_ms: event.at.0,
        kind: event.kind.as_str().into(),
        task: event.task.map(Into::into),
        epoch: Epoch::or_zero(event.epoch),
        route: event.route.as_deref().unwrap_or_default().into(),
        detail: event.detail.as_deref().unwrap_or_default().into(),
        missed: 0,
    }
}

/// An operation that failed, as a status.
pub(super) fn status(error: &LeaseError) -> Status {
    let text = error.to_string();
    match error {
        LeaseError::UnknownRoute(_) | LeaseError::UnknownJob(_) | LeaseError::NotThere { .. } => {
            Status::not_found(text)
        }
        LeaseError::Stale { .. } => Status::failed_precondition(text),
        LeaseError::TooManyJobs => Status::resource_exhausted(text),
        LeaseError::Closed => Status::unavailable(text),
        LeaseError::InDoubt(_) => Status::internal(text),
    }
}
