//! One task as the admin API shows it, as a record.

use leasebridge::core::event::{Doubt, Outcome, PoisonCause};
use leasebridge::core::history::Attempt;
use leasebridge::core::{Epoch, TaskId, TaskState};
use leasebridge::queue::{Explained, Payload, SafeTaskQueue};

use super::{Task, What};

/// Why these answers are always to be had.
const HELD: &str = "a log in files is held for as long as its process lives";

/// The task as the queue shows it now; one that no longer lives is looked for by its key.
pub async fn found<T: Payload>(queue: &SafeTaskQueue<T>, id: TaskId, key: Option<&str>) -> What {
    let explained = queue.explain(id).await;
    match explained.expect(HELD) {
        Some(explained) => alive(&explained),
        None => gone(id, key.and_then(|key| queue.find_key(key).expect(HELD))),
    }
}

fn alive<T>(explained: &Explained<T>) -> What {
    let (state, cause) = match explained.state {
        TaskState::Ready => ("ready", None),
        TaskState::Delayed(_) => ("delayed", None),
        TaskState::Leased(_) => ("leased", None),
        TaskState::Poison(cause) => ("poison", Some(cause)),
        TaskState::Done => ("done", None),
        TaskState::Removed => ("gone", None),
    };
    let history = explained.history.as_ref();
    let kept: Vec<&Attempt> = history
        .into_iter()
        .flat_map(|history| history.attempts())
        .collect();
    What::Found {
        task: Task::from(explained.id),
        state: state.to_owned(),
        cause: cause.map(|cause| cause.as_str().to_owned()),
        epoch: Epoch::or_zero(explained.epoch),
        retries: explained.retries,
        in_doubt: explained.in_doubt,
        attempts: kept.iter().map(|attempt| attempt.epoch.get()).collect(),
        blamed_for_deaths: blamed_for_deaths(&kept, cause),
    }
}

/// A task that no longer lives: *done* if its key still knows.
fn gone(id: TaskId, by_key: Option<(TaskId, TaskState)>) -> What {
    let is_done = by_key == Some((id, TaskState::Done));
    What::Found {
        task: Task::from(id),
        state: if is_done { "done" } else { "gone" }.to_owned(),
        cause: None,
        epoch: 0,
        retries: 0,
        in_doubt: 0,
        attempts: Vec::new(),
        blamed_for_deaths: Vec::new(),
    }
}

/// The attempts that a death of the bridge ended and that were charged for it, or convicted, which is not
/// charged any more.
fn blamed_for_deaths(attempts: &[&Attempt], cause: Option<PoisonCause>) -> Vec<u32> {
    let last = attempts.last().map(|attempt| attempt.epoch);
    let is_convicted = cause == Some(PoisonCause::InDoubtSpent);
    attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::InDoubt(Doubt::BridgeDied))
        .filter(|attempt| attempt.charged || (is_convicted && Some(attempt.epoch) == last))
        .map(|attempt| attempt.epoch.get())
        .collect()
}
