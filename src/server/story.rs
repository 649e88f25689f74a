//! Where a task is and why, in words.

use std::time::Duration;

use crate::core::event::{Isolation, LeaseOutcome, PoisonCause};
use crate::core::history::Attempt;
use crate::core::{Epoch, TaskId, TaskState};
use crate::queue::{Command, Explained};

/// What a task's fate depends on besides itself.
pub(super) struct Surroundings<'a> {
    /// Its route was paused by an operator.
    pub(super) paused: bool,
    /// Its route is configured, so that somebody leases from it.
    pub(super) configured: bool,
    /// Tasks of its route that are ready, itself included.
    pub(super) ready: u64,
    /// The breaker of its route, as the bridge names it; empty if it has none.
    pub(super) breaker: &'a str,
}

/// The story of a task that lives.
pub(super) fn tell(task: &Explained<Command>, around: &Surroundings<'_>) -> String {
    let mut story = match task.state {
        TaskState::Ready => format!("Task {} is ready. {}", task.id, why_it_waits(task, around)),
        TaskState::Delayed(_) => format!(
            "Task {} waits {} more before it is tried again{}.",
            task.id,
            words(task.left.unwrap_or_default()),
            after_last_attempt(task)
        ),
        TaskState::Leased(_) => format!(
            "Task {} is being delivered under epoch {}; its lease lasts {} more unless it is extended.",
            task.id,
            Epoch::or_zero(task.epoch),
            words(task.left.unwrap_or_default())
        ),
        TaskState::Poison(cause) => format!(
            "Task {} is in poison: {}{}. `leasebridge poison requeue {}` tries it again, `leasebridge \
             poison purge {}` gives it up.",
            task.id,
            poisoned_because(cause),
            after_last_attempt(task),
            task.id,
            task.id
        ),
        TaskState::Done | TaskState::Removed => gone(task.id, task.state),
    };
    match task.isolation {
        Isolation::None => {}
        Isolation::Route => story.push_str(
            " It is delivered alone on its route, because its endpoint may have died of it.",
        ),
        Isolation::Queue => story.push_str(
            " It is delivered with nothing else in flight, because the bridge may have died of it.",
        ),
    }
    story
}

/// The story of a task of which only its key is remembered.
pub(super) fn gone(id: TaskId, state: TaskState) -> String {
    match state {
        TaskState::Done => format!("Task {id} was executed and has left the queue."),
        // A purge forgets the key of what was certainly not executed: one that is remembered says no more than this.
        TaskState::Removed => format!(
            "Task {id} was purged or drained by hand. It may have been executed before: its key stays with it."
        ),
        _ => format!("Task {id} has just left the queue."),
    }
}

/// The story of a task that is not in the queue.
pub(super) fn unknown(id: TaskId) -> String {
    format!(
        "task {id} is not in the queue: it was executed or removed, or there never was one of that name"
    )
}

fn why_it_waits(task: &Explained<Command>, around: &Surroundings<'_>) -> String {
    let mut why = if !around.configured {
        format!(
            "Nobody delivers it: route `{}` is not configured. Configure it, or `leasebridge route move \
             {} OTHER`.",
            task.route, task.route
        )
    } else if around.paused {
        format!(
            "Nobody delivers it: route `{}` is paused. `leasebridge route resume {}` goes on.",
            task.route, task.route
        )
    } else if around.breaker == "open" {
        format!(
            "Route `{}` rests, because its endpoint gave no answer several times in a row; it is probed \
             until it answers.",
            task.route
        )
    } else {
        format!(
            "It waits for its turn; {} of route `{}` are ready.",
            counted(around.ready),
            task.route
        )
    };
    if let Some(last) = last_attempt(task) {
        why.push_str(&format!(" Its last attempt {}.", ended(last)));
    }
    why
}

fn after_last_attempt(task: &Explained<Command>) -> String {
    last_attempt(task).map_or_else(String::new, |last| {
        format!("; its last attempt {}", ended(last))
    })
}

fn last_attempt(task: &Explained<Command>) -> Option<&Attempt> {
    task.history.as_ref()?.attempts().last()
}

fn ended(attempt: &Attempt) -> String {
    let mut text = match attempt.outcome {
        LeaseOutcome::Done => "was executed".to_owned(),
        LeaseOutcome::Rejected => "was rejected by the endpoint".into(),
        LeaseOutcome::Refused => "was refused for good".into(),
        LeaseOutcome::Unavailable => "met an endpoint that asked to be spared".into(),
        LeaseOutcome::InDoubt(_) => "got no definite answer".into(),
        LeaseOutcome::NotSent => "was never sent".into(),
        LeaseOutcome::Released => "was given back before it was sent".into(),
    };
    if let Some(transport) = attempt.transport {
        text.push_str(&format!(" over {}", transport.as_str()));
    }
    if let Some(error) = &attempt.error {
        text.push_str(&format!(" ({error})"));
    }
    text
}

fn poisoned_because(cause: PoisonCause) -> &'static str {
    match cause {
        PoisonCause::RetriesSpent => "its endpoint rejected it more often than it is tried again",
        PoisonCause::InDoubtSpent => "it got no definite answer more often than it is tried again",
        PoisonCause::Refused => "it was refused for good",
        PoisonCause::Expired => "its own deadline passed before it was executed",
        PoisonCause::TooOld => "it got older than its route's `max_age` before it was executed",
    }
}

fn counted(tasks: u64) -> String {
    match tasks {
        1 => "1 task".into(),
        _ => format!("{tasks} tasks"),
    }
}

fn words(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        _ => format!("{} h", secs / 3_600),
    }
}
